"""Shipped cards and weights are complete, match by hash, and contain no code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ml.cards.card import Card, default_card, get_card, list_cards, read_card
from ml.errors import ModelError
from ml.inference import load_model
from ml.networks.weights_file import load_network, network_of_file, save_weights
from tests.ml.conftest import card_json, install, tiny_network

pytestmark = pytest.mark.slow


def written(folder: Path, raw: dict[str, Any]) -> Path:
    target = folder / raw["name"] / raw["version"] / "card.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(raw), encoding="utf-8")
    return target


def test_the_default_card_is_of_the_newest_version(tmp_path: Path) -> None:
    for version in ("1.2.0", "1.10.0", "1.9.1"):
        written(tmp_path, card_json(version=version))
    assert get_card("tiny", weights_dir=tmp_path).version == "1.10.0"
    assert get_card("tiny", "1.9.1", weights_dir=tmp_path).version == "1.9.1"
    assert len(list_cards(weights_dir=tmp_path)) == 3
    assert default_card(weights_dir=tmp_path).version == "1.10.0"


def test_an_unfinished_folder_is_not_a_model(tmp_path: Path) -> None:
    written(tmp_path, card_json(version="1.0.0"))
    half_made = tmp_path / "tiny" / ".1.1.0.77.tmp"
    (tmp_path / "tiny" / "1.0.0").rename(half_made)
    assert list_cards(weights_dir=tmp_path) == []


def test_a_card_without_weights_is_listed_and_cannot_be_loaded(tmp_path: Path) -> None:
    why = {"weights": None, "no_weights_reason": "No data of this kind."}
    written(tmp_path, card_json(name="other", **why))
    card = get_card("other", weights_dir=tmp_path)
    with pytest.raises(ModelError, match=r"has no weights.*No data") as caught:
        load_model(card, cache_dir=tmp_path)
    assert caught.value.reason_code == "no_weights"
    shipped = {"file": "weights.keras", "sha256": "0" * 64}
    written(tmp_path, card_json(name="other", version="0.9.0", weights=shipped))
    assert get_card("other", weights_dir=tmp_path).version == "0.9.0"
    assert default_card(weights_dir=tmp_path).version == "0.9.0"
    assert get_card("other", card.version, weights_dir=tmp_path) == card


def test_the_error_for_an_unknown_model_lists_the_known_ones(tmp_path: Path) -> None:
    written(tmp_path, card_json())
    with pytest.raises(ModelError, match="known: tiny"):
        get_card("other", weights_dir=tmp_path)
    with pytest.raises(ModelError, match="no model tiny 9"):
        get_card("tiny", "9", weights_dir=tmp_path)


def test_without_a_chest_model_there_is_no_default(tmp_path: Path) -> None:
    accepts = card_json()["accepts"] | {"body_parts": ["BRAIN"]}
    written(tmp_path, card_json(accepts=accepts))
    with pytest.raises(ModelError, match="chest"):
        default_card(weights_dir=tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": {"values": {"Normal": 0.5}}},
        {
            "thresholds": {
                "values": dict.fromkeys(card_json()["thresholds"]["values"], 2)
            }
        },
        {"task": "regression"},
        {"labels": []},
        {"input": {"size": "large"}},
        {"weights": {}},
    ],
)
def test_an_incomplete_card_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        read_card(written(tmp_path, card_json(**changes)))


def test_a_card_that_is_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text("{")
    with pytest.raises(ModelError):
        read_card(path)


def test_a_card_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    weights = {"file": "../../elsewhere.keras", "sha256": "0"}
    card = read_card(written(tmp_path, card_json(weights=weights)))
    assert card.weights_file == tmp_path / "tiny" / "1.0.0" / "elsewhere.keras"


@pytest.mark.parametrize("runner", ["openvino", "keras"])
@pytest.mark.parametrize(
    ("sha256", "reason_code"), [(None, "no_weights"), ("0" * 64, "weights_differ")]
)
def test_weights_with_another_hash_are_refused(
    tiny_card: Card, tmp_path: Path, runner: str, sha256: str | None, reason_code: str
) -> None:
    card = replace(tiny_card, weights_sha256=sha256)
    with pytest.raises(ModelError) as caught:
        load_model(card, cache_dir=tmp_path, runner=runner)
    assert caught.value.reason_code == reason_code


def test_a_changed_byte_in_the_weights_is_detected(
    tiny_card: Card, tmp_path: Path
) -> None:
    data = bytearray(tiny_card.weights_file.read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "weights.keras"
    changed.write_bytes(data)
    with pytest.raises(ModelError, match="do not match the card"):
        load_network(tiny_card, changed)


def test_missing_weights_are_reported(tiny_card: Card, tmp_path: Path) -> None:
    card = replace(tiny_card, weights_file=tmp_path / "none.keras")
    with pytest.raises(ModelError) as caught:
        load_model(card, cache_dir=tmp_path)
    assert caught.value.reason_code == "weights_missing"


def test_weights_keep_their_values_to_float16(tmp_path: Path) -> None:
    network = tiny_network()
    path = tmp_path / "weights.keras"
    save_weights(network, path, architecture="tiny")
    again = network_of_file(path, architecture="tiny", classes=3, channels=1)
    assert {str(v.dtype) for v in again.variables} == {"float32"}
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 1)).astype(np.float32)
    before, after = (m.predict_on_batch(image)[0] for m in (network, again))
    assert np.abs(before - after).max() < 0.02


def test_normalisation_statistics_stay_float32(tmp_path: Path) -> None:
    path = tmp_path / "weights.keras"
    save_weights(tiny_network(), path, architecture="tiny")
    stored = keras.saving.load_model(path, compile=False)
    kinds = {
        type(layer).__name__: {str(v.dtype) for v in layer.variables}
        for layer in stored.layers
        if layer.variables
    }
    assert kinds["Conv2D"] == {"float16"}
    assert kinds["BatchNormalization"] == {"float32"}


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.keras"
    save_weights(tiny_network(classes=2), path, architecture="tiny")
    with pytest.raises(ModelError, match="another network"):
        network_of_file(path, architecture="tiny", classes=3, channels=1)


def test_a_lambda_layer_is_refused(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image))
    path = tmp_path / "weights.keras"
    model.save(path)
    with pytest.raises(ModelError) as caught:
        network_of_file(path, architecture="tiny", classes=3, channels=1)
    assert caught.value.reason_code == "weights_refused"


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(module="os"),
        lambda config: config["config"]["layers"][3].update(class_name="Lambda"),
        lambda config: config["config"]["layers"][2].update(module="evil.code"),
        lambda config: config["config"]["layers"][2].update(registered_name="evil>X"),
    ],
)
def test_foreign_layers_are_refused(
    tiny_card: Card, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = tmp_path / "weights.keras"
    with (
        zipfile.ZipFile(tiny_card.weights_file) as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
    with pytest.raises(ModelError) as caught:
        network_of_file(path, architecture="tiny", classes=3, channels=1)
    assert caught.value.reason_code == "weights_refused"


def test_a_file_that_is_not_keras_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.keras"
    path.write_bytes(b"no zip")
    with pytest.raises(ModelError):
        network_of_file(path, architecture="tiny", classes=3, channels=1)


def test_an_installed_model_is_read_back_with_its_weights(tmp_path: Path) -> None:
    network = tiny_network()
    card = install(tmp_path, network, name="other")
    assert card.weights_sha256 is not None
    again = load_network(card, card.weights_file)
    for before, after in zip(network.get_weights(), again.get_weights(), strict=True):
        # Stored as float16.
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-6)
