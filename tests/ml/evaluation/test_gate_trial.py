"""The gate measurement: its images, and that none of them set the gate."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.cards.card import Card, read_card
from ml.datasets.manifest import ManifestRow
from ml.evaluation.gate import images as gate_images
from ml.evaluation.gate import trial as gate_trial
from ml.evaluation.gate.images import found_images
from ml.evaluation.gate.trial import Judged, age_band, reads, try_gate, wilson_interval
from ml.gate.out_of_distribution import GateResult
from ml.inference import LoadedModel, load_model
from tests.ml.image_factory import chest_like, dataset_of, encoded, file_of

pytestmark = pytest.mark.slow

ROW = ManifestRow(
    path="a.png",
    dataset="one",
    split="val",
    patient="p",
    view="PA",
    licence="",
    labels=(),
)


class LightGate:
    """A gate that refuses images whose upper half is the lighter one."""

    threshold = 1.0

    def judge(self, maps: np.ndarray, image: np.ndarray) -> GateResult:
        """Judge by the difference of the halves."""
        half = len(image) // 2
        score = float(image[:half].mean() - image[half:].mean()) + 1.0
        return GateResult(score, self.threshold, "rotated")


@pytest.fixture(scope="module")
def model(tiny_weights_dir: Path, cache_dir: Path) -> LoadedModel:
    """Return the tiny model with a gate that anybody can check."""
    card = read_card(tiny_weights_dir / "tiny" / "1.0.0" / "card.json")
    loaded = load_model(card, cache_dir=cache_dir)
    assert isinstance(loaded, LoadedModel)
    loaded.gate = LightGate()  # type: ignore[assignment]  # judges alike
    return loaded


def images_in(root: Path) -> list[ManifestRow]:
    """Write images that are darker above, of two sources, and a slice of a head."""
    rows = []
    for number in range(6):
        image = chest_like(90, 80, seed=number) * 0.8
        image[:45] *= 0.5
        path = f"{number}.png"
        (root / path).write_bytes(encoded((image // 257).astype(np.uint8), ".png"))
        dataset = f"source {number % 2}"
        rows.append(replace(ROW, path=path, dataset=dataset, age_years=number * 20.0))
    slices = replace(ROW, path="0.png", dataset="heads", modality="MR")
    return [*rows, slices]


@pytest.fixture(scope="module")
def report(
    model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Return the report of one trial."""
    root = tmp_path_factory.mktemp("trial")
    return try_gate(model, images_in(root), root=root)


def test_the_trial_imports_no_code_that_fits_the_gate() -> None:
    for module in (gate_trial, gate_images):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        imported = {
            node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        assert not imported & {
            "ml.training.gate.fit",
            "ml.training.gate.samples",
            "ml.training.gate.probe",
        }


def test_real_images_are_reported_by_source_view_and_age(
    report: dict[str, Any],
) -> None:
    real = report["real"]
    assert (real["refused"]["n"], real["refused"]["refused"]) == (6, 0)
    assert {name: counts["n"] for name, counts in real["by_source"].items()} == {
        "source 0": 3,
        "source 1": 3,
    }
    assert set(real["by_view"]) == {"PA"}
    assert set(real["by_age"]) == {"0-1 years", "18-39 years", "40-59 years"} | {
        "60-130 years"
    }
    assert real["refused"]["low"] == 0.0
    assert 0.3 < real["refused"]["high"] < 0.5


def test_images_that_must_be_refused_are_reported_by_kind(
    report: dict[str, Any],
) -> None:
    wrong = report["must_be_refused"]
    kinds = wrong["by_kind"]
    assert kinds["turned by 180"]["share"] == 1.0
    assert kinds["turned by 180"]["reasons"] == {"rotated": 6}
    assert kinds["colour"]["reasons"] == {"colour_image": kinds["colour"]["n"]}
    assert kinds["blank"]["n"] >= 10
    assert kinds["other data set: heads"]["let_in"] == ["0.png"]
    assert wrong["n"] == sum(counts["n"] for counts in kinds.values())
    assert wrong["n"] >= 120
    assert {"noise", "document", "photograph", "CT", "MR"} <= set(kinds)


def test_the_trial_is_deterministic() -> None:
    first = [picture.name for picture in found_images()]
    assert first == [picture.name for picture in found_images()]


def test_chest_images_under_a_wrong_header_are_not_trial_images(
    tmp_path: Path,
) -> None:
    image, head = chest_like(), chest_like(120, 120, seed=5)
    for name, pixels, modality in (
        ("chest.dcm", image, "DX"),
        ("the same.dcm", image, "CT"),
        ("head.dcm", head, "CT"),
    ):
        dataset = dataset_of(pixels, Modality=modality)
        (tmp_path / name).write_bytes(file_of(dataset))
    names = {picture.name for picture in found_images(samples=tmp_path)}
    assert "head.dcm" in names
    assert not names & {"chest.dcm", "the same.dcm"}


def test_an_image_refused_by_a_pixel_check_has_an_infinite_score(
    model: LoadedModel,
) -> None:
    blank = gate_images.TrialImage("blank", "b", np.full((64, 64), 9, np.uint16))
    judged = gate_trial.judge(model, blank)
    assert judged == Judged("blank", "b", math.inf, "blank_image")


def test_wilson_intervals_equal_known_values() -> None:
    low, high = wilson_interval(0, 100)
    assert (low, round(high, 4)) == (0.0, 0.037)
    low, high = wilson_interval(10, 100)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_model_reads_images_of_its_modalities_only(tiny_card: Card) -> None:
    assert reads(tiny_card, replace(ROW, modality="CR"))
    assert reads(tiny_card, ROW)
    assert not reads(tiny_card, replace(ROW, modality="MR"))


@pytest.mark.parametrize(
    ("age_years", "band"),
    [
        (None, "not given"),
        (0.5, "0-1 years"),
        (17.9, "6-17 years"),
        (60, "60-130 years"),
    ],
)
def test_ages_are_grouped_into_bands(age_years: float | None, band: str) -> None:
    assert age_band(replace(ROW, age_years=age_years)) == band
