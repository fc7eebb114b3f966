"""A tiny seeded network with its card, for tests of everything around a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ml.architectures.build import build
from ml.cards.card import Card, read_card
from ml.inference import LoadedModel, load_model
from ml.networks.weights_file import save_weights

if TYPE_CHECKING:
    import keras

TINY_LABELS = ("Normal", "Bacterial pneumonia", "Viral pneumonia")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests with the tiny network in one process: importing Keras is slow."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "tiny_weights_dir" in names or "shared_weights_dir" in names:
            item.add_marker(pytest.mark.xdist_group("keras"))


def card_json(**changes: Any) -> dict[str, Any]:
    """Return the JSON of a small card, with changes."""
    return {
        "name": "tiny",
        "version": "1.0.0",
        "architecture": "tiny",
        "task": "softmax",
        "labels": [{"name": n, "display": n, "snomed": "1"} for n in TINY_LABELS],
        "accepts": {
            "modalities": ["CR", "DX"],
            "body_parts": ["CHEST"],
            "views": ["AP", "PA"],
            "ages": "any",
        },
        "input": {"size": 64, "channels": 1, "normalisation": {}},
        "weights": {"file": "weights.keras", "sha256": None},
        "calibration": {"calibrated": True, "temperature": 1.5},
        "thresholds": {"values": dict.fromkeys(TINY_LABELS, 0.4), "method": "made up"},
        "training_data": [],
        "metrics": {},
        "intended_use": "Tests.",
        "limits": [],
        "not_measured": [],
        **changes,
    }


def tiny_network(*, classes: int = 3, seed: int = 5) -> keras.Model:
    """Build the tiny network with weights that make every block count."""
    import keras

    keras.utils.set_random_seed(seed)
    network = build("tiny", classes=classes)
    for layer in network.layers:
        if layer.name.endswith("_norm"):
            # As trained: zeros here would switch the blocks off.
            layer.gamma.assign(keras.random.uniform(layer.gamma.shape, 0.5, 1.5))
            layer.beta.assign(keras.random.normal(layer.beta.shape, stddev=0.3))
    return network


def install(weights_dir: Path, network: keras.Model, **changes: Any) -> Card:
    """Write a network and its card as an installed model."""
    raw = card_json(**changes)
    folder = weights_dir / raw["name"] / raw["version"]
    folder.mkdir(parents=True)
    sha256 = save_weights(
        network, folder / "weights.keras", architecture=raw["architecture"]
    )
    raw["weights"] = {"file": "weights.keras", "sha256": sha256}
    (folder / "card.json").write_text(json.dumps(raw), encoding="utf-8")
    return read_card(folder / "card.json")


@pytest.fixture(scope="session")
def tiny_weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of models with the tiny one."""
    folder = tmp_path_factory.mktemp("weights")
    install(folder, tiny_network())
    return folder


def install_heads(weights_dir: Path, network: keras.Model) -> list[Card]:
    """Write a network of five logits as a backbone of two heads: three, one."""
    shared = weights_dir / "net" / "1.0.0"
    shared.mkdir(parents=True)
    sha256 = save_weights(network, shared / "weights.keras", architecture="tiny")
    cards = []
    for name, begin, labels, task in (
        ("net-three", 0, TINY_LABELS, "softmax"),
        ("net-two", 3, ("Pneumonia", "Tuberculosis"), "sigmoid"),
    ):
        raw = card_json(
            name=name,
            task=task,
            labels=[{"name": n, "display": n, "snomed": "1"} for n in labels],
            thresholds={"values": dict.fromkeys(labels, 0.4)},
            weights={"file": "../../net/1.0.0/weights.keras", "sha256": sha256},
            calibration={"calibrated": False},
            default=task == "softmax",
            backbone={
                "name": "net",
                "version": "1.0.0",
                "columns": [begin, begin + len(labels)],
            },
        )
        path = weights_dir / name / "1.0.0" / "card.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(raw), encoding="utf-8")
        cards.append(read_card(path))
    return cards


@pytest.fixture(scope="session")
def shared_weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of models with a backbone of two heads, the first the default."""
    folder = tmp_path_factory.mktemp("shared-weights")
    install_heads(folder, tiny_network(classes=5))
    return folder


@pytest.fixture(scope="session")
def plain_card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    """Return a card without weights, for tests that need no network."""
    path = tmp_path_factory.mktemp("plain") / "card.json"
    path.write_text(json.dumps(card_json()), encoding="utf-8")
    return read_card(path)


@pytest.fixture
def tiny_card(tiny_weights_dir: Path) -> Card:
    """Return the card of the tiny model."""
    return read_card(tiny_weights_dir / "tiny" / "1.0.0" / "card.json")


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that the tests of a session share: graphs are exported once."""
    return tmp_path_factory.mktemp("inference-cache")


@pytest.fixture(scope="session")
def tiny_keras_model(tiny_weights_dir: Path, cache_dir: Path) -> LoadedModel:
    """Return the tiny model under Keras; shared, since each one compiles its passes."""
    card = read_card(tiny_weights_dir / "tiny" / "1.0.0" / "card.json")
    model = load_model(card, cache_dir=cache_dir, runner="keras")
    assert isinstance(model, LoadedModel)
    return model
