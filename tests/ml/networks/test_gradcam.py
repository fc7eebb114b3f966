"""Grad-CAM from the head alone equals GradientTape, for any head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow

from ml.architectures.build import ARCHITECTURES, build
from ml.errors import ModelError
from ml.networks.gradcam import grids
from ml.networks.head_layers import head_of_network, layers_between
from ml.networks.heads import Dense, GlobalPooling, Head, load_head
from tests.ml.conftest import tiny_network

pytestmark = pytest.mark.slow

layers = keras.layers
Layer = Callable[[Any], Any]

HEADS: dict[str, list[Layer]] = {
    "average pooling": [layers.GlobalAveragePooling2D()],
    "largest value": [layers.GlobalMaxPooling2D(), layers.Dense(7, activation="relu")],
    "flat": [layers.Flatten()],
    "flat, deep": [
        layers.Flatten(),
        layers.Dense(16, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(9, activation="tanh"),
    ],
    "pooled, flat, deep": [
        layers.MaxPooling2D(2),
        layers.SpatialDropout2D(0.1),
        layers.Flatten(),
        layers.Dense(16, use_bias=False),
        layers.BatchNormalization(),
        layers.LeakyReLU(negative_slope=0.1),
    ],
    "overlapping windows": [
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(max_value=6.0),
        layers.Flatten(),
        layers.Dense(12, activation="silu"),
    ],
    "means of windows": [
        layers.AveragePooling2D(3, strides=2, padding="same"),
        layers.Reshape((-1,)),
        layers.Dense(12, activation="sigmoid"),
        layers.ELU(),
    ],
    "normalised, then flat": [
        layers.BatchNormalization(scale=False),
        layers.Activation("softplus"),
        layers.Flatten(),
    ],
}


def by_gradient_tape(
    network: keras.Model, maps: tensorflow.Tensor, label: int
) -> np.ndarray:
    """Return the scaled map of a label's logit from the last maps, the usual way."""
    with tensorflow.GradientTape() as tape:
        tape.watch(maps)
        x = maps
        for layer in layers_between(network.outputs[1], network.outputs[0]):
            x = layer(x, training=False)
        logit = x[:, label]
    weights = tensorflow.reduce_mean(tape.gradient(logit, maps), axis=(1, 2))
    raw = tensorflow.nn.relu(tensorflow.einsum("bhwc,bc->bhw", maps, weights)).numpy()
    raw = raw[0]
    return raw / raw.max() if raw.max() > 0 else raw


def assert_equal_to_gradient_tape(network: keras.Model, size: int, head: Head) -> None:
    rng = np.random.default_rng(1)
    channels = network.inputs[0].shape[-1]
    # Two images: what is kept from the first must not show on the second.
    for image in rng.normal(size=(2, size, size, channels)).astype(np.float32):
        logits, maps = network(image[None], training=False)
        heat_maps, scales = grids(maps.numpy()[0], head)
        for label in range(logits.shape[1]):
            expected = by_gradient_tape(network, maps, label)
            # float16 is what is stored: half a unit in its last place at 1.
            assert np.abs(heat_maps[label] - expected).max() <= 2**-11 + 1e-5
            assert (scales[label] > 0) == (expected.max() > 0)
        again = head.logits(maps.numpy()[0])
        assert again == pytest.approx(logits.numpy()[0], rel=1e-3, abs=1e-3)


def with_head(head: list[Layer], *, size: int = 36) -> keras.Model:
    """Build a small network with a head, all of whose weights count."""
    keras.utils.set_random_seed(4)
    image = keras.Input((size, size, 1))
    maps = layers.Conv2D(6, 3, strides=4, activation="relu")(image)
    x = maps
    for layer in head:
        x = layer.__class__.from_config(layer.get_config())(x)
    network = keras.Model(image, [layers.Dense(3)(x), maps])
    rng = np.random.default_rng(2)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return network


def test_grids_equal_those_of_gradient_tape() -> None:
    network = tiny_network()
    assert_equal_to_gradient_tape(network, 64, head_of_network(network))


@pytest.mark.parametrize("name", HEADS)
def test_grids_of_other_heads_equal_those_of_gradient_tape(
    name: str, tmp_path: Path
) -> None:
    network = with_head(HEADS[name])
    head_of_network(network).save(tmp_path / "head.npz")
    assert_equal_to_gradient_tape(network, 36, load_head(tmp_path / "head.npz"))


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"tiny"}))
def test_grids_of_each_architecture_equal_those_of_gradient_tape(
    architecture: str,
) -> None:
    keras.utils.set_random_seed(3)
    network = build(architecture, classes=2, size=96)
    for layer in network.layers:
        if layer.name.endswith("_norm"):
            # As trained: zeros here would switch the blocks off.
            layer.gamma.assign(keras.random.uniform(layer.gamma.shape, 0.5, 1.5))
    assert_equal_to_gradient_tape(network, 96, head_of_network(network))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ([layers.Conv2D(2, 3), layers.Flatten()], "Conv2D"),
        ([layers.Flatten(), layers.Dense(4, activation="mish")], "mish"),
        ([layers.Flatten(), layers.LayerNormalization()], "LayerNormalization"),
        (
            [layers.ReLU(), layers.MaxPooling2D(2), layers.Flatten()],
            "must come before all other layers",
        ),
        ([layers.Flatten(), layers.ReLU(threshold=1.0)], "threshold other than 0"),
    ],
)
def test_a_head_without_a_known_gradient_is_refused(
    head: list[Layer], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        head_of_network(with_head(head))


def test_a_damaged_head_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_bytes(b"PK")
    with pytest.raises(ModelError, match="cannot be read"):
        load_head(tmp_path / "head.npz")


def pooled(kernel: np.ndarray) -> Head:
    return Head([GlobalPooling("average"), Dense(kernel, np.zeros(kernel.shape[1]))])


def test_a_label_without_positive_values_has_a_grid_of_zeros() -> None:
    maps = np.ones((3, 3, 4), np.float32)
    kernel = np.stack([np.ones(4), -np.ones(4), np.zeros(4)], axis=1)
    heat_maps, scales = grids(maps, pooled(kernel))
    assert heat_maps[0].max() == 1
    assert not heat_maps[1:].any()
    assert scales.tolist()[1:] == [0, 0]
    assert np.isfinite(heat_maps).all()


def test_grids_are_small_and_at_most_one() -> None:
    rng = np.random.default_rng(0)
    heat_maps, scales = grids(
        rng.normal(size=(5, 5, 16)), pooled(rng.normal(size=(16, 6)))
    )
    assert heat_maps.shape == (6, 5, 5)
    assert heat_maps.dtype == np.float16
    assert heat_maps.max() <= 1
    assert heat_maps.min() >= 0
    assert scales.dtype == np.float32
