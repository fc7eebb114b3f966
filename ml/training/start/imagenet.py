"""Load the ImageNet weights that Keras publishes into our networks.

Colour pictures become grey images: the first kernel is summed over its input channels
and scaled, so that it answers to our normalised input as it did to the pictures that
it was trained on. What remains of shifts and biases goes into the normalisation behind
each convolution. Xception's first convolutions are padded here and were not there, and
ResNet-50 strides in the 3x3 convolution instead of the 1x1 before it: in those the
weights are a beginning, not the same function.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.architectures.resnet import RESNET50_STAGES
from ml.architectures.xception import ENTRY_CHANNELS, EXIT_CHANNELS, MIDDLE_BLOCKS
from ml.errors import TrainingError
from ml.preprocessing import INPUT_MEAN, INPUT_STANDARD_DEVIATION

if TYPE_CHECKING:
    import keras

LayerArrays = dict[str, list[np.ndarray]]

PUBLISHED = (
    "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
PATIENCE_S = 10
COLOUR_MEAN = np.array([0.485, 0.456, 0.406])
COLOUR_DEVIATION = np.array([0.229, 0.224, 0.225])
# As Keras' ResNet takes colours: blue, green, red in 0..255, less these means.
BLUE_GREEN_RED_MEAN = np.array([103.939, 116.779, 123.68])


@dataclass(frozen=True)
class Origin:
    """A network of keras.applications, and what its input was.

    `scale` and `shift` turn grey values of 0..1 into its three channels.
    """

    application: str
    stem: str
    scale: np.ndarray
    shift: np.ndarray
    options: Mapping[str, bool]


ORIGINS = {
    "resnet50": Origin(
        "ResNet50", "conv1", np.full(3, 255.0), -BLUE_GREEN_RED_MEAN, {}
    ),
    "xception": Origin(
        "Xception", "block1_conv1", np.full(3, 2.0), np.full(3, -1.0), {}
    ),
    "densenet121": Origin(
        "DenseNet121",
        "conv1",
        1 / COLOUR_DEVIATION,
        -COLOUR_MEAN / COLOUR_DEVIATION,
        {},
    ),
    "efficientnetv2-b0": Origin(
        "EfficientNetV2B0",
        "stem",
        1 / COLOUR_DEVIATION,
        -COLOUR_MEAN / COLOUR_DEVIATION,
        {"include_preprocessing": False},
    ),
}


def imagenet_arrays(network: keras.Model) -> LayerArrays:
    """Download ImageNet weights and return them by the layers of a network.

    Raises:
        TrainingError: There are none for this architecture, or no network to get them.
    """
    import keras

    origin = ORIGINS.get(network.name)
    if origin is None:
        raise TrainingError(
            "There are ImageNet weights only for: %(known)s.",
            params={"known": ", ".join(ORIGINS)},
        )
    if not list(_downloads().glob(f"{network.name}_*notop.h5")):
        _check_reachable()
    application = getattr(keras.applications, origin.application)
    source = application(include_top=False, weights="imagenet", **origin.options)
    return translated(source, network, origin)


def _downloads() -> Path:
    """Return the download folder of Keras."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "models"


def _check_reachable() -> None:
    """Check that the weights can be downloaded; Keras raises no clear error."""
    try:
        request = urllib.request.Request(PUBLISHED, method="HEAD")
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()  # noqa: S310
    except OSError as error:
        raise TrainingError(
            "The ImageNet weights cannot be downloaded (%(reason)s). Start from "
            "--init random, a .keras file, or NAME/VERSION of an installed model.",
            params={"reason": _reason(error)},
            reason_code="no_network",
        ) from error


def _reason(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    return str(getattr(error, "reason", error))


def translated(source: keras.Model, target: keras.Model, origin: Origin) -> LayerArrays:
    """Return the arrays of `source` for the layers of `target` that it has."""
    pairs = _pairs(source, target)
    arrays: LayerArrays = {}
    for own, theirs in pairs.items():
        layer = source.get_layer(theirs)
        arrays[own] = [np.asarray(v.numpy(), np.float32) for v in layer.weights]
    for own, theirs in pairs.items():
        layer = source.get_layer(theirs)
        if layer.__class__.__name__ == "BatchNormalization":
            # Ours divides by another small number besides the variance.
            difference = layer.epsilon - target.get_layer(own).epsilon
            arrays[own][3] = np.maximum(arrays[own][3] + difference, 0)
    _fold_biases(arrays, target)
    _fold_colours(arrays, target, pairs, origin)
    return arrays


def _fold_biases(arrays: LayerArrays, target: keras.Model) -> None:
    """Subtract a convolution's bias, which ours lack, from the next mean."""
    for own in arrays:
        if own.endswith("_conv") and len(arrays[own]) > len(
            target.get_layer(own).variables
        ):
            bias = arrays[own].pop()
            arrays[_norm_of(own, arrays)][2] -= bias


def _fold_colours(
    arrays: LayerArrays, target: keras.Model, pairs: dict[str, str], origin: Origin
) -> None:
    """Sum the first kernel over the colours, for grey images."""
    first = next(own for own, theirs in pairs.items() if theirs.startswith(origin.stem))
    kernel = arrays[first][0].astype(np.float64)
    channels = target.get_layer(first).variables[0].shape[2]
    # An input of ours is a grey value less its mean, by its deviation.
    slope = origin.scale * INPUT_STANDARD_DEVIATION
    offset = origin.scale * INPUT_MEAN + origin.shift
    grey = (kernel * slope[:, None]).sum(axis=2, keepdims=True) / channels
    arrays[first][0] = np.repeat(grey, channels, axis=2).astype(np.float32)
    shifted = (kernel * offset[:, None]).sum(axis=(0, 1, 2))
    arrays[_norm_of(first, arrays)][2] -= shifted.astype(np.float32)


def _norm_of(convolution: str, arrays: LayerArrays) -> str:
    """Return the normalisation behind a convolution, in our names or Keras'."""
    label = convolution.removesuffix("_conv")
    return f"{label}_norm" if f"{label}_norm" in arrays else f"{label}_bn"


def _pairs(source: keras.Model, target: keras.Model) -> dict[str, str]:
    """Return the layer of `source` for each layer of `target` that has arrays."""
    if target.name == "resnet50":
        return _with_norms(RESNET50_NAMES, convolution="_conv")
    if target.name == "xception":
        return _with_norms(XCEPTION_NAMES, convolution="") | _shortcuts(source)
    known = {layer.name for layer in source.layers}
    return {
        layer.name: layer.name
        for layer in target.layers
        if layer.weights and layer.name in known
    }


def _with_norms(names: dict[str, str], *, convolution: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for own, theirs in names.items():
        pairs[f"{own}_conv"] = f"{theirs}{convolution}"
        pairs[f"{own}_norm"] = f"{theirs}_bn"
    return pairs


def _shortcuts(source: keras.Model) -> dict[str, str]:
    """Return the shortcuts of Xception, which Keras leaves to its counters."""
    unnamed = [layer.name for layer in source.layers]
    convolutions = [name for name in unnamed if name.startswith("conv2d")]
    norms = [name for name in unnamed if name.startswith("batch_normalization")]
    pairs: dict[str, str] = {}
    for own, convolution, norm in zip(
        XCEPTION_SHORTCUTS, convolutions, norms, strict=True
    ):
        pairs[f"{own}_conv"], pairs[f"{own}_norm"] = convolution, norm
    return pairs


def _resnet50_names() -> dict[str, str]:
    names = {"stem": "conv1"}
    parts = {"reduce": 1, "spatial": 2, "expand": 3}
    for stage, (blocks, _) in enumerate(RESNET50_STAGES, start=1):
        for block in range(1, blocks + 1):
            own, theirs = f"stage{stage}_block{block}", f"conv{stage + 1}_block{block}"
            if block == 1:
                names[f"{own}_shortcut"] = f"{theirs}_0"
            for part, number in parts.items():
                names[f"{own}_{part}"] = f"{theirs}_{number}"
    return names


def _xception_names() -> dict[str, str]:
    names = {"stem1": "block1_conv1", "stem2": "block1_conv2"}
    entries = len(ENTRY_CHANNELS)
    for block in range(1, entries + 1):
        for number in (1, 2):
            names[f"entry{block}_{number}"] = f"block{block + 1}_sepconv{number}"
    for block in range(1, MIDDLE_BLOCKS + 1):
        for number in (1, 2, 3):
            theirs = f"block{block + 1 + entries}_sepconv{number}"
            names[f"middle{block}_{number}"] = theirs
    last = entries + MIDDLE_BLOCKS + 2
    for number in (1, 2):
        names[f"exit1_{number}"] = f"block{last}_sepconv{number}"
    for number in range(1, len(EXIT_CHANNELS)):
        names[f"exit{number + 1}"] = f"block{last + 1}_sepconv{number}"
    return names


RESNET50_NAMES = _resnet50_names()
XCEPTION_NAMES = _xception_names()
XCEPTION_SHORTCUTS = (
    *(f"entry{block}_shortcut" for block in range(1, len(ENTRY_CHANNELS) + 1)),
    "exit1_shortcut",
)
