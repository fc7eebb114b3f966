"""Convert the configuration of Keras 2 `.h5` files to that of Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml.errors import ModelError

# Arguments that Keras 3 does not accept, with the values that have no effect. None: no
# value has an effect at inference.
_DROPPED: dict[str, dict[str, tuple[Any, ...] | None]] = {
    "DepthwiseConv2D": {
        "groups": (1,),
        "filters": (None,),
        "kernel_initializer": None,
        "kernel_regularizer": None,
        "kernel_constraint": None,
    },
    "SeparableConv2D": {
        "groups": (1,),
        "kernel_initializer": None,
        "kernel_regularizer": None,
        "kernel_constraint": None,
    },
    "Conv2DTranspose": {"groups": (1,)},
    "BatchNormalization": {
        "renorm": (False, None),
        "virtual_batch_size": (None,),
        "fused": None,
        "adjustment": (None,),
    },
    "InputLayer": {"ragged": (False,), "sparse": (False,)},
}
# Arithmetic with a number, as (scale, offset) of a Rescaling layer.
_ARITHMETIC: dict[str, Callable[[float], tuple[float, float]]] = {
    "math.truediv": lambda y: (1.0 / y, 0.0),
    "math.divide": lambda y: (1.0 / y, 0.0),
    "math.multiply": lambda y: (y, 0.0),
    "math.subtract": lambda y: (1.0, -y),
    "math.add": lambda y: (1.0, y),
    "__operators__.add": lambda y: (1.0, y),
}
# The same operations under their Keras 3 names; Keras 3 cannot read them from `.h5`.
_FUNCTIONS = {
    "Add": "math.add",
    "Divide": "math.divide",
    "Multiply": "math.multiply",
    "Subtract": "math.subtract",
    "TrueDivide": "math.truediv",
}
# In a node of a Keras 2 graph: (layer, node, tensor, further arguments).
_ARGUMENTS = 3


def modernise(config: Any) -> Any:
    """Return a network's configuration as Keras 3 accepts it.

    Raises:
        ModelError: It has a TensorFlow operation that no layer can replace.
    """
    if isinstance(config, list):
        return [modernise(item) for item in config]
    if not isinstance(config, dict):
        return config
    changed = {name: modernise(value) for name, value in config.items()}
    if isinstance(changed.get("config"), dict) and "class_name" in changed:
        return _layer(changed)
    return changed


def _layer(layer: dict[str, Any]) -> dict[str, Any]:
    kind, config = layer["class_name"], layer["config"]
    # Layers of the same name have more in their configuration.
    if kind in _FUNCTIONS and set(config) == {"name"}:
        return _rescaling_of_keras_3(layer)
    if kind in ("TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda"):
        return _rescaling(layer)
    for name, harmless in _DROPPED.get(kind, {}).items():
        if name in config and (harmless is None or config[name] in harmless):
            del config[name]
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list):
        (config["axis"],) = config["axis"]
    if isinstance(config.get("dtype"), dict) or "float16" in str(config.get("dtype")):
        # Mixed precision is for training; at inference everything is float32.
        config["dtype"] = "float32"
    return layer


def _rescaling(layer: dict[str, Any]) -> dict[str, Any]:
    """Replace arithmetic with a number, such as `x / 127.5`, by a Rescaling layer."""
    config = layer["config"]
    function = str(config.get("function", config.get("name")))
    nodes = layer.get("inbound_nodes") or []
    number = nodes[0][_ARGUMENTS].get("y") if _is_plain_call(nodes) else None
    if function not in _ARITHMETIC or not isinstance(number, int | float):
        raise _no_layer(function)
    scale, offset = _ARITHMETIC[function](float(number))
    before, node, tensor, _ = nodes[0]
    name = config["name"]
    return {
        "class_name": "Rescaling",
        "name": layer.get("name", name),
        "config": {"name": name, "dtype": "float32", "scale": scale, "offset": offset},
        "inbound_nodes": [[[before, node, tensor, {}]]],
    }


def _rescaling_of_keras_3(layer: dict[str, Any]) -> dict[str, Any]:
    nodes = layer.get("inbound_nodes") or []
    arguments = nodes[0].get("args", []) if len(nodes) == 1 else []
    number = arguments[1] if len(arguments) == 2 else None
    if not isinstance(number, int | float):
        raise _no_layer(layer["class_name"])
    function = _FUNCTIONS[layer["class_name"]]
    scale, offset = _ARITHMETIC[function](float(number))
    name = layer["config"]["name"]
    return {
        "class_name": "Rescaling",
        "name": name,
        "config": {"name": name, "dtype": "float32", "scale": scale, "offset": offset},
        "inbound_nodes": [{"args": [arguments[0]], "kwargs": {}}],
    }


def _no_layer(operation: str) -> ModelError:
    return ModelError(
        "The network uses the operation %(operation)s, which is not a layer. Use the "
        "layers Rescaling or Normalization instead.",
        params={"operation": operation},
        reason_code="weights_refused",
    )


def _is_plain_call(nodes: list[Any]) -> bool:
    """Tell whether an operation is called once, on one tensor, as `f(x, y=number)`."""
    return (
        len(nodes) == 1
        and isinstance(nodes[0], list)
        and len(nodes[0]) == _ARGUMENTS + 1
        and isinstance(nodes[0][_ARGUMENTS], dict)
    )
