"""Rebuild any Keras network as one flat graph with the outputs (logits, maps).

User networks may nest a whole Xception as one layer, scale the input inside, or end
with a softmax. The flat graph has new layers with unique names. Layers that do nothing
at inference are dropped, the final activation is removed, and the maps of the last
convolution become an output if the gradient of the layers behind them is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ml.errors import ModelError
from ml.networks.head_layers import IDLE_LAYERS, head_of_network, made_by

if TYPE_CHECKING:
    import keras

# Augmentation layers: active in training only.
VARYING_LAYERS = frozenset(
    {
        "RandomBrightness",
        "RandomColorJitter",
        "RandomContrast",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomHue",
        "RandomRotation",
        "RandomSaturation",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
    }
)
POOLINGS = frozenset({"AveragePooling2D", "MaxPooling2D"})
POINTWISE = frozenset(
    {"Activation", "BatchNormalization", "ELU", "LeakyReLU", "PReLU", "ReLU"}
)
ACTIVATIONS_OF_TASKS = {"softmax": "softmax", "sigmoid": "sigmoid"}
MAP_RANK = 4


@dataclass(frozen=True)
class Flat:
    """A flat network and its properties.

    `network` has the outputs (logits, maps), or only logits; then `no_maps` is the
    reason. `activation` is the final activation that was removed, "" if there was none.
    """

    network: keras.Model
    activation: str
    last_convolution: str
    no_maps: str


def flatten(model: keras.Model, *, size: int, channels: int) -> Flat:
    """Rebuild a network as a flat graph for one input size.

    Args:
        model: Any functional or sequential network with one input and one output.
        size: Side of the input.
        channels: Channels of the input.

    Raises:
        ModelError: The network is of another kind.
    """
    import keras

    image = keras.Input((size, size, channels), name="image")
    try:
        outputs = _Copier()(model, image)
    except (ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            "The network cannot be rebuilt: %(reason)s", params={"reason": reason}
        ) from error
    if isinstance(outputs, list | tuple) and len(outputs) == 1:
        (outputs,) = outputs
    if isinstance(outputs, list | tuple | dict):
        raise ModelError("The network has several outputs; one is expected.")
    logits, activation = _without_activation(outputs)
    try:
        maps = _last_maps(logits)
        network = keras.Model(image, [logits, maps])
        head_of_network(network)
    except ModelError as error:
        return Flat(keras.Model(image, logits), activation, "", error.message)
    except (AttributeError, ValueError):
        reason = "A layer of the head is also used elsewhere."
        return Flat(keras.Model(image, logits), activation, "", reason)
    return Flat(network, activation, made_by(maps)[0].name, "")


class _Copier:
    """Calls copies of layers; a layer that is used twice has one copy."""

    def __init__(self) -> None:
        self._copies: dict[int, keras.layers.Layer] = {}
        self._names: set[str] = set()

    def __call__(self, operation: Any, *inputs: Any, **options: Any) -> Any:
        """Apply a layer, or everything inside a network, to symbolic tensors."""
        import keras

        kind = type(operation).__name__
        if isinstance(operation, keras.Sequential):
            for layer in operation.layers:
                inputs = (self(layer, *inputs),)
            return inputs[0]
        if isinstance(operation, keras.Model):
            if not hasattr(operation, "_run_through_graph"):
                raise ModelError(
                    "%(kind)s is a custom class of network. Use a functional or "
                    "sequential model.",
                    params={"kind": kind},
                )
            return operation._run_through_graph(
                inputs, operation_fn=lambda inner: partial(self, inner)
            )
        if kind in IDLE_LAYERS or kind in VARYING_LAYERS:
            return inputs[0]
        options = {k: v for k, v in options.items() if k not in ("training", "mask")}
        if not isinstance(operation, keras.layers.Layer):
            return operation(*inputs, **options)
        return self._called(operation, *inputs, **options)

    def _called(self, layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        """Call the copy of a layer; the first call creates it with its weights."""
        import keras

        if id(layer) in self._copies:
            return self._copies[id(layer)](*inputs, **options)
        config = layer.get_config() | {"name": self._free_name(layer.name)}
        config["dtype"] = "float32"
        copy = layer.__class__.from_config(config)
        copy.trainable = False
        outputs = copy(*inputs, **options)
        copy.set_weights(layer.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()
        self._copies[id(layer)] = copy
        return outputs

    def _free_name(self, name: str) -> str:
        name = name.replace("/", "_")
        free, number = name, 1
        while free in self._names or free == "image":
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free


def _without_activation(
    outputs: keras.KerasTensor,
) -> tuple[keras.KerasTensor, str]:
    """Remove a final softmax or sigmoid; return the logits and its name."""
    import keras

    layer, inputs = made_by(outputs)
    if isinstance(layer, keras.layers.Softmax):
        return inputs[0], "softmax"
    # keras.activations.sigmoid(x), called as a function, is an operation, not a layer.
    operation = type(layer).__name__.lower()
    if not isinstance(layer, keras.layers.Layer) and operation in ACTIVATIONS_OF_TASKS:
        return inputs[0], operation
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", "linear") if function else "linear"
    if name == "linear":
        return outputs, ""
    if name not in ACTIVATIONS_OF_TASKS:
        raise ModelError(
            "The network ends with %(activation)s; softmax or sigmoid is expected.",
            params={"activation": name},
        )
    if isinstance(layer, keras.layers.Activation):
        return inputs[0], name
    # The layer is a copy, so the user's network is not changed.
    layer.activation = keras.activations.linear
    return outputs, name


def _last_maps(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return the maps of the last convolution, before any pooling behind it.

    Raises:
        ModelError: The head is not a chain of layers, or the maps have one position.
    """
    tensor = logits
    while len(tensor.shape) != MAP_RANK:
        tensor = _before(tensor)
    maps = _before_poolings(tensor)
    if min(maps.shape[1], maps.shape[2]) < 2:
        raise ModelError(
            "The last maps have a single position, so they cannot be a heat map."
        )
    return maps


def _before_poolings(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """Go back over pointwise layers, and over the poolings before them."""
    maps, pooled = tensor, False
    while True:
        kind = type(made_by(tensor)[0]).__name__
        if kind in POOLINGS:
            pooled = True
        elif pooled or kind not in POINTWISE:
            return maps
        tensor = _before(tensor)
        if pooled:
            maps = tensor


def _before(tensor: keras.KerasTensor) -> keras.KerasTensor:
    layer, inputs = made_by(tensor)
    if len(inputs) != 1:
        raise ModelError(
            "%(layer)s has several inputs, so the head is not a chain of layers.",
            params={"layer": layer.name},
        )
    return inputs[0]
