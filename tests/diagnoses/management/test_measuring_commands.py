"""The measuring commands print their results and refuse wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

import ml.cards.card
from ml.cards.card import Card
from ml.datasets.manifest import read_manifest
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


@pytest.mark.parametrize("command", ["evaluate_shortcuts", "evaluate_heat_maps"])
def test_an_unknown_model_is_refused(images: list[str], command: str) -> None:
    with pytest.raises(CommandError, match="There is no model"):
        call_command(command, "tiny/9.9.9", *images)
