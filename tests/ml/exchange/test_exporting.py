"""Exported models: run by other programs, and deleted if the outputs differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.cards.card import Card, get_card
from ml.errors import ModelError
from ml.exchange import exporting
from ml.exchange.export_child import (
    EXPORTED_NAMES,
    INPUTS_NAME,
    OUTPUTS_NAME,
    export,
    outputs_by_name,
    run_exported,
    with_columns,
)
from ml.exchange.exporting import FORMATS, export_model
from ml.inference import load_model
from tests.ml.conftest import tiny_network
from tests.ml.image_factory import chest_like

pytestmark = pytest.mark.slow


IMAGES = {"a": chest_like(90, 80), "b": chest_like(64, 64) // 2}


@pytest.mark.filterwarnings("ignore")  # TensorFlow's converters warn of themselves
@pytest.mark.parametrize("file_format", FORMATS)
def test_each_format_has_the_outputs_of_the_network(
    tmp_path: Path, file_format: str
) -> None:
    network = tiny_network()
    file = tmp_path / EXPORTED_NAMES[file_format]
    export(network, file, file_format=file_format, size=64)
    images = np.random.default_rng(3).normal(size=(3, 64, 64, 1)).astype(np.float32)
    outputs = outputs_by_name(run_exported(file, images, file_format=file_format))
    logits, maps = network.predict_on_batch(images)
    assert np.abs(outputs["logits"] - logits).max() < 1e-4
    assert np.abs(outputs["maps"] - maps).max() < 1e-3


def test_a_head_becomes_a_network_with_its_own_columns_only() -> None:
    network = tiny_network(classes=5)
    own = with_columns(network, architecture="tiny", begin=3, end=5)
    images = np.random.default_rng(3).normal(size=(3, 64, 64, 1)).astype(np.float32)
    logits, maps = network.predict_on_batch(images)
    its_logits, its_maps = own.predict_on_batch(images)
    assert its_logits == pytest.approx(logits[:, 3:], abs=1e-5)
    assert its_maps == pytest.approx(maps, abs=1e-5)


def test_an_exported_head_has_a_card_without_its_backbone(
    shared_weights_dir: Path, cache_dir: Path, tmp_path: Path
) -> None:
    card = get_card("net-two", weights_dir=shared_weights_dir)
    path = tmp_path / "two.xml"
    done = export_model(
        card, file_format="openvino", path=path, images=IMAGES, cache_dir=cache_dir
    )
    assert done.logits_apart < 1e-3
    raw = json.loads((tmp_path / "two.xml.card.json").read_text())
    assert "backbone" not in raw
    assert raw["weights"]["file"] == "weights.keras"


def by_the_model_itself(offset: float):  # type: ignore[no-untyped-def]
    """Return a stand-in for the child: it writes a file, and outputs with an offset."""

    def export_in_child(card: Card, file_format: str, folder: Path) -> None:
        model = load_model(card, cache_dir=folder, runner="keras")
        logits, maps = model.runner.run_many(np.load(folder / INPUTS_NAME))
        np.savez(folder / OUTPUTS_NAME, logits=logits + offset, maps=maps)
        (folder / EXPORTED_NAMES[file_format]).write_bytes(b"graph")

    return export_in_child


def exported_with(
    card: Card,
    offset: float,
    path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> exporting.Exported:
    monkeypatch.setattr(exporting, "_export_in_child", by_the_model_itself(offset))
    return export_model(
        card, file_format="onnx", path=path, images=IMAGES, cache_dir=cache_dir
    )


def test_an_export_with_equal_outputs_is_kept_with_a_card(
    tiny_card: Card,
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "deep" / "tiny.onnx"
    done = exported_with(tiny_card, 0.0, path, cache_dir, monkeypatch)
    assert path.read_bytes() == b"graph"
    assert done.images == 2
    assert done.logits_apart < 1e-5
    card = json.loads((path.parent / "tiny.onnx.card.json").read_text())
    assert card["name"] == "tiny"
    assert len(list(path.parent.iterdir())) == 2
    with pytest.raises(ModelError, match="already exists"):
        exported_with(tiny_card, 0.0, path, cache_dir, monkeypatch)


def test_an_export_with_different_outputs_is_deleted(
    tiny_card: Card,
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "out" / "tiny.onnx"
    with pytest.raises(ModelError, match="logits of the exported") as caught:
        exported_with(tiny_card, 0.01, path, cache_dir, monkeypatch)
    assert caught.value.reason_code == "export_differs"
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("file_format", "name", "message"),
    [
        ("pickle", "tiny.pkl", "no format pickle"),
        ("tflite", "tiny.onnx", r"end with \.tflite"),
    ],
)
def test_an_impossible_export_is_refused(
    tiny_card: Card, tmp_path: Path, file_format: str, name: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        export_model(
            tiny_card,
            file_format=file_format,
            path=tmp_path / name,
            images=IMAGES,
            cache_dir=tmp_path,
        )


def test_an_ensemble_and_a_packed_graph_cannot_be_exported(
    tiny_card: Card, tmp_path: Path
) -> None:
    member = {"name": "tiny", "version": "1.0.0", "weights_sha256": "0" * 64}
    ensemble = replace(tiny_card, raw={**tiny_card.raw, "members": [member]})
    packed = replace(
        tiny_card,
        raw={**tiny_card.raw, "weights": {"file": "weights.xml", "format": "openvino"}},
    )
    for card, message in ((ensemble, "members instead: tiny"), (packed, "SavedModel")):
        with pytest.raises(ModelError, match=message):
            export_model(
                card,
                file_format="onnx",
                path=tmp_path / "x.onnx",
                images=IMAGES,
                cache_dir=tmp_path,
            )
