"""Open a network from another source: built-in layers only, never code."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from ml.errors import ModelError
from ml.exchange.legacy import modernise
from ml.networks.weights_file import UNREADABLE, check_configuration, open_weights

if TYPE_CHECKING:
    import keras

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
CONFIGURATION = "model_config"


def open_network(file: Path, *, scratch: Path) -> keras.Model:
    """Open a `.keras` or `.h5` file as it was saved.

    Args:
        file: The user's file; it is not changed.
        scratch: A folder for a copy.

    Raises:
        ModelError: The file is neither, is damaged, or has other than built-in layers.
    """
    if file.suffix == ".keras" and zipfile.is_zipfile(file):
        return open_weights(file)
    if file.suffix in KERAS_SUFFIXES:
        return _open_h5(file, scratch)
    raise ModelError(
        "%(file)s is neither a SavedModel folder nor one of these files: %(suffixes)s.",
        params={"file": file.name, "suffixes": ", ".join(KERAS_SUFFIXES)},
    )


def _open_h5(file: Path, scratch: Path) -> keras.Model:
    import keras

    copy = scratch / "network.h5"
    try:
        shutil.copyfile(file, copy)
        with h5py.File(copy, "r+") as stored:
            config = _configuration(stored, file.name)
            config = modernise(config)
            check_configuration(config, file_name=file.name)
            stored.attrs[CONFIGURATION] = json.dumps(config)
        network = keras.saving.load_model(copy, compile=False, safe_mode=True)
    except (*UNREADABLE, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            "%(file)s cannot be loaded: %(reason)s",
            params={"file": file.name, "reason": reason[0]},
        ) from error
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            # Nested in another layer, Keras 3 loads the mean without applying it.
            layer.finalize_state()
    return network


def _configuration(stored: Any, name: str) -> Any:
    text = stored.attrs.get(CONFIGURATION)
    if text is None:
        raise ModelError(
            "%(file)s has weights without a network. Save the whole model with "
            "model.save(...), not model.save_weights(...).",
            params={"file": name},
        )
    return json.loads(text)
