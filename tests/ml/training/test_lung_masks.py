"""Training with lung masks: crops around the lungs, lungs only."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.datasets.image_cache import PackedImages, pack_images
from ml.preprocessing import equalise, normalise, squash
from ml.training.samples import lung_masks as module
from ml.training.samples.augmentation import Augmentation, vary
from ml.training.samples.lung_masks import lung_masks
from tests.ml.image_factory import chest_like

pytestmark = pytest.mark.slow


STILL = Augmentation(
    smallest_area=1.0,
    aspect_range=(1.0, 1.0),
    rotation_degrees=0.0,
    mirror_probability=0.0,
    gamma_log_range=0.0,
    contrast_range=0.0,
    brightness_range=0.0,
    border_probability=0.0,
    patch_probability=0.0,
    blur_probability=0.0,
)
HEIGHT, WIDTH, SIZE = 120, 90, 48


@pytest.fixture
def lungs() -> np.ndarray:
    """A mask over the whole image: rows 30 to 90 of 120, columns 18 to 72 of 90."""
    mask = np.zeros((20, 20), bool)
    mask[5:15, 4:8] = mask[5:15, 12:16] = True
    return mask


def varied(image: np.ndarray, lungs: np.ndarray, **more: object) -> np.ndarray:
    strength = Augmentation(**{**STILL.__dict__, **more})
    rng = np.random.default_rng(0)
    return vary(image, size=SIZE, rng=rng, strength=strength, lungs=lungs)


def plain(image: np.ndarray) -> np.ndarray:
    return normalise(equalise(squash(np.ascontiguousarray(image), size=SIZE)))


def test_an_image_is_cropped_around_its_lungs(lungs: np.ndarray) -> None:
    image = chest_like(HEIGHT, WIDTH)
    cut = varied(image, lungs, lung_crop_probability=1.0, lung_margin=(0.0, 0.0))
    assert np.allclose(cut, plain(image[30:90, 18:72]), atol=1e-4)


def test_a_margin_is_left_around_the_lungs_as_far_as_the_image_goes(
    lungs: np.ndarray,
) -> None:
    image = chest_like(HEIGHT, WIDTH)
    cut = varied(image, lungs, lung_crop_probability=1.0, lung_margin=(2.0, 2.0))
    assert np.allclose(cut, plain(image), atol=1e-4)


def test_lungs_only_hides_marks_outside_the_lungs(
    lungs: np.ndarray,
) -> None:
    image = chest_like(HEIGHT, WIDTH)
    marked = image.copy()
    marked[:20] = 65535
    plain, kept = (
        varied(each, lungs, lungs_only_probability=1.0) for each in (image, marked)
    )
    assert np.array_equal(plain, kept)
    assert not np.array_equal(varied(image, lungs), varied(marked, lungs))


def test_an_image_without_known_lungs_is_augmented_as_usual() -> None:
    image = chest_like(HEIGHT, WIDTH)
    unknown = np.zeros((20, 20), bool)
    seen = varied(image, unknown, lung_crop_probability=1.0, lungs_only_probability=1.0)
    assert np.allclose(seen, plain(image), atol=1e-4)


def packed(folder: Path, image: np.ndarray) -> PackedImages:
    cv2.imwrite(str(folder / "image.png"), image)
    return pack_images(["image.png"], root=folder, cache_dir=folder)


def test_lung_masks_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = packed(tmp_path, chest_like(220, 180))
    masks = lung_masks(images, cache_dir=tmp_path)
    assert masks.shape == (1, 64, 64)
    assert masks.any()
    monkeypatch.delattr(module, "find_lungs")
    assert np.array_equal(lung_masks(images, cache_dir=tmp_path), masks)


def test_an_image_without_lungs_found_has_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(100, 110, (120, 90)).astype(np.uint8)
    assert not lung_masks(packed(tmp_path, noise), cache_dir=tmp_path).any()
