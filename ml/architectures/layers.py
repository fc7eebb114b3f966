"""Layers that several networks share, each with a fixed name.

Weights are assigned by layer name, so no name is left to Keras' counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def normalisation(
    x: keras.KerasTensor,
    label: str,
    dtype: str,
    *,
    scale: str = "ones",
    epsilon: float = 1e-5,
) -> keras.KerasTensor:
    """Add batch normalisation; `scale` initialises its factor gamma."""
    import keras

    # Batch statistics exceed the range of float16, so they stay float32.
    norm_dtype = "float32" if dtype == "float16" else dtype
    return keras.layers.BatchNormalization(
        momentum=0.95,
        epsilon=epsilon,
        gamma_initializer=scale,
        name=f"{label}_norm",
        dtype=norm_dtype,
    )(x)


def convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    stride: int,
    label: str,
    dtype: str,
    *,
    scale: str = "ones",
) -> keras.KerasTensor:
    """Add a convolution without bias, and batch normalisation."""
    import keras

    layers = keras.layers
    if kernel > 1:
        # Explicit padding: with a stride, "same" pads by the size and shifts the image.
        x = layers.ZeroPadding2D(kernel // 2, name=f"{label}_pad", dtype=dtype)(x)
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{label}_conv",
        dtype=dtype,
    )(x)
    return normalisation(x, label, dtype, scale=scale)


def pooled_head(
    x: keras.KerasTensor, *, classes: int, dropout: float = 0.0
) -> list[keras.KerasTensor]:
    """Return logits and maps: global average pooling and one dense layer."""
    import keras

    layers = keras.layers
    maps = layers.Activation("linear", name="maps", dtype="float32")(x)
    pooled = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(maps)
    if dropout:
        pooled = layers.Dropout(dropout, name="pool_dropout", dtype="float32")(pooled)
    logits = layers.Dense(classes, name="logits", dtype="float32")(pooled)
    return [logits, maps]
