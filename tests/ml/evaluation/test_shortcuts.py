"""Shortcut measures: changed images, and sources told apart by features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from ml.cards.card import Card
from ml.datasets.ground_truth import GroundTruth, ground_truth_of
from ml.datasets.manifest import ManifestRow
from ml.errors import ModelError
from ml.evaluation.shortcuts.changes import CHANGES, CORNER_SHARE
from ml.evaluation.shortcuts.measures import (
    CHANGES_OF_CHESTS,
    ReadImages,
    change_metrics,
    heat_metrics,
    measure_shortcuts,
    share_outside,
)
from ml.evaluation.shortcuts.sources import measure_sources
from ml.inference import LoadedModel
from ml.networks.heads import Dense, GlobalPooling, Head
from tests.ml.image_factory import chest_like, encoded

pytestmark = pytest.mark.slow


class BrightCornerRunner:
    """A network whose features are means of the image's quarters, and of nothing else.

    Its first two logits are the left and the right half.
    """

    backend = "made up"
    precision = "float32"
    library_versions: Mapping[str, str] = MappingProxyType({})
    head: Head | None = Head(
        [GlobalPooling("average"), Dense(np.eye(4, 3), np.zeros(3))]
    )

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        half = image.shape[0] // 2
        quarters = [
            image[rows, columns].mean()
            for rows in (slice(half), slice(half, None))
            for columns in (slice(half), slice(half, None))
        ]
        maps = np.tile(np.array(quarters, np.float32), (2, 2, 1))
        return maps[0, 0, :3], np.maximum(maps, 0.0)

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = [self.run(image) for image in images]
        return np.stack([o[0] for o in outputs]), np.stack([o[1] for o in outputs])


@pytest.fixture
def model(plain_card: Card) -> LoadedModel:
    return LoadedModel(plain_card, BrightCornerRunner(), sha256="e" * 64)


def row(path: str, dataset: str, patient: str, *labels: str) -> ManifestRow:
    return ManifestRow(path, dataset, "val", patient, "PA", "", labels)


def written(
    root: Path, dataset: str, label: str, *, images: int, marked: bool, first: int = 0
) -> list[ManifestRow]:
    """Write images of one source; a marked source has a bright upper left quarter."""
    rows = []
    for number in range(first, first + images):
        image = chest_like(80, 80, seed=number + 500 * len(dataset))
        if marked:
            image[:40, :40] = image[:40, :40] // 2 + 32000
        path = f"{dataset}-{label}-{number}.png"
        (root / path).write_bytes(encoded((image // 257).astype(np.uint8), ".png"))
        rows.append(row(path, dataset, f"{dataset}-{number}", label))
    return rows


def normals(root: Path, *, marked: bool) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Return train and val of Normal images of two sources, 24 and 12 patients each."""
    parts = []
    for first, images in ((0, 24), (100, 12)):
        parts.append(
            written(root, "here", "Normal", images=images, marked=marked, first=first)
            + written(
                root, "there", "No Finding", images=images, marked=False, first=first
            )
        )
    return parts[0], parts[1]


def test_every_change_returns_an_image_of_the_same_form() -> None:
    image = chest_like(90, 70)
    before = image.copy()
    for name, change in CHANGES.items():
        changed = change(image)
        assert changed.dtype == np.uint16, name
        assert changed.ndim == 2, name
        assert (changed == image).all() if name == "none" else changed.shape != (0, 0)
    assert (image == before).all()


def test_the_outer_tenth_is_removed_and_the_rest_equalised() -> None:
    image = chest_like(100, 80) // 4
    changed = CHANGES["crop-tenth"](image)
    assert changed.shape == (80, 64)
    assert changed.max() == 65535
    marked = image.copy()
    marked[:10], marked[:, -8:] = 65535, 0
    assert (CHANGES["crop-tenth"](marked) == changed).all()


def test_masked_corners_hide_marks() -> None:
    image = chest_like(100, 80)
    marked = image.copy()
    marked[:15, :12] = 65535
    masked, masked_too = (CHANGES["corners-masked"](each) for each in (image, marked))
    differing = masked.astype(int) - masked_too
    rows, columns = round(100 * CORNER_SHARE), round(80 * CORNER_SHARE)
    assert np.ptp(masked_too[:rows, :columns]) == 0
    assert (
        masked[rows:-rows, columns:-columns] == image[rows:-rows, columns:-columns]
    ).all()
    # The median grey itself moves a little with the marks.
    assert np.abs(differing).max() < 0.02 * 65535


def test_what_devices_and_archives_do_leaves_the_picture_nearly_as_it_was() -> None:
    image = chest_like(120, 100)
    for name in ("rotated-5", "jpeg-50", "noise"):
        changed = CHANGES[name](image)
        assert changed.shape == image.shape, name
        apart = np.abs(changed.astype(int) - image)[20:-20, 20:-20] / 65535
        assert 0.001 < apart.mean() < 0.05, name
        assert (CHANGES[name](image) == changed).all(), name


def test_keeping_the_lungs_removes_everything_else() -> None:
    image = chest_like(120, 100)
    changed = CHANGES["lungs-only"](image)
    kept = changed == image
    assert 0.1 < kept.mean() < 0.6
    assert len(np.unique(changed[~kept])) == 1
    assert kept[60, 30]
    assert kept[60, 70]


@pytest.mark.parametrize("marked", [True, False])
def test_sources_are_separated_only_where_features_differ(
    model: LoadedModel, tmp_path: Path, marked: bool
) -> None:
    train, val = normals(tmp_path, marked=marked)
    report = measure_sources(model, train, val, tmp_path, tmp_path / "cache")
    (pair,) = report["pairs"]
    assert pair["label"] == "Normal"
    assert pair["sources"] == ["here", "there"]
    assert pair["images"] == {"train": 48, "val": 24}
    if marked:
        assert pair["auc"]["low"] > 0.9
        assert pair["auc_cross_validated_on_train"]["low"] > 0.9
    else:
        assert pair["auc"]["low"] < 0.7


def test_a_source_with_few_patients_is_listed_and_not_measured(
    model: LoadedModel, tmp_path: Path
) -> None:
    train, val = normals(tmp_path, marked=True)
    one = [replace(each, patient=each.dataset) for each in val]
    report = measure_sources(model, train, one, tmp_path, tmp_path / "cache")
    assert report == {
        "pairs": [],
        "too_few": [{"label": "Normal", "sources": ["here", "there"]}],
    }


def test_heat_outside_counts_cells_by_their_share() -> None:
    inside = np.zeros((8, 8), np.float32)
    inside[:, :6] = 1.0
    assert share_outside(np.array([[1.0, 0.0], [1.0, 0.0]]), inside) == 0.0
    assert share_outside(np.array([[0.0, 1.0], [0.0, 1.0]]), inside) == 0.5
    assert share_outside(np.ones((2, 2)), inside) == 0.25
    assert np.isnan(share_outside(np.zeros((2, 2)), inside))


def read_images(card: Card) -> ReadImages:
    """Twelve images of two sources: all right as they are, half wrong once cropped."""
    rows = [
        row(f"{n}.png", "here" if n < 8 else "there", str(n), card.label_names[n % 2])
        for n in range(12)
    ]
    ground_truth: GroundTruth = ground_truth_of(card, rows)
    right = ground_truth.positive.astype(float)
    cropped = right.copy()
    # Of the second label, all are called the first.
    cropped[ground_truth.positive[:, 1]] = [1.0, 0.0, 0.0]
    outside = np.full((12, 3), 0.5)
    outside[:, 2] = np.nan
    area = np.full(12, 0.6)
    area[0] = outside[0, 0] = np.nan
    return ReadImages(
        ground_truth=ground_truth,
        changes=("none", "crop-tenth"),
        scores=np.stack([right, cropped]),
        outside=outside,
        area=area,
        failed=(),
    )


def test_a_change_is_measured_on_the_same_images_also_by_source(
    plain_card: Card,
) -> None:
    measured = change_metrics(plain_card, read_images(plain_card))
    assert set(measured) == {"all", "here", "there"}
    assert measured["here"]["images"] == 8
    for part in measured.values():
        assert part["none"]["balanced_accuracy"]["value"] == 1.0
        assert part["crop-tenth"]["balanced_accuracy"]["value"] == 0.5
        lost = part["crop-tenth"]["balanced_accuracy_change"]
        assert lost["value"] == -0.5
        assert lost["high"] <= 0.0
    assert measured["all"]["none"]["mean_auc"]["value"] == 1.0


def test_heat_is_reported_for_labels_with_enough_images(
    plain_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.evaluation.shortcuts.measures.LEAST_IMAGES", 6)
    report = heat_metrics(plain_card, read_images(plain_card))
    assert report["images_without_lungs_found"] == 1
    # The first label lost an image, and the third has none.
    assert set(report["labels"]) == {"Bacterial pneumonia"}
    label = report["labels"]["Bacterial pneumonia"]
    assert label["images"] == 6
    assert label["outside"]["value"] == 0.5
    assert label["outside_if_even"]["value"] == 0.6


def test_all_shortcut_measures_run_together(model: LoadedModel, tmp_path: Path) -> None:
    train, val = normals(tmp_path, marked=True)
    for rows, first, images in ((train, 200, 12), (val, 300, 3)):
        rows += written(
            tmp_path,
            "here",
            "Viral pneumonia",
            images=images,
            marked=False,
            first=first,
        )
    (tmp_path / val[0].path).write_bytes(b"no picture")
    steps: list[tuple[int, int]] = []
    report = measure_shortcuts(
        model,
        train,
        val,
        tmp_path,
        tmp_path / "cache",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[-1] == (27, 27)
    assert (report["images"], report["failed"]) == (26, [val[0].path])
    assert set(report["changes"]["all"]) == {"images", *CHANGES_OF_CHESTS}
    assert report["sources"]["pairs"][0]["images"]["val"] == 23
    assert "Normal" in report["heat_outside_lungs"]["labels"]
    # Nothing that the model says is better than what borders and greys tell.
    assert report["statement"].startswith("Source not separable from disease (all: ")
    assert "balanced_accuracy" in report["baseline"]["all"]["not_separable"]


def test_an_ensemble_is_measured_by_its_members(tmp_path: Path) -> None:
    ensemble: Any = object()
    with pytest.raises(ModelError, match="members"):
        measure_shortcuts(ensemble, [], [], tmp_path, tmp_path)
