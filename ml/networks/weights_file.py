"""Weights on disk: `.keras` files, float16, bound to their card by a hash.

A `.keras` file can carry code. So it is opened only when its sha256 is the card's,
only built-in layers are let in, Lambda layers are refused by name and by Keras' own
safe mode, and in the end nothing but arrays is taken: they are assigned to a float32
graph that this project builds itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.architectures.build import build
from ml.cards.card import IMPORTED, Card
from ml.errors import ModelError

if TYPE_CHECKING:
    import keras

CHUNK_BYTES = 1 << 20
# Built-in layers that hold a program of their own.
CODE_LAYERS = frozenset({"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"})


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal.

    Raises:
        ModelError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(
            f"The weights {path.name} cannot be read.", reason_code="weights_missing"
        ) from error
    return digest.hexdigest()


def verify(card: Card, weights: Path) -> str:
    """Return the hash of the weights, once it is known to be the card's.

    Raises:
        ModelError: The file is missing or another one.
    """
    if card.weights_sha256 is None:
        raise ModelError(
            f"No weights were shipped with {card.name} {card.version}. "
            f"{card.no_weights_reason}".rstrip(),
            reason_code="no_weights",
        )
    found = file_sha256(weights)
    if found != card.weights_sha256:
        raise ModelError(
            f"The weights of {card.name} {card.version} are not those of its card "
            f"(sha256 {found[:12]}, expected {card.weights_sha256[:12]}).",
            reason_code="weights_differ",
        )
    return found


def save_weights(
    network: keras.Model, path: Path, *, architecture: str, channels: int = 1
) -> str:
    """Write a network's weights as float16 `.keras`; normalisation stays float32.

    Returns:
        The sha256 of the file, which appears under its name only when it is whole.
    """
    classes = network.outputs[0].shape[-1]
    small = build(
        architecture,
        classes=classes,
        channels=channels,
        dtype="float16",
        size=network.inputs[0].shape[1],
    )
    _copy(network, small)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.keras")
    small.save(temporary)
    temporary.replace(path)
    return file_sha256(path)


def load_network(card: Card, weights: Path, *, dtype: str = "float32") -> keras.Model:
    """Build a card's network with the weights of a verified file.

    Args:
        card: The model's card.
        weights: Its file.
        dtype: A Keras dtype policy with float32 variables.

    Raises:
        ModelError: The file is not what the card says, or holds what is not let in.
    """
    verify(card, weights)
    return network_of_file(
        weights,
        architecture=card.architecture,
        classes=len(card.labels),
        channels=card.input_channels,
        dtype=dtype,
    )


def network_of_file(
    weights: Path,
    *,
    architecture: str,
    classes: int,
    channels: int,
    dtype: str = "float32",
) -> keras.Model:
    """Build a network with float32 variables and the arrays of a `.keras` file.

    An imported network is not one that this project builds: it is opened as it is.

    Raises:
        ModelError: The file is damaged, holds foreign layers, or another network.
    """
    small = open_weights(weights)
    if architecture == IMPORTED:
        return small
    network = build(
        architecture,
        classes=classes,
        channels=channels,
        dtype=dtype,
        size=small.inputs[0].shape[1],
    )
    try:
        _copy(small, network)
    except ValueError as error:
        raise ModelError(
            f"The weights {weights.name} are those of another network."
        ) from error
    return network


def open_weights(weights: Path) -> keras.Model:
    """Open a `.keras` file of built-in layers only, as it was saved.

    Raises:
        ModelError: The file is damaged or holds foreign layers.
    """
    import keras

    _refuse_foreign_layers(weights)
    try:
        return keras.saving.load_model(weights, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"The weights {weights.name} cannot be loaded.") from error


def _copy(source: keras.Model, target: keras.Model) -> None:
    """Assign every array of `source` to the layer of the same name in `target`."""
    import keras

    for layer in target.layers:
        if not layer.variables:
            continue
        arrays = source.get_layer(layer.name).variables
        if len(arrays) != len(layer.variables):
            raise ValueError(f"layer {layer.name} differs")
        for variable, value in zip(layer.variables, arrays, strict=True):
            array = keras.ops.convert_to_numpy(value).astype("float32")
            variable.assign(array.astype(str(variable.dtype)))


def _refuse_foreign_layers(weights: Path) -> None:
    """Look through a file's configuration for anything but Keras' own layers."""
    try:
        with zipfile.ZipFile(weights) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{weights.name} is not a .keras file.") from error
    check_configuration(config, file_name=weights.name)


def check_configuration(config: Any, *, file_name: str) -> None:
    """Refuse a network's configuration that holds more than Keras' own layers.

    Args:
        config: What a file says of its network, read as JSON.
        file_name: For the sentence that refuses.

    Raises:
        ModelError: It holds a class of somebody's own, or one that runs code.
    """
    for part in _objects(config):
        name, module = str(part.get("class_name")), str(part.get("module") or "")
        # Keras writes the registered name of its own Functional class, and no other.
        registered = part.get("registered_name")
        foreign = (
            module.split(".")[0] not in ("keras", "builtins", "")
            or registered not in (None, name)
            or "lambda" in name.lower()
            or name in CODE_LAYERS
        )
        if foreign:
            raise ModelError(
                f"{file_name} holds {name}, which is not one of the layers let in.",
                reason_code="weights_refused",
            )


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return every serialised object in a configuration, however deep."""
    if isinstance(value, list):
        return [part for item in value for part in _objects(item)]
    if not isinstance(value, dict):
        return []
    own = [value] if "class_name" in value else []
    return own + [part for item in value.values() for part in _objects(item)]
