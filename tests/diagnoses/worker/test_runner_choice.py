"""The runner of a network: measured once on a machine, unless a setting names it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings

from diagnoses.models import ModelVersion
from diagnoses.worker import runner_choice
from diagnoses.worker.runner_choice import FILE_NAME, is_chosen, runner_for
from ml.cards.card import Card, parse_card
from tests.diagnoses.fakes import FakeModel, card_json

SHA256 = "0" * 64
MEDIANS = {
    "openvino float32": 30.0,
    "openvino bfloat16": 10.0,
    "openvino int8": 12.0,
    "onnxruntime float32": 20.0,
}


@pytest.fixture
def cache(tmp_path: Path, settings: Settings) -> Path:
    settings.INFERENCE_CACHE_DIR = tmp_path
    settings.INFERENCE_RUNNER = settings.INFERENCE_PRECISION = "auto"
    return tmp_path


def card(*offered: str) -> Card:
    check = {"largest_difference": 0.01, "flags_changed": 0, "refusals_changed": 0}
    precisions: dict[str, Any] = {"images": 300, "patients": 200, "command": []}
    for precision in ("bfloat16", "int8"):
        precisions[precision] = {**check, "offered": precision in offered}
    return parse_card({**card_json(), "precisions": precisions}, folder=Path())


def keep() -> None:
    runner_choice._keep({SHA256: MEDIANS})


def test_without_a_measurement_openvino_runs_in_float32(cache: Path) -> None:
    assert runner_for(card("bfloat16", "int8")) == ("openvino", "float32")


def test_the_fastest_of_what_the_card_offers_is_used(cache: Path) -> None:
    keep()
    assert runner_for(card("bfloat16", "int8")) == ("openvino", "bfloat16")
    assert runner_for(card("int8")) == ("openvino", "int8")
    assert runner_for(card()) == ("onnxruntime", "float32")
    other = replace(card(), weights_sha256="1" * 64)
    assert runner_for(other) == ("openvino", "float32")


def test_a_setting_wins(cache: Path, settings: Settings) -> None:
    keep()
    settings.INFERENCE_PRECISION = "float32"
    assert runner_for(card("bfloat16")) == ("onnxruntime", "float32")
    settings.INFERENCE_RUNNER = "openvino"
    assert runner_for(card("bfloat16")) == ("openvino", "float32")
    settings.INFERENCE_RUNNER, settings.INFERENCE_PRECISION = "keras", "bfloat16"
    assert runner_for(card()) == ("keras", "bfloat16")


def test_a_measurement_of_another_machine_does_not_count(cache: Path) -> None:
    keep()
    file = cache / FILE_NAME
    kept = json.loads(file.read_text("utf-8"))
    kept["conditions"]["processor"] = ["another"]
    file.write_text(json.dumps(kept), "utf-8")
    assert runner_for(card()) == ("openvino", "float32")


def test_models_in_use_are_measured_once(
    chest_model: ModelVersion,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runner_choice, "local_weights", lambda version: Path())
    monkeypatch.setattr(
        runner_choice,
        "_loaded",
        lambda card, weights: {
            key: FakeModel(card) for key in ("openvino float32", "onnxruntime float32")
        },
    )
    assert not is_chosen()
    call_command("choose_runner")
    assert str(chest_model) in capsys.readouterr().out
    assert is_chosen()
    kept = json.loads((cache / FILE_NAME).read_text("utf-8"))["median_ms"]
    assert set(kept[chest_model.weights_sha256]) == {
        "openvino float32",
        "onnxruntime float32",
    }
    call_command("choose_runner", "--if-needed")
    assert capsys.readouterr().out == ""
