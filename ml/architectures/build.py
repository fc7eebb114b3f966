"""Network graphs: flat, every layer named, logits and the last maps as outputs.

Keras is imported inside the functions, so that code that only reads a card, draws a
heat map or runs an exported graph does not load it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ml.architectures.applications import (
    build_densenet121,
    build_efficientnetv2_b0,
)
from ml.architectures.efficientnet_lite import (
    build_efficientnet_lite0,
    build_efficientnet_lite1,
    build_efficientnet_lite2,
)
from ml.architectures.resnet import build_resnet50, build_tiny
from ml.architectures.small import build_normalised_cnn, build_small_cnn
from ml.architectures.xception import build_xception
from ml.errors import ModelError

if TYPE_CHECKING:
    import keras

ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "resnet50": build_resnet50,
    "xception": build_xception,
    "small-cnn": build_small_cnn,
    "normalised-cnn": build_normalised_cnn,
    "densenet121": build_densenet121,
    "efficientnetv2-b0": build_efficientnetv2_b0,
    "efficientnet-lite0": build_efficientnet_lite0,
    "efficientnet-lite1": build_efficientnet_lite1,
    "efficientnet-lite2": build_efficientnet_lite2,
    "tiny": build_tiny,
}
# Architectures that flatten the maps before a dense layer: the input size is fixed.
FIXED_SIZE = frozenset({"small-cnn"})


def build(
    architecture: str,
    *,
    classes: int,
    channels: int = 1,
    dtype: str = "float32",
    size: int | None = None,
) -> keras.Model:
    """Build a network with random weights and the outputs (logits, maps).

    Args:
        architecture: A name in `ARCHITECTURES`.
        classes: Number of labels.
        channels: Channels of the input.
        dtype: A Keras dtype policy; logits and maps are float32 whatever it is.
        size: Side of the input; taken only by architectures of `FIXED_SIZE`.

    Returns:
        A model from (batch, height, width, channels) to logits (batch, classes) and
        the last convolution's maps (batch, rows, columns, features).

    Raises:
        ModelError: There is no such architecture, or its size is missing.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(
            "There is no architecture %(architecture)s. Known: %(known)s.",
            params={
                "architecture": architecture,
                "known": ", ".join(sorted(ARCHITECTURES)),
            },
        )
    fixed = size if architecture in FIXED_SIZE else None
    return ARCHITECTURES[architecture](classes, channels, dtype, fixed)
