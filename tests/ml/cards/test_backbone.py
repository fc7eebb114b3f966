"""Cards of heads: they name a backbone, whose weights and gate they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml.cards.card import (
    Card,
    cards_sharing,
    default_card,
    get_card,
    heads_of,
    read_card,
)
from ml.errors import ModelError
from tests.ml.conftest import card_json

GATE = {"file": "gate.npz", "sha256": "1" * 64, "threshold": 1.0}
LABELS = 3


def head(
    weights_dir: Path, name: str, begin: int, *, version: str = "1.0.0", **changes: Any
) -> Card:
    """Write the card of a head and read it."""
    shared = f"../../net/{version}"
    raw = card_json(
        name=name,
        version=version,
        weights={"file": f"{shared}/weights.keras", "sha256": "0" * 64},
        gate={**GATE, "file": f"{shared}/gate.npz"},
        backbone={
            "name": "net",
            "version": version,
            "columns": [begin, begin + LABELS],
        },
    )
    path = weights_dir / name / version / "card.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(raw | changes), encoding="utf-8")
    return read_card(path)


def test_weights_and_gate_of_a_head_are_those_of_its_backbone(tmp_path: Path) -> None:
    card = head(tmp_path, "net-a", 0)
    assert card.weights_file == tmp_path / "net" / "1.0.0" / "weights.keras"
    assert card.gate_file == tmp_path / "net" / "1.0.0" / "gate.npz"
    assert card.card_file == tmp_path / "net-a" / "1.0.0" / "card.json"
    assert card.backbone is not None
    assert card.backbone.columns == (0, LABELS)
    assert card.network_outputs is None


def test_the_heads_of_a_backbone_come_in_the_order_of_their_columns(
    tmp_path: Path,
) -> None:
    b, a = head(tmp_path, "net-a", LABELS), head(tmp_path, "net-b", 0)
    newer = head(tmp_path, "net-a", 0, version="1.10.0")
    assert heads_of("net", "1.0.0", weights_dir=tmp_path) == [a, b]
    assert heads_of("net", weights_dir=tmp_path) == [newer]
    assert heads_of("other", weights_dir=tmp_path) == []
    assert cards_sharing(b) == [a, b]


def test_a_backbone_is_no_model_but_its_default_head_is_the_default(
    tmp_path: Path, plain_card: Card
) -> None:
    head(tmp_path, "net-a", 0)
    default = head(tmp_path, "net-b", LABELS, default=True)
    assert default_card(weights_dir=tmp_path) == default
    with pytest.raises(ModelError, match="no model net; known: net-a, net-b"):
        get_card("net", weights_dir=tmp_path)
    assert cards_sharing(plain_card) == [plain_card]


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": [0, 2]},
        {"columns": [-3, 0]},
        {"name": "../elsewhere"},
        {"name": ".."},
        {"version": ""},
    ],
)
def test_a_card_with_an_impossible_backbone_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    backbone = {"name": "net", "version": "1.0.0", "columns": [0, LABELS]}
    with pytest.raises(ModelError, match="backbone"):
        head(tmp_path, "net-a", 0, backbone=backbone | changes)
