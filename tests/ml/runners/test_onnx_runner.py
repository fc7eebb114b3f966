"""ONNX Runtime gives the output of Keras, from the translated OpenVINO graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openvino
import pytest

from ml.architectures.build import build
from ml.cards.card import Card
from ml.errors import ModelError
from ml.inference import load_model
from ml.model_output import ModelOutput
from ml.networks.onnx_graph import translated
from ml.networks.openvino_export import ONNX_NAME
from tests.ml.conftest import install
from tests.ml.image_factory import chest_like

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.slow


def probabilities(model_output: ModelOutput) -> np.ndarray:
    return np.array([score.probability for score in model_output.scores])


def lively(architecture: str, *, size: int) -> keras.Model:
    """Return a network whose every layer moves the logits."""
    import keras

    keras.utils.set_random_seed(7)
    network = build(architecture, classes=3, size=size)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(keras.random.uniform(layer.gamma.shape, 0.8, 1.6))
            layer.beta.assign(keras.random.normal(layer.beta.shape, stddev=0.5))
    return network


def test_onnxruntime_gives_the_scores_and_grids_of_keras(
    tiny_card: Card, cache_dir: Path
) -> None:
    onnx_model = load_model(tiny_card, cache_dir=cache_dir, runner="onnxruntime")
    keras_model = load_model(tiny_card, cache_dir=cache_dir, runner="keras")
    ours = onnx_model.read(chest_like())
    theirs = keras_model.read(chest_like())
    assert (ours.backend, ours.precision) == ("onnxruntime", "float32")
    assert "onnxruntime" in ours.library_versions
    assert np.abs(probabilities(ours) - probabilities(theirs)).max() < 1e-4
    for mine, other in zip(ours.scores, theirs.scores, strict=True):
        assert np.abs(mine.grid - other.grid).max() <= 2**-9
        assert mine.scale == pytest.approx(other.scale, rel=1e-3)
    many = onnx_model.read_many([chest_like(), chest_like(seed=1)])
    assert isinstance(many[0], ModelOutput)
    assert np.array_equal(probabilities(many[0]), probabilities(ours))


@pytest.mark.parametrize(
    "architecture", ["efficientnet-lite0", "efficientnetv2-b0", "small-cnn"]
)
def test_every_kind_of_layer_is_translated(architecture: str, tmp_path: Path) -> None:
    card = install(tmp_path, lively(architecture, size=64), architecture=architecture)
    ours = load_model(card, cache_dir=tmp_path / "cache", runner="onnxruntime")
    theirs = load_model(card, cache_dir=tmp_path / "cache", runner="keras")
    one, two = ours.read(chest_like()), theirs.read(chest_like())
    assert np.ptp(probabilities(two)) > 0.01
    assert np.abs(probabilities(one) - probabilities(two)).max() < 1e-4


def test_the_translation_is_kept(tiny_card: Card, tmp_path: Path) -> None:
    load_model(tiny_card, cache_dir=tmp_path, runner="onnxruntime")
    [file] = tmp_path.glob(f"graphs/*/{ONNX_NAME}")
    written = file.stat().st_mtime_ns
    load_model(tiny_card, cache_dir=tmp_path, runner="onnxruntime")
    assert file.stat().st_mtime_ns == written


def test_an_operation_without_a_translation_is_named() -> None:
    image = openvino.opset13.parameter([1, 4], np.float32)
    graph = openvino.Model([openvino.opset13.erf(image)], [image], "strange")
    with pytest.raises(ModelError, match="operation Erf"):
        translated(graph)
