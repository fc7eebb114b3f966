"""Inputs of training: preprocessed as at inference, and drawn evenly."""

from __future__ import annotations

import numpy as np
import pytest

from ml.datasets.image_cache import PackedImages, packed_image
from ml.preprocessing import crop, find_geometry, preprocess
from ml.training.samples.sequences import evenly_drawn, plain_inputs
from tests.ml.image_factory import chest_like

pytestmark = pytest.mark.slow


def test_training_inputs_equal_inference_inputs() -> None:
    image = chest_like(240, 200) // 257 * 257
    packed = packed_image(image)
    assert np.array_equal(
        packed.astype(np.uint16) * 257, crop(image, find_geometry(image, size=384))
    )

    images = PackedImages(
        packed.ravel(),
        offsets=np.array([0]),
        shapes=np.array([(*packed.shape, 1)]),
        key="one",
    )
    trained_on = plain_inputs(images, [0], size=64)[0]
    assert np.abs(trained_on - preprocess(image, size=64)[0]).max() < 0.05


def test_images_are_drawn_by_share_and_repeat_only_after_all_were_drawn() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    drawn = evenly_drawn(
        labels, shares=[0.5, 0.5], count=40, rng=np.random.default_rng(0)
    )
    assert (labels[drawn] == 0).sum() == 20
    assert len(set(drawn[labels[drawn] == 0])) == 20
    assert (
        np.bincount(drawn[labels[drawn] == 1], minlength=100)[90:].tolist() == [2] * 10
    )
