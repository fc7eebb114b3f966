"""Build a `ml.networks.heads.Head` from the Keras layers behind the last maps."""

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

# Layers that do nothing at inference.
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
    """Build the head of a network with the outputs (logits, maps).

    Raises:
        ModelError: A layer between the two is not supported in a head.
    """
    logits, maps = network.outputs
    return Head([step for layer in layers_between(maps, logits) for step in _of(layer)])


def layers_between(
    first: keras.KerasTensor, last: keras.KerasTensor
) -> list[keras.layers.Layer]:
    """Return the layers between two tensors, in their order.

    Raises:
        ModelError: A layer has several inputs.
    """
    layers: list[keras.layers.Layer] = []
    tensor = last
    while tensor is not first:
        layer, inputs = made_by(tensor)
        if len(inputs) != 1:
            raise ModelError(
                "%(layer)s has several inputs, so the head is not a chain of layers.",
                params={"layer": layer.name},
            )
        layers.insert(0, layer)
        tensor = inputs[0]
    return layers


def made_by(
    tensor: keras.KerasTensor,
) -> tuple[keras.layers.Layer, list[keras.KerasTensor]]:
    """Return the layer that computes a tensor, and its inputs."""
    layer, node, _ = tensor._keras_history
    return layer, list(layer._inbound_nodes[node].input_tensors)


def _of(layer: keras.layers.Layer) -> list[Step]:
    """Return a layer as steps of a head; none if it does nothing at inference."""
    kind = type(layer).__name__
    if kind in IDLE_LAYERS:
        return []
    if kind not in READERS:
        raise ModelError(
            "The layer %(layer)s (%(kind)s) is not supported in a head.",
            params={"layer": layer.name, "kind": kind},
        )
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise ModelError(
            "%(layer)s has its channels first; channels last are expected.",
            params={"layer": layer.name},
        )
    return READERS[kind](layer)


def _pooling(how: str) -> Callable[[Any], list[Step]]:
    def read(layer: Any) -> list[Step]:
        return [Pooling(how, layer.pool_size, layer.strides, layer.padding)]

    return read


def _global_pooling(how: str) -> Callable[[Any], list[Step]]:
    def read(layer: Any) -> list[Step]:
        # `keepdims` changes neither the values nor their order.
        return [GlobalPooling(how)]

    return read


def _flatten(layer: Any) -> list[Step]:
    if len(layer.output.shape) != 2:
        raise ModelError(
            "%(layer)s reshapes the maps, which is not supported in a head.",
            params={"layer": layer.name},
        )
    return [Flatten()]


def _dense(layer: Any) -> list[Step]:
    if len(layer.input.shape) != 2 and tuple(layer.input.shape[1:-1]) != (1, 1):
        raise ModelError(
            "%(layer)s is a dense layer over maps, which is not supported in a head.",
            params={"layer": layer.name},
        )
    arrays = [np.asarray(array, np.float32) for array in layer.get_weights()]
    bias = arrays[1] if len(arrays) > 1 else np.zeros(arrays[0].shape[1], np.float32)
    return [Dense(arrays[0], bias), *_activation(layer.activation, layer.name)]


def _normalisation(layer: Any) -> list[Step]:
    rank = len(layer.input.shape)
    if layer.axis not in (-1, rank - 1):
        raise ModelError(
            "%(layer)s normalises another axis than the features.",
            params={"layer": layer.name},
        )
    mean, variance = _numbers(layer.moving_mean), _numbers(layer.moving_variance)
    factor = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factor = factor * _numbers(layer.gamma)
    offset = -mean * factor
    if layer.center:
        offset = offset + _numbers(layer.beta)
    return [Scale(factor, offset)]


def _numbers(variable: Any) -> np.ndarray:
    """Return the values of a variable of any backend, float64."""
    import keras

    return keras.ops.convert_to_numpy(variable).astype(np.float64)


def _rectifier(layer: Any) -> list[Step]:
    if float(getattr(layer, "threshold", 0.0) or 0.0):
        raise ModelError(
            "%(layer)s has a threshold other than 0.", params={"layer": layer.name}
        )
    slope = float(np.asarray(layer.negative_slope or 0.0))
    limit = getattr(layer, "max_value", None)
    return [Activation("relu", slope, None if limit is None else float(limit))]


def _elu(layer: Any) -> list[Step]:
    if float(layer.alpha) != 1.0:
        raise ModelError(
            "%(layer)s is an ELU with an alpha other than 1.",
            params={"layer": layer.name},
        )
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
        raise ModelError(
            "The activation %(activation)s of %(layer)s is not supported in a head.",
            params={"activation": name, "layer": layer_name},
        )
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
