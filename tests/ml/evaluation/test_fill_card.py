"""What is measured stands in the card, with the command that measures it again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import ml.cards.texts
import ml.training.recipes
from ml.cards.card import Card
from ml.cards.texts import Facts, Measurement
from ml.datasets.manifest import read_manifest
from ml.evaluation.fill_card import measure_model
from tests.ml.image_factory import write_images
from tests.ml.training.test_run import RECIPE

pytestmark = pytest.mark.slow

LABELS = ["Normal", "Bacterial pneumonia", "Viral pneumonia"]
FACTS = Facts(
    accepts={},
    intended_use="To be tested.",
    limits=("It is tiny.",),
    not_measured=("Everything else.",),
    measurements=(Measurement("val", baseline=True),),
    shortcuts=True,
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


def test_figures_limits_and_what_was_before_stand_in_the_card(
    folder: Path, tmp_path: Path, cache_dir: Path, tiny_card: Card
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    manifest = write_images(images, LABELS, each=4, splits={"train": 3, "val": 1})
    raw = measure_model(
        folder,
        read_manifest(manifest),
        root=images,
        cache_dir=cache_dir,
        parts=("metrics", "shortcuts"),
        before=tiny_card.weights_file.parent,
    )
    assert raw["metrics"]["val"]["n"] == 12
    assert "evaluate_model tiny" in raw["metrics"]["val"]["command"]
    assert raw["limits"][0] == "It is tiny."
    assert raw["limits"][1].startswith("Source not separable from disease by val: ")
    assert raw["not_measured"] == ["Everything else."]
    before = raw["shortcuts"]["before"]
    assert before["changes"] == raw["shortcuts"]["changes"]
    assert before["weights_sha256"] == tiny_card.weights_sha256
