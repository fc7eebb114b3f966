"""Programs find the keys of schema version 1 beside those of the present schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml.cards.card import Card, list_cards, parse_card
from ml.cards.former_keys import former_metrics, with_former_keys
from ml.cards.upgrade import upgraded
from tests.ml.conftest import card_json

SHIPPED = [card for card in list_cards() if card.measurements]


def old_card(**parts: Any) -> Card:
    return parse_card(card_json(**parts), folder=Path())


@pytest.mark.slow
@pytest.mark.parametrize("card", SHIPPED, ids=lambda card: card.name)
def test_the_former_metrics_of_a_shipped_card_say_what_was_measured(card: Card) -> None:
    metrics = json.loads(json.dumps(former_metrics(card.measurements)))
    again = old_card(metrics=metrics).measurements
    for measured, read in zip(card.measurements, again, strict=True):
        # Version 1 named the data sets in the command, which an ensemble lacks.
        assert replace(read, datasets=measured.datasets) == measured


def test_an_old_card_keeps_its_metrics_as_they_are() -> None:
    metrics = {"val": {"n": 9, "accuracy": {"value": 0.5}}, "val_ece": 0.25}
    card = with_former_keys(card_json(metrics=metrics))
    assert card["metrics"] == metrics
    assert [each["key"] for each in card["measurements"]] == ["val"]


def test_a_number_of_images_has_its_former_key_as_well() -> None:
    card = with_former_keys(card_json(training={"films_seen": 300}))
    assert card["training"]["films_seen"] == card["training"]["images_seen"] == 300


def test_what_is_added_changes_nothing_else() -> None:
    present = upgraded(card_json(training={"films_seen": 300}))
    card = with_former_keys(present)
    del card["metrics"], card["training"]["films_seen"]
    assert card == present
