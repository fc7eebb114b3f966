"""Xception (Chollet 2017, figure 5), flat, for any input size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.architectures.layers import convolution, normalisation, pooled_head

if TYPE_CHECKING:
    import keras

# Channels of the entry flow's blocks; the middle flow repeats one block.
ENTRY_CHANNELS = (128, 256, 728)
MIDDLE_BLOCKS = 8
MIDDLE_CHANNELS = 728
EXIT_CHANNELS = (1024, 1536, 2048)
DROPOUT = 0.3


def build_xception(
    classes: int, channels: int, dtype: str, size: int | None
) -> keras.Model:
    """Build an Xception with dropout before its dense layer."""
    import keras

    layers = keras.layers
    image = keras.Input((size, size, channels), name="image")
    x = convolution(image, 32, 3, 2, "stem1", dtype)
    x = layers.ReLU(name="stem1_relu", dtype=dtype)(x)
    x = convolution(x, 64, 3, 1, "stem2", dtype)
    x = layers.ReLU(name="stem2_relu", dtype=dtype)(x)
    for number, width in enumerate(ENTRY_CHANNELS, start=1):
        x = _down(x, (width, width), f"entry{number}", dtype, first_relu=number > 1)
    for number in range(1, MIDDLE_BLOCKS + 1):
        x = _middle(x, f"middle{number}", dtype)
    x = _down(x, (MIDDLE_CHANNELS, EXIT_CHANNELS[0]), "exit1", dtype, first_relu=True)
    for number, width in enumerate(EXIT_CHANNELS[1:], start=2):
        x = _separable(x, width, f"exit{number}", dtype)
        x = layers.ReLU(name=f"exit{number}_relu", dtype=dtype)(x)
    outputs = pooled_head(x, classes=classes, dropout=DROPOUT)
    return keras.Model(image, outputs, name="xception")


def _down(
    x: keras.KerasTensor,
    widths: tuple[int, int],
    label: str,
    dtype: str,
    *,
    first_relu: bool,
) -> keras.KerasTensor:
    """Add two separable convolutions and a pooling, beside a strided shortcut."""
    import keras

    layers = keras.layers
    shortcut = convolution(x, widths[1], 1, 2, f"{label}_shortcut", dtype)
    if first_relu:
        x = layers.ReLU(name=f"{label}_relu1", dtype=dtype)(x)
    x = _separable(x, widths[0], f"{label}_1", dtype)
    x = layers.ReLU(name=f"{label}_relu2", dtype=dtype)(x)
    x = _separable(x, widths[1], f"{label}_2", dtype)
    x = layers.MaxPooling2D(3, 2, padding="same", name=f"{label}_pool", dtype=dtype)(x)
    return layers.Add(name=f"{label}_add", dtype=dtype)([x, shortcut])


def _middle(x: keras.KerasTensor, label: str, dtype: str) -> keras.KerasTensor:
    import keras

    layers = keras.layers
    y = x
    for number in (1, 2, 3):
        y = layers.ReLU(name=f"{label}_relu{number}", dtype=dtype)(y)
        # Each block starts as the identity, which trains faster from random weights.
        scale = "zeros" if number == 3 else "ones"
        y = _separable(y, MIDDLE_CHANNELS, f"{label}_{number}", dtype, scale=scale)
    return layers.Add(name=f"{label}_add", dtype=dtype)([x, y])


def _separable(
    x: keras.KerasTensor, filters: int, label: str, dtype: str, *, scale: str = "ones"
) -> keras.KerasTensor:
    import keras

    x = keras.layers.SeparableConv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        pointwise_initializer="he_normal",
        name=f"{label}_conv",
        dtype=dtype,
    )(x)
    return normalisation(x, label, dtype, scale=scale)
