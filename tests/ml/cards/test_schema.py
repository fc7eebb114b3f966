"""Cards fit their schema; what does not is refused with the place of the mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ml
from ml.cards.card import WEIGHTS_DIR, parse_card, read_card
from ml.cards.contents import CardContents
from ml.cards.json_reader import as_json, json_schema, read_json
from ml.errors import ModelError
from tests.ml.conftest import card_json

SCHEMA = Path(ml.__file__).parent / "cards" / "card.schema.json"
CARDS = sorted(WEIGHTS_DIR.glob("*/*/card.json"))
MEASUREMENT: dict[str, Any] = {
    "key": "val",
    "split": "val",
    "datasets": ["kermany"],
    "images": 551,
    "patients": 301,
    "command": ["python", "measure"],
    "metrics": [{"name": "accuracy", "value": 0.8, "low": 0.7, "high": 0.9}],
}


def current(**changes: Any) -> dict[str, Any]:
    """Return a small card of the present schema."""
    card = {**card_json(), "schema_version": 2, "measurements": [], **changes}
    card.pop("metrics")
    return card


def test_the_stored_schema_equals_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json_schema(CardContents)
    Draft202012Validator.check_schema(json_schema(CardContents))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.parent.name)
def test_each_shipped_card_fits_the_schema(path: Path) -> None:
    raw = json.loads(path.read_text(encoding="utf-8"))
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [error.json_path for error in validator.iter_errors(raw)] == []


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.parent.name)
def test_every_measurement_of_a_shipped_card_names_its_data(path: Path) -> None:
    card = read_card(path)
    assert card.raw == json.loads(path.read_text(encoding="utf-8"))
    assert card.measurements
    for measurement in card.measurements:
        assert measurement.datasets
        assert measurement.images
        assert measurement.patients
        assert measurement.command[2:4] == ("evaluate_model", card.name)
        assert measurement.metrics
        for metric in measurement.metrics:
            assert metric.low is not None
            assert metric.high is not None


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.parent.name)
def test_a_card_survives_reading_and_writing(path: Path) -> None:
    contents = read_card(path).contents
    assert read_json(CardContents, as_json(contents)) == contents


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": 3}, "name: string"),
        ({"task": "regression"}, "task: softmax | sigmoid"),
        ({"weights": {"sha256": "0"}}, "weights.file: required"),
        ({"limits": "none"}, "limits: array"),
        ({"input": {"size": True, "channels": 1}}, "input.size: integer"),
        ({"schema_version": 3}, "schema_version: 2"),
        (
            {"measurements": [MEASUREMENT, {**MEASUREMENT, "command": "one text"}]},
            r"measurements\[1\].command: array",
        ),
        (
            {"measurements": [{**MEASUREMENT, "metrics": [{"name": "accuracy"}]}]},
            r"measurements\[0\].metrics\[0\].value: required",
        ),
    ],
)
def test_a_schema_error_names_its_place(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(ModelError, match=f"tiny.*{place}|name: string"):
        parse_card(current(**changes), folder=Path())


def test_keys_of_a_later_version_are_ignored_when_a_card_is_read() -> None:
    card = parse_card(current(measurements=[MEASUREMENT], later="?"), folder=Path())
    [measurement] = card.measurements
    accuracy = measurement.metric("accuracy")
    assert accuracy is not None
    assert (accuracy.low, accuracy.value, accuracy.high) == (0.7, 0.8, 0.9)
    assert measurement.metric("unknown") is None
    assert card.measurement("val") == measurement
    assert card.measurement("test") is None
