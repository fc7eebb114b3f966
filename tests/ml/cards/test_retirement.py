"""A retired version leaves its card in the tree, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ml.cards.card import Card, get_card, list_cards, list_retired_cards
from ml.cards.contents import Successor
from ml.cards.retirement import retire_card
from ml.errors import ModelError
from ml.training.recipes import RECIPES
from tests.ml.conftest import card_json

NEW = Successor("new", "1.0.0")


def add(folder: Path, name: str, version: str = "1.0.0", **changes: Any) -> Card:
    raw = card_json(name=name, version=version, **changes)
    raw["weights"] = {"file": "weights.keras", "sha256": f"{name:0<64}"}
    files = folder / name / version
    files.mkdir(parents=True)
    (files / "card.json").write_text(json.dumps(raw), encoding="utf-8")
    for file in ("weights.keras", "gate.npz", "curves.svg"):
        (files / file).write_bytes(b"of " + name.encode())
    return get_card(name, version, weights_dir=folder)


def test_of_a_retired_version_only_the_card_is_left(tmp_path: Path) -> None:
    old = add(tmp_path, "old")
    add(tmp_path, "new")
    call_command(
        *("retire_card", "old/1.0.0", "--in-favour-of", "new/1.0.0"),
        *("--on", "2026-12-01", "--models", tmp_path),
    )
    left = [path for path in (tmp_path / "retired").rglob("*") if path.is_file()]
    assert left == [tmp_path / "retired" / "old" / "1.0.0" / "card.json"]
    assert not (tmp_path / "old").exists()
    assert [card.name for card in list_cards(weights_dir=tmp_path)] == ["new"]
    [retired] = list_retired_cards(weights_dir=tmp_path)
    assert retired.retired is not None
    assert (retired.retired.on, retired.retired.successors) == (
        "2026-12-01",
        "new 1.0.0",
    )
    assert retired.weights_sha256 == old.weights_sha256
    assert {**retired.raw, "retired": None} == {**old.raw, "retired": None}


def test_the_error_for_a_retired_model_names_what_takes_its_place(
    tmp_path: Path,
) -> None:
    retire_card(
        add(tmp_path, "old"), on="2026-12-01", in_favour_of=[NEW], weights_dir=tmp_path
    )
    for version in (None, "1.0.0"):
        with pytest.raises(ModelError, match=r"2026-12-01 in favour of new 1\.0\.0"):
            get_card("old", version, weights_dir=tmp_path)
    with pytest.raises(ModelError, match="no model old 2"):
        get_card("old", "2", weights_dir=tmp_path)


def test_a_version_leaves_the_other_versions_of_its_model(tmp_path: Path) -> None:
    old = add(tmp_path, "new", "0.9.0")
    add(tmp_path, "new")
    retire_card(old, on="2026-12-01", in_favour_of=[NEW], weights_dir=tmp_path)
    assert get_card("new", weights_dir=tmp_path).version == "1.0.0"
    assert (tmp_path / "new" / "1.0.0" / "weights.keras").is_file()


def test_a_member_cannot_be_retired_before_its_ensemble(tmp_path: Path) -> None:
    member = add(tmp_path, "old")
    whole = {"name": "old", "version": "1.0.0", "weights_sha256": f"{'old':0<64}"}
    add(tmp_path, "both", members=[whole], combination={"labels": {}})
    with pytest.raises(ModelError, match=r"member of both 1\.0\.0"):
        retire_card(member, on="2026-12-01", in_favour_of=[NEW], weights_dir=tmp_path)
    assert (tmp_path / "old" / "1.0.0" / "weights.keras").is_file()


def test_a_version_is_retired_in_favour_of_another_that_is_there(
    tmp_path: Path,
) -> None:
    add(tmp_path, "old")
    for successor in ("none", "old"):
        with pytest.raises(CommandError, match=r"no model none|its own place"):
            call_command(
                *("retire_card", "old", "--in-favour-of", successor),
                *("--models", tmp_path),
            )
    assert (tmp_path / "old" / "1.0.0" / "weights.keras").is_file()


def test_every_retired_model_names_one_that_is_shipped_or_trained_here() -> None:
    known = {card.name for card in (*list_cards(), *list_retired_cards())}
    heads = {
        f"{recipe.name}-{head.name}"
        for recipe in RECIPES.values()
        for head in recipe.shared_by
    }
    for card in list_retired_cards():
        assert card.retired is not None
        assert card.retired.in_favour_of
        for successor in card.retired.in_favour_of:
            assert successor.name in known | heads
            assert (successor.name, successor.version) != (card.name, card.version)
