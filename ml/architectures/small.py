"""Small networks: three convolutions and a dense layer, and one with normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.architectures.layers import convolution, pooled_head
from ml.errors import ModelError

if TYPE_CHECKING:
    import keras

PLAIN_CHANNELS = (32, 64, 128)
PLAIN_DENSE = 256
PLAIN_DROPOUT = 0.5
NORMALISED_CHANNELS = (32, 64, 128, 192, 256)
NORMALISED_DROPOUT = 0.3


def build_small_cnn(
    classes: int, channels: int, dtype: str, size: int | None
) -> keras.Model:
    """Build three blocks of convolution and pooling, then dense layers.

    The maps are those of the last block, after its pooling.

    Raises:
        ModelError: No size is given; the dense layer needs it.
    """
    import keras

    if size is None:
        raise ModelError("The architecture small-cnn needs an input size.")
    layers = keras.layers
    x = image = keras.Input((size, size, channels), name="image")
    for number, width in enumerate(PLAIN_CHANNELS, start=1):
        x = layers.Conv2D(
            width,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"block{number}_conv",
            dtype=dtype,
        )(x)
        x = layers.MaxPooling2D(2, name=f"block{number}_pool", dtype=dtype)(x)
    maps = layers.Activation("linear", name="maps", dtype="float32")(x)
    x = layers.Flatten(name="flat", dtype="float32")(maps)
    x = layers.Dense(
        PLAIN_DENSE,
        activation="relu",
        kernel_initializer="he_normal",
        name="dense",
        dtype=dtype,
    )(x)
    x = layers.Dropout(PLAIN_DROPOUT, name="dense_dropout", dtype="float32")(x)
    logits = layers.Dense(classes, name="logits", dtype="float32")(x)
    return keras.Model(image, [logits, maps], name="small-cnn")


def build_normalised_cnn(
    classes: int, channels: int, dtype: str, size: int | None
) -> keras.Model:
    """Build five blocks of two convolutions with batch normalisation and dropout."""
    import keras

    layers = keras.layers
    x = image = keras.Input((size, size, channels), name="image")
    for number, width in enumerate(NORMALISED_CHANNELS, start=1):
        for half in (1, 2):
            label = f"block{number}_{half}"
            x = convolution(x, width, 3, 2 if half == 2 else 1, label, dtype)
            x = layers.ReLU(name=f"{label}_relu", dtype=dtype)(x)
    outputs = pooled_head(x, classes=classes, dropout=NORMALISED_DROPOUT)
    return keras.Model(image, outputs, name="normalised-cnn")
