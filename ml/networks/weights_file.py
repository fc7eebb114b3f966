"""Weights files: `.keras` in float16, verified by the sha256 in the card.

A `.keras` file can contain code. Therefore it is opened only if its sha256 matches the
card, only the classes of `ml.networks.allowed_classes` are allowed, and Keras' safe
mode is on. Only arrays are used: they are assigned to a float32 network that this
project builds itself.
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
from ml.networks.allowed_classes import is_allowed

if TYPE_CHECKING:
    import keras

CHUNK_BYTES = 1 << 20
# The configuration of ResNet-152 has 1 MB.
LARGEST_CONFIGURATION_BYTES = 64 << 20
UNREADABLE = (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile)


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
            "The weights file %(file)s cannot be read.",
            params={"file": path.name},
            reason_code="weights_missing",
        ) from error
    return digest.hexdigest()


def verify(card: Card, weights: Path) -> str:
    """Check that the weights match the card, and return their sha256.

    Raises:
        ModelError: The file is missing, or its sha256 differs.
    """
    if card.weights_sha256 is None:
        raise ModelError(
            "%(name)s %(version)s has no weights. %(reason)s",
            params={
                "name": card.name,
                "version": card.version,
                "reason": card.no_weights_reason,
            },
            reason_code="no_weights",
        )
    sha256 = file_sha256(weights)
    if sha256 != card.weights_sha256:
        raise ModelError(
            "The weights of %(name)s %(version)s do not match the card (sha256 "
            "%(sha256)s, expected %(expected)s).",
            params={
                "name": card.name,
                "version": card.version,
                "sha256": sha256[:12],
                "expected": card.weights_sha256[:12],
            },
            reason_code="weights_differ",
        )
    return sha256


def save_weights(
    network: keras.Model, path: Path, *, architecture: str, channels: int = 1
) -> str:
    """Write a network's weights as float16 `.keras`; normalisation stays float32.

    Returns:
        The sha256 of the file. It is renamed to its final name when it is complete.
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
        weights: The weights file.
        dtype: A Keras dtype policy with float32 variables.

    Raises:
        ModelError: The file does not match the card, or has layers that are not
            allowed.
    """
    verify(card, weights)
    return network_of_file(
        weights,
        architecture=card.architecture,
        classes=card.network_outputs,
        channels=card.input_channels,
        dtype=dtype,
    )


def network_of_file(
    weights: Path,
    *,
    architecture: str,
    classes: int | None,
    channels: int,
    dtype: str = "float32",
) -> keras.Model:
    """Build a network with float32 variables and the arrays of a `.keras` file.

    `classes` is the number of its logits, None to take what the file has.

    An imported network has no architecture of this project: it is opened as it is.

    Raises:
        ModelError: The file is damaged, has layers that are not allowed, or belongs to
            another network.
    """
    small = open_weights(weights)
    if architecture == IMPORTED:
        return small
    network = build(
        architecture,
        classes=classes or small.outputs[0].shape[-1],
        channels=channels,
        dtype=dtype,
        size=small.inputs[0].shape[1],
    )
    try:
        _copy(small, network)
    except ValueError as error:
        raise ModelError(
            "The weights file %(file)s belongs to another network.",
            params={"file": weights.name},
        ) from error
    return network


def open_weights(weights: Path) -> keras.Model:
    """Open a `.keras` file of built-in layers only, as it was saved.

    Raises:
        ModelError: The file is damaged or has layers that are not allowed.
    """
    import keras

    _refuse_other_classes(weights)
    try:
        return keras.saving.load_model(weights, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(
            "The weights file %(file)s cannot be loaded.", params={"file": weights.name}
        ) from error


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


def _refuse_other_classes(weights: Path) -> None:
    """Check that a file's configuration has only allowed classes."""
    try:
        with zipfile.ZipFile(weights) as archive:
            if archive.getinfo("config.json").file_size > LARGEST_CONFIGURATION_BYTES:
                raise ValueError("the configuration is too large")
            config = json.loads(archive.read("config.json"))
    except UNREADABLE as error:
        raise ModelError(
            "%(file)s is not a .keras file.", params={"file": weights.name}
        ) from error
    check_configuration(config, file_name=weights.name)


def check_configuration(config: Any, *, file_name: str) -> None:
    """Check that a network's configuration has only allowed classes.

    Args:
        config: The configuration, parsed from JSON.
        file_name: Name of the file, for the error.

    Raises:
        ModelError: It has another class.
    """
    for part in _objects(config):
        if not is_allowed(part):
            raise ModelError(
                "%(file)s contains %(layer)s, which is not an allowed layer.",
                params={"file": file_name, "layer": str(part["class_name"])},
                reason_code="weights_refused",
            )


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return every serialised object in a configuration, at any depth."""
    if isinstance(value, list):
        return [part for item in value for part in _objects(item)]
    if not isinstance(value, dict):
        return []
    here = [value] if "class_name" in value else []
    return here + [part for item in value.values() for part in _objects(item)]
