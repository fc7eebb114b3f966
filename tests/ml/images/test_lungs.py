"""Lung masks: found, moved with the image, never invented."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from ml.images.lungs import find_lungs
from ml.pixels import read_display
from tests.ml.image_factory import chest_like

pytestmark = pytest.mark.slow


SOURCES = ("kermany", "nih", "hannover", "nih-emphysema", "tb")


def drawn_lungs(height: int, width: int) -> np.ndarray:
    """Return where `chest_like` draws its two lungs, bool (height, width)."""
    rows, columns = np.mgrid[0:height, 0:width]
    lungs = np.zeros((height, width), bool)
    for side in (0.3, 0.7):
        lungs |= ((columns / width - side) / 0.15) ** 2 + (
            (rows / height - 0.5) / 0.3
        ) ** 2 < 1
    return lungs


def shared(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("shape", [(220, 180), (300, 420)])
def test_lungs_are_found_in_a_drawn_chest(shape: tuple[int, int]) -> None:
    lungs = find_lungs(chest_like(*shape))
    assert lungs.estimated
    assert lungs.mask.shape == shape
    assert lungs.mask.dtype == bool
    assert shared(lungs.mask, drawn_lungs(*shape)) > 0.5


def test_a_border_moves_the_lungs_with_the_image() -> None:
    plain = find_lungs(chest_like(220, 180)).mask
    bordered = find_lungs(chest_like(220, 180, border=20)).mask
    assert shared(bordered[20:-20, 20:-20], plain) > 0.8
    assert not bordered[:10].any()


def test_air_beside_the_body_is_not_lung() -> None:
    body = chest_like(220, 180)
    air = np.zeros((220, 40), np.uint16)
    image = np.hstack([air, body, air])
    # What is written there keeps it from being trimmed as a border.
    image[20:60, 5:15] = image[20:60, -15:-5] = 65535
    lungs = find_lungs(image)
    assert lungs.estimated
    assert lungs.mask[:, :25].mean() < 0.02
    assert shared(lungs.mask[:, 40:-40], drawn_lungs(220, 180)) > 0.5


@pytest.mark.parametrize("kind", ["noise", "flat", "one lung in the middle"])
def test_other_images_get_the_default_mask_marked_as_such(kind: str) -> None:
    rows, columns = np.mgrid[0:200, 0:200]
    image = {
        "noise": np.random.default_rng(0).integers(0, 65536, (200, 200)),
        "flat": np.full((200, 200), 30000),
        "one lung in the middle": np.where(
            np.hypot(rows - 100, columns - 100) < 40, 8000, 40000
        ),
    }[kind].astype(np.uint16)
    lungs = find_lungs(image)
    assert not lungs.estimated
    assert 0.02 < lungs.mask.mean() < 0.6
    left, right = lungs.mask[:, :100].mean(), lungs.mask[:, 100:].mean()
    assert left == pytest.approx(right, rel=0.4)


def test_lungs_are_found_on_most_images_of_every_source(chestx_data: Path) -> None:
    with (chestx_data / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "val"]
    for source in SOURCES:
        own = [row for row in rows if row["dataset"] == source]
        images = own[:: max(1, len(own) // 12)]
        results = [
            find_lungs(read_display((chestx_data / row["path"]).read_bytes()))
            for row in images
        ]
        assert np.mean([lungs.estimated for lungs in results]) >= 0.7, source
        for lungs in results:
            assert 0.05 < lungs.mask.mean() < 0.75, source
            rows_of, columns_of = np.nonzero(lungs.mask)
            assert columns_of.min() < lungs.mask.shape[1] / 2 < columns_of.max()
            assert rows_of.min() < lungs.mask.shape[0] / 2 < rows_of.max()
