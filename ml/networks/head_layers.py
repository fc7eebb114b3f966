"""Make a `ml.networks.heads.Head` of the Keras layers behind the last maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import ModelError
from ml.networks.heads import (
    ACTIVATIONS,
    Activation,
    Dense,
    Flatten,
    GlobalPooling,
    Head,
    Pooling,
    Scale,
    Step,
)

if TYPE_CHECKING:
    import keras

# What does nothing once a network is trained.
IDLE_LAYERS = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "SpatialDropout2D",
    }
)


def head_of_network(network: keras.Model) -> Head:
    """Read the head of a network with the outputs (logits, maps).

    Raises:
        ModelError: A layer between the two is none that a head can have.
    """
    logits, maps = network.outputs
    return Head([step for layer in layers_between(maps, logits) for step in _of(layer)])


def layers_between(
    first: keras.KerasTensor, last: keras.KerasTensor
) -> list[keras.layers.Layer]:
    """Return the layers on the way from one tensor to another, in their order.

    Raises:
        ModelError: There is no single way.
    """
    layers: list[keras.layers.Layer] = []
    tensor = last
    while tensor is not first:
        layer, inputs = made_by(tensor)
        if len(inputs) != 1:
            raise ModelError(
                f"{layer.name} joins or begins several ways: the head is no chain."
            )
        layers.insert(0, layer)
        tensor = inputs[0]
    return layers


def made_by(
    tensor: keras.KerasTensor,
) -> tuple[keras.layers.Layer, list[keras.KerasTensor]]:
    """Return the layer that made a tensor, and what went into it there."""
    layer, node, _ = tensor._keras_history
    return layer, list(layer._inbound_nodes[node].input_tensors)


def _of(layer: keras.layers.Layer) -> list[Step]:
    """Return what a layer does as steps, none where it does nothing."""
    kind = type(layer).__name__
    if kind in IDLE_LAYERS:
        return []
    if kind not in READERS:
        raise ModelError(f"A head cannot have the layer {layer.name} ({kind}).")
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise ModelError(f"{layer.name} has its channels first.")
    return READERS[kind](layer)


def _pooling(how: str) -> Callable[[Any], list[Step]]:
    def read(layer: Any) -> list[Step]:
        return [Pooling(how, layer.pool_size, layer.strides, layer.padding)]

    return read


def _global_pooling(how: str) -> Callable[[Any], list[Step]]:
    def read(layer: Any) -> list[Step]:
        # With kept dimensions of 1 the values are the same, in the same order.
        return [GlobalPooling(how)]

    return read


def _flatten(layer: Any) -> list[Step]:
    if len(layer.output.shape) != 2:
        raise ModelError(f"{layer.name} gives maps another shape.")
    return [Flatten()]


def _dense(layer: Any) -> list[Step]:
    if len(layer.input.shape) != 2 and tuple(layer.input.shape[1:-1]) != (1, 1):
        raise ModelError(f"{layer.name} is a dense layer over maps.")
    arrays = [np.asarray(array, np.float32) for array in layer.get_weights()]
    bias = arrays[1] if len(arrays) > 1 else np.zeros(arrays[0].shape[1], np.float32)
    return [Dense(arrays[0], bias), *_activation(layer.activation, layer.name)]


def _normalisation(layer: Any) -> list[Step]:
    rank = len(layer.input.shape)
    if layer.axis not in (-1, rank - 1):
        raise ModelError(f"{layer.name} does not normalise features.")
    mean, variance = _numbers(layer.moving_mean), _numbers(layer.moving_variance)
    factor = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factor = factor * _numbers(layer.gamma)
    offset = -mean * factor
    if layer.center:
        offset = offset + _numbers(layer.beta)
    return [Scale(factor, offset)]


def _numbers(variable: Any) -> np.ndarray:
    """Return a variable's values, float64, under whatever backend it lives."""
    import keras

    return keras.ops.convert_to_numpy(variable).astype(np.float64)


def _rectifier(layer: Any) -> list[Step]:
    if float(getattr(layer, "threshold", 0.0) or 0.0):
        raise ModelError(f"{layer.name} rectifies above another value than zero.")
    slope = float(np.asarray(layer.negative_slope or 0.0))
    limit = getattr(layer, "max_value", None)
    return [Activation("relu", slope, None if limit is None else float(limit))]


def _elu(layer: Any) -> list[Step]:
    if float(layer.alpha) != 1.0:
        raise ModelError(f"{layer.name} is an ELU with another alpha than 1.")
    return [Activation("elu")]


def _activation(function: Any, layer_name: str) -> list[Step]:
    name = getattr(function, "__name__", "linear") if function else "linear"
    if name == "linear":
        return []
    if name == "relu6":
        return [Activation("relu", 0.0, 6.0)]
    if name == "leaky_relu":
        return [Activation("relu", 0.2)]
    if name not in ACTIVATIONS:
        raise ModelError(f"The activation {name} of {layer_name} is not known.")
    return [Activation(name)]


READERS: dict[str, Callable[[Any], list[Step]]] = {
    "MaxPooling2D": _pooling("max"),
    "AveragePooling2D": _pooling("average"),
    "GlobalMaxPooling2D": _global_pooling("max"),
    "GlobalAveragePooling2D": _global_pooling("average"),
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Dense": _dense,
    "BatchNormalization": _normalisation,
    "ReLU": _rectifier,
    "LeakyReLU": _rectifier,
    "ELU": _elu,
    "Activation": lambda layer: _activation(layer.activation, layer.name),
}
