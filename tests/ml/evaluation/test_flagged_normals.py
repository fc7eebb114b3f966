"""Flagged normals: any claimed label of any model counts, Normal never."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ml.evaluation.normals.flagged
from ml.cards.card import Card, parse_card, read_card
from ml.cards.from_report import flagged_normals_of_report
from ml.cards.json_reader import as_json
from ml.datasets.manifest import ManifestRow
from ml.errors import ModelError
from ml.evaluation.normals.flagged import (
    ScoredNormals,
    flagged_by_any,
    flagged_by_point,
    write_together,
)
from tests.ml.cards.test_schema import current

pytestmark = pytest.mark.slow

ROWS = tuple(
    ManifestRow(f"{n}.png", "rsna-normal", "val", f"p{n}", "", "", ("Normal",))
    for n in range(10)
)


@pytest.fixture(autouse=True)
def _claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the last label are claimed."""
    monkeypatch.setattr(
        ml.evaluation.normals.flagged,
        "claimed_labels",
        lambda card, members: card.label_names[:-1],
    )


def scored(name: str, flagged: int, **changes: Any) -> ScoredNormals:
    """Return images of which the first `flagged` are above 0.5 for Bacterial."""
    scores = np.full((10, 3), 0.1)
    scores[:flagged, 1] = 0.6
    # Above every threshold, but not a flag: Normal, and a label not claimed.
    scores[:, 0] = scores[:, 2] = 0.99
    return ScoredNormals(card_named(name, **changes), ROWS, scores)


def card_named(name: str, **changes: Any) -> Card:
    return parse_card(current(name=name, **changes), folder=Path())


def test_only_claimed_findings_above_their_threshold_are_flags() -> None:
    report = flagged_by_any([scored("one", 2), scored("two", 3)])
    assert (report["images"], report["patients"], report["split"]) == (10, 10, "val")
    one = report["models"]["one/1.0.0"]
    assert set(one["labels"]) == {"Bacterial pneumonia"}
    assert one["flagged"]["value"] == 0.2
    # The two of the first model are among the three of the second.
    assert report["flagged"]["value"] == 0.3
    assert report["flagged"]["low"] < 0.3 < report["flagged"]["high"]


def test_images_that_one_of_several_models_flags_are_united() -> None:
    one, two = scored("one", 2), scored("two", 2)
    two.scores[:] = two.scores[::-1]
    assert flagged_by_any([one, two])["flagged"]["value"] == 0.4


def test_each_operating_point_has_its_share_and_the_default_is_named() -> None:
    labels = [label["name"] for label in current()["labels"]]
    strict, usual = dict.fromkeys(labels, 0.7), dict.fromkeys(labels, 0.4)
    report = flagged_by_point(
        scored("one", 2, operating_points={"strict": strict, "usual": usual})
    )
    assert report["default"] == "usual"
    shares = {name: each["flagged"]["value"] for name, each in report["points"].items()}
    assert shares == {"strict": 0.0, "usual": 0.2}
    own = flagged_by_point(scored("one", 2, operating_points={"strict": strict}))
    assert own["default"] == ""
    assert own["points"]["card"]["flagged"]["value"] == 0.2


def test_the_share_of_all_models_is_written_onto_a_card(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(current(name="one")), encoding="utf-8")
    models = [scored("one", 2), scored("two", 3)]
    together = flagged_by_any(models)
    with pytest.raises(ModelError, match="measure it first"):
        write_together(path, together, ["measure"])
    alone = flagged_normals_of_report(flagged_by_point(models[0]), command=["measure"])
    raw = {**current(name="one"), "flagged_normals": as_json(alone)}
    path.write_text(json.dumps(raw), encoding="utf-8")
    write_together(path, together, ["measure"])
    flagged = read_card(path).contents.flagged_normals
    assert flagged is not None
    assert flagged.together is not None
    assert flagged.together.models == ("one/1.0.0", "two/1.0.0")
    assert flagged.together.flagged.value == 0.3
    assert replace(flagged, together=None) == alone
