"""Grad-CAM from the head's weights is what GradientTape finds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow

from ml.architectures import build
from ml.gradcam import grids
from tests.ml.conftest import tiny_network


def by_gradient_tape(
    network: keras.Model, film: np.ndarray, label: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scaled map of a label's logit, and the last maps, the usual way."""
    _, maps = network(film[None], training=False)
    with tensorflow.GradientTape() as tape:
        tape.watch(maps)
        pooled = network.get_layer("pool")(maps)
        logit = network.get_layer("logits")(pooled)[:, label]
    weights = tensorflow.reduce_mean(tape.gradient(logit, maps), axis=(1, 2))
    raw = tensorflow.nn.relu(tensorflow.einsum("bhwc,bc->bhw", maps, weights)).numpy()
    raw = raw[0]
    return (raw / raw.max() if raw.max() > 0 else raw), maps.numpy()[0]


def assert_equal_to_gradient_tape(network: keras.Model, size: int) -> None:
    film = np.random.default_rng(1).normal(size=(size, size, 1)).astype(np.float32)
    kernel = np.asarray(network.get_layer("logits").get_weights()[0])
    for label in range(kernel.shape[1]):
        expected, maps = by_gradient_tape(network, film, label)
        found, scales = grids(maps, kernel)
        # float16 is what is stored: half a unit in its last place at 1.
        assert np.abs(found[label] - expected).max() <= 2**-11 + 1e-6
        assert (scales[label] > 0) == (expected.max() > 0)


def test_grids_equal_gradient_tape() -> None:
    assert_equal_to_gradient_tape(tiny_network(), 64)


@pytest.mark.slow
def test_grids_equal_gradient_tape_on_a_resnet50() -> None:
    keras.utils.set_random_seed(3)
    assert_equal_to_gradient_tape(build("resnet50", classes=6), 160)


def test_a_label_that_nothing_speaks_for_has_zeros_and_no_nan() -> None:
    maps = np.ones((3, 3, 4), np.float32)
    kernel = np.stack([np.ones(4), -np.ones(4), np.zeros(4)], axis=1)
    found, scales = grids(maps, kernel)
    assert found[0].max() == 1
    assert not found[1:].any()
    assert scales.tolist()[1:] == [0, 0]
    assert np.isfinite(found).all()


def test_grids_are_small_and_at_most_one() -> None:
    rng = np.random.default_rng(0)
    found, scales = grids(rng.normal(size=(5, 5, 16)), rng.normal(size=(16, 6)))
    assert found.shape == (6, 5, 5)
    assert found.dtype == np.float16
    assert found.max() <= 1
    assert found.min() >= 0
    assert scales.dtype == np.float32
