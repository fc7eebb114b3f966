"""A model file names only classes that networks for images are made of."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest

from ml.errors import ModelError
from ml.networks.allowed_classes import is_allowed
from ml.networks.weights_file import check_configuration, open_weights

pytestmark = pytest.mark.slow
layers = keras.layers


def _keras(module: str, name: str, **more: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {}, **more}


CODE = [
    _keras("keras.layers", "Lambda"),
    _keras("keras.src.layers.core.lambda_layer", "Lambda"),
    _keras("keras.src.layers", "Lambda"),
    {"class_name": "Lambda", "config": {}},
    _keras("keras.layers", "TFSMLayer"),
    _keras("keras.src.export.tfsm_layer", "TFSMLayer"),
    _keras("keras.layers", "TorchModuleWrapper"),
    _keras("keras.src.utils.torch_utils", "TorchModuleWrapper"),
    _keras("keras.layers", "JaxLayer"),
    _keras("keras.layers", "FlaxLayer"),
    {"class_name": "__lambda__", "config": {"value": "x"}},
    {"class_name": "__typespec__", "config": []},
]
FILES = [
    _keras("keras.layers", "StringLookup"),
    _keras("keras.layers", "IntegerLookup"),
    _keras("keras.layers", "TextVectorization"),
]
OTHERS = [
    _keras("keras.utils", "get_file"),
    _keras("keras.saving", "load_model"),
    _keras("keras.src.ops.core", "Map"),
    _keras("keras.src.ops.core", "WhileLoop"),
    _keras("keras.callbacks", "BackupAndRestore"),
    _keras("keras.layers", "core"),
    _keras("keras.layers", "Layer"),
    _keras("keras.layers", "NoSuchLayer"),
    _keras("os", "system"),
    _keras("builtins", "eval"),
    _keras("kerasx.layers", "Dense"),
    _keras("keras.layers", "Dense", registered_name="evil>Dense"),
    _keras("keras.layers", "dense"),
    _keras("keras.src.ops.numpy", "np"),
    {"class_name": "core", "config": {}},
    {"class_name": ["Lambda"], "config": {}},
    {"class_name": None, "config": {}},
    {"class_name": "Dense", "module": ["keras"], "config": {}},
    {"class_name": "function", "module": "builtins", "config": "eval"},
    {"class_name": "function", "module": "keras.activations", "config": "deserialize"},
    {"class_name": "function", "module": "keras.utils", "config": "get_file"},
    {"class_name": "function", "module": "os", "config": "system"},
    {"class_name": "function", "module": "builtins", "config": {"a": 1}},
]


@pytest.mark.parametrize("part", [*CODE, *FILES, *OTHERS])
@pytest.mark.parametrize("wrapped", [False, True])
def test_other_classes_are_refused_alone_and_inside_others(
    part: dict[str, Any], wrapped: bool
) -> None:
    config = _keras("keras.layers", "SpectralNormalization") if wrapped else part
    if wrapped:
        config["config"] = {"layer": [{"deep": part}]}
    with pytest.raises(ModelError) as caught:
        check_configuration(config, file_name="x.keras")
    assert caught.value.reason_code == "weights_refused"


def test_the_class_counts_and_not_the_word_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module may have a dangerous class under a harmless name."""
    monkeypatch.setattr(keras.layers, "Dense", layers.Lambda)
    assert not is_allowed(_keras("keras.layers", "Dense"))


@pytest.mark.parametrize(
    "part",
    [
        _keras("keras.layers", "Conv2D"),
        _keras("keras.src.layers.core.dense", "Dense"),
        _keras("keras", "Sequential", registered_name="Sequential"),
        _keras("keras.src.models.functional", "Functional"),
        _keras("keras.initializers", "HeNormal"),
        _keras("keras.optimizers", "Adam"),
        _keras("keras.src.ops.numpy", "TrueDivide"),
        {"class_name": "Functional", "config": {}},
        {"class_name": "GlorotUniform", "config": {}},
        {"class_name": "L2", "config": {}},
        {"class_name": "function", "module": "builtins", "config": "relu"},
        {"class_name": "__keras_tensor__", "config": {}},
    ],
)
def test_parts_of_networks_for_images_are_allowed(part: dict[str, Any]) -> None:
    assert is_allowed(part)


def test_a_compiled_network_with_arithmetic_is_allowed(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2")(image / 255.0)
    network = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    network.compile("adam", "mse", metrics=["accuracy"])
    path = tmp_path / "network.keras"
    network.save(path)
    assert open_weights(path).count_params() == network.count_params()


def _archive(configuration: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", configuration)
    return file.getvalue()


@pytest.mark.parametrize(
    "configuration",
    [
        b"[" * 100_000,
        b" " * ((64 << 20) + 1),
        b"\xff",
        json.dumps({"class_name": "Dense"}).encode(),
    ],
)
def test_a_hostile_configuration_is_a_refusal(
    tmp_path: Path, configuration: bytes
) -> None:
    path = tmp_path / "network.keras"
    path.write_bytes(_archive(configuration))
    with pytest.raises(ModelError):
        open_weights(path)
