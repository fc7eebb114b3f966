"""The measuring commands print their results and refuse wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

import ml.cards.card
from ml.cards.card import Card, read_card
from ml.datasets.manifest import read_manifest
from tests.ml.cards.test_trials import REPORT
from tests.ml.image_factory import write_images

pytestmark = pytest.mark.slow

LABELS = ["Normal", "Bacterial pneumonia", "Viral pneumonia"]


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Write images of two splits; return the options that name them."""
    manifest = write_images(tmp_path, LABELS, each=4, splits={"train": 3, "val": 1})
    assert len(read_manifest(manifest)) == 48
    return [f"--manifest={manifest}", f"--root={tmp_path}"]


@pytest.fixture(autouse=True)
def _installed(
    tiny_card: Card,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    monkeypatch.setattr(
        ml.cards.card, "WEIGHTS_DIR", tiny_card.weights_file.parent.parent.parent
    )
    settings.INFERENCE_CACHE_DIR = cache_dir


def test_shortcuts_are_printed_as_json(
    images: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    settings: Settings,
) -> None:
    settings.CHESTX_DATA = tmp_path
    call_command("evaluate_shortcuts", "tiny/1.0.0", *images, "--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["version"], report["images"]) == (
        "tiny",
        "1.0.0",
        12,
    )
    assert report["command"][:4] == [
        *("python", "manage.py", "evaluate_shortcuts", "tiny/1.0.0")
    ]
    assert report["command"][-3:] == ["--root", "$CHESTX_DATA", "--json"]
    assert report["sources"] == {"pairs": [], "too_few": []}
    assert "lungs-only" in report["changes"]["all"]
    assert report["baseline"]["all"]["learned_from"] == 36


def test_heat_maps_are_summarised_for_people(
    images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("evaluate_heat_maps", "tiny", *images)
    output = capsys.readouterr().out
    assert "insertion: by heat" in output
    assert "head and 100% of the layers randomised" in output
    assert "weight randomisation check: " in output
    call_command("evaluate_heat_maps", "tiny", *images, "--split=train", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["split"] == "train"
    assert report["command"][-3:] == ["--split", "train", "--json"]


def test_flagged_normals_are_measured_by_label_and_written_onto_the_card(
    images: list[str],
    capsys: pytest.CaptureFixture[str],
    tiny_card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "ml.evaluation.normals.flagged.claimed_labels",
        lambda card, members: card.label_names,
    )
    normals = ["--dataset=drawn", *images]
    call_command("flagged_normals", "tiny", *normals)
    output = capsys.readouterr().out
    assert "12 images of 6 patients" in output
    assert "by any model for any claimed label: " in output
    call_command("flagged_normals", "tiny", *normals, "--json")
    report = json.loads(capsys.readouterr().out)
    assert set(report["models"]["tiny/1.0.0"]["labels"]) == set(LABELS[1:])
    assert report["flagged"] == report["models"]["tiny/1.0.0"]["flagged"]
    with pytest.raises(CommandError, match="measure it first"):
        call_command("flagged_normals", "tiny", *normals, "--write")
    with pytest.raises(CommandError, match="no images of rsna-normal"):
        call_command("flagged_normals", "tiny", *images)


def test_trial_results_are_added_to_a_card(
    tmp_path: Path, tiny_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "weights" / "tiny" / "1.0.0"
    shutil.copytree(tiny_card.weights_file.parent, copied)
    monkeypatch.setattr(ml.cards.card, "WEIGHTS_DIR", tmp_path / "weights")
    file = tmp_path / "trial.json"
    results = [REPORT, {**REPORT, "task": "nih: Pneumonia"}]
    file.write_text(json.dumps({"results": results}), encoding="utf-8")
    call_command("add_trial_results", "tiny", str(file), "--task=pneumonia")
    [result] = read_card(copied / "card.json").contents.cross_source
    assert result.left_out == ("nih", "nih-emphysema")
    with pytest.raises(CommandError, match="No report has a result"):
        call_command("add_trial_results", "tiny", str(file), "--task=brain")
    file.write_text("{", encoding="utf-8")
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("add_trial_results", "tiny", str(file))


@pytest.mark.parametrize("command", ["evaluate_shortcuts", "evaluate_heat_maps"])
def test_an_unknown_model_is_refused(images: list[str], command: str) -> None:
    with pytest.raises(CommandError, match="There is no model"):
        call_command(command, "tiny/9.9.9", *images)
