"""The commands that choose thresholds and the default write them into the cards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from ml.cards.card import Card, get_card
from ml.training.gate import fit
from tests.ml.image_factory import write_images

pytestmark = pytest.mark.slow

LABELS = ["Normal", "Bacterial pneumonia", "Viral pneumonia"]
AUC = {"name": "auc", "value": 0.9, "low": 0.8, "high": 1.0}
MEASUREMENT: dict[str, Any] = {
    "key": "val",
    "split": "val",
    "datasets": ["drawn"],
    "images": 100,
    "patients": 100,
    "command": [],
    "metrics": [],
    "labels": [{"label": label, "metrics": [AUC]} for label in LABELS],
}


@pytest.fixture
def options(
    tmp_path: Path,
    tiny_card: Card,
    cache_dir: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Install one model under two names; return the options of a small data set."""
    settings.INFERENCE_CACHE_DIR = cache_dir
    models, images = tmp_path / "models", tmp_path / "images"
    for name in ("first", "second"):
        folder = models / name / "1.0.0"
        shutil.copytree(tiny_card.weights_file.parent, folder)
        raw = {**tiny_card.raw, "name": name, "measurements": [MEASUREMENT]}
        (folder / "card.json").write_text(json.dumps(raw), encoding="utf-8")
    images.mkdir()
    manifest = write_images(images, LABELS, each=4, splits={"train": 3, "val": 1})
    healthy = manifest.read_text(encoding="utf-8").replace(
        "drawn,train,train-0", "healthy,train,train-0"
    )
    manifest.write_text(healthy, encoding="utf-8")
    monkeypatch.setattr(fit, "HELD_OUT_PERCENT", 50)
    return [f"--manifest={manifest}", f"--root={images}", f"--models={models}"]


def cards_in(tmp_path: Path) -> list[Card]:
    return [
        get_card(name, weights_dir=tmp_path / "models") for name in ("first", "second")
    ]


def test_the_thresholds_at_flagged_normals_become_the_default(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("fit_normals_point", *options, "--normals", "healthy", "--share", "25")
    assert "of 12 normals flagged by any model" in capsys.readouterr().out
    for card in cards_in(tmp_path):
        assert card.thresholds == card.operating_points["normals_25"]
        normals = card.contents.thresholds.normals
        assert normals is not None
        assert normals.flagged <= 0.25
        assert normals.models == ("first 1.0.0", "second 1.0.0")
        assert {kept.label for kept in normals.sensitivity} == set(LABELS[1:])
        assert normals.command[2:4] == ("fit_normals_point", "first/1.0.0")


def test_the_default_is_written_into_both_cards(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("choose_default", *options, "--dataset", "drawn")
    assert "default: first; difference to second 1.0.0 0.0" in capsys.readouterr().out
    first, second = (card.contents for card in cards_in(tmp_path))
    assert (first.default, second.default) == (True, False)
    assert second.chosen_by is None
    assert first.chosen_by is not None
    assert first.chosen_by.runner_up == "second 1.0.0"


def test_a_share_beyond_all_images_is_refused(options: list[str]) -> None:
    with pytest.raises(CommandError, match="between 0 and 100"):
        call_command("fit_normals_point", *options, "--share", "100")
