"""Networks of `keras.applications` with the pooled head of this project."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ml.architectures.layers import pooled_head

if TYPE_CHECKING:
    import keras

DROPOUT = 0.2


def build_densenet121(
    classes: int, channels: int, dtype: str, size: int | None
) -> keras.Model:
    """Build a DenseNet-121 (Huang et al. 2017)."""
    import keras

    return _with_head(
        keras.applications.DenseNet121, "densenet121", classes, channels, dtype, size
    )


def build_efficientnetv2_b0(
    classes: int, channels: int, dtype: str, size: int | None
) -> keras.Model:
    """Build an EfficientNetV2-B0 (Tan and Le 2021) without its own preprocessing."""
    import keras

    return _with_head(
        keras.applications.EfficientNetV2B0,
        "efficientnetv2-b0",
        classes,
        channels,
        dtype,
        size,
        include_preprocessing=False,
    )


def _with_head(
    application: Callable[..., keras.Model],
    name: str,
    classes: int,
    channels: int,
    dtype: str,
    size: int | None,
    **options: Any,
) -> keras.Model:
    import keras

    image = keras.Input((size, size, channels), name="image")
    trunk = application(include_top=False, weights=None, input_tensor=image, **options)
    outputs = pooled_head(trunk.output, classes=classes, dropout=DROPOUT)
    network = keras.Model(image, outputs, name=name)
    return _in_dtype(network, dtype)


def _in_dtype(network: keras.Model, dtype: str) -> keras.Model:
    """Rebuild a float32 network with another dtype policy for its trunk."""
    import keras

    if dtype == "float32":
        return network
    head = {"maps", "pool", "pool_dropout", "logits"}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        narrow = isinstance(layer, keras.layers.BatchNormalization)
        keeps = layer.name in head or (narrow and dtype == "float16")
        config["dtype"] = "float32" if keeps else dtype
        return layer.__class__.from_config(config)

    return keras.models.clone_model(network, clone_function=clone)
