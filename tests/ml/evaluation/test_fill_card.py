"""A card is filled with measurements, each with the command that repeats it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import ml.cards.texts
import ml.training.recipes
from ml.cards.card import Card
from ml.cards.texts import Facts, PlannedMeasurement
from ml.datasets.manifest import read_manifest
from ml.evaluation.fill_card import measure_model
from tests.ml.image_factory import write_images
from tests.ml.training.test_run import RECIPE

pytestmark = pytest.mark.slow

LABELS = ["Normal", "Bacterial pneumonia", "Viral pneumonia"]
FACTS = Facts(
    accepts={},
    intended_use="To be tested.",
    limits=("It is tiny: {val.images} images.",),
    not_measured=("Everything else.",),
    measurements=(PlannedMeasurement("val", baseline=True),),
)


@pytest.fixture
def folder(tmp_path: Path, tiny_card: Card, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the tiny model, known to recipes and card texts."""
    monkeypatch.setitem(ml.cards.texts.FACTS, "tiny", FACTS)
    monkeypatch.setitem(
        ml.training.recipes.RECIPES, "tiny", replace(RECIPE, name="tiny")
    )
    copied = tmp_path / "tiny"
    shutil.copytree(tiny_card.weights_file.parent, copied)
    return copied


def command_of(
    part: str, name: str, planned: PlannedMeasurement | None = None
) -> list[str]:
    return ["measure", part, name, planned.key if planned else ""]


def test_the_card_says_how_many_normals_it_flags(
    folder: Path, tmp_path: Path, cache_dir: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    manifest = write_images(images, LABELS[:1], each=4, splits={"val": 1})
    rows = [replace(row, dataset="rsna-normal") for row in read_manifest(manifest)]
    card = measure_model(
        folder,
        rows,
        root=images,
        cache_dir=cache_dir,
        command_of=command_of,
        parts=("normals",),
    )
    flagged = card.contents.flagged_normals
    assert flagged is not None
    assert (flagged.images, flagged.datasets) == (4, ("rsna-normal",))
    assert flagged.command == ("measure", "normals", "tiny", "")
    # The tiny model claims no label: it flags nothing.
    assert flagged.points["card"].flagged.value == 0.0


def test_the_card_has_measurements_limits_and_the_previous_model(
    folder: Path, tmp_path: Path, cache_dir: Path, tiny_card: Card
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    manifest = write_images(images, LABELS, each=4, splits={"train": 3, "val": 1})
    card = measure_model(
        folder,
        read_manifest(manifest),
        root=images,
        cache_dir=cache_dir,
        command_of=command_of,
        parts=("metrics", "shortcuts"),
        before=tiny_card.weights_file.parent,
    )
    [val] = card.measurements
    assert (val.key, val.split, val.images, val.datasets) == (
        "val",
        "val",
        12,
        ("drawn",),
    )
    assert val.command == ("measure", "metrics", "tiny", "val")
    accuracy = val.metric("accuracy")
    assert accuracy is not None
    assert accuracy.baseline is not None
    assert val.baseline is not None
    assert val.baseline.learned_from == 36
    assert card.limits[0] == "It is tiny: 12 images."
    assert card.limits[1].startswith("Source not separable from disease by val: ")
    assert card.not_measured == ("Everything else.",)
    assert card.shortcuts is not None
    assert card.shortcuts.command == ("measure", "shortcuts", "tiny", "")
    assert {None, "lungs-only"} <= {each.change for each in card.shortcuts.changes}
    before = card.shortcuts.before
    assert before is not None
    assert before.changes == card.shortcuts.changes
    assert before.weights_sha256 == tiny_card.weights_sha256
