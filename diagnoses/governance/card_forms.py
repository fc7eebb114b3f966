"""Take the present form of a card that was installed with an older one.

The schema of cards changes with the code. A version that is installed keeps its weights
and everything that decides a result; only the form of its card, and its texts, follow.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from diagnoses.models import ModelVersion
from ml.cards.card import Card, parse_card
from ml.cards.contents import SCHEMA_VERSION

logger = logging.getLogger(__name__)

_DECIDING_KEYS = (
    "architecture",
    "task",
    "labels",
    "input",
    "operating_points",
    "uncertainty",
    "backbone",
    "members",
    "combination",
)


def take_present_form(known: ModelVersion, card: Card) -> bool:
    """Keep a card in the present schema instead of the same card in an older one.

    Args:
        known: A version that is installed with the weights of the card.
        card: The card as it comes with the code.

    Returns:
        Whether the installed card was replaced: it had an older schema, and every part
        that decides a result is the same.
    """
    if known.card.get("schema_version", 1) >= SCHEMA_VERSION:
        return False
    installed = parse_card(known.card, folder=card.weights_file.parent)
    if _deciding_parts(installed) != _deciding_parts(card):
        return False
    known.card = dict(card.raw)
    known.save(update_fields=["card"])
    logger.info("The card of %s is kept in schema version %d.", known, SCHEMA_VERSION)
    return True


def _deciding_parts(card: Card) -> Mapping[str, Any]:
    parts = {key: card.raw.get(key) for key in _DECIDING_KEYS}
    # How the thresholds were found is a text; their values decide.
    parts["thresholds"] = card.thresholds
    parts["gate"] = card.gate.sha256 if card.gate else None
    accepts = card.contents.accepts
    parts["accepts"] = (
        accepts.modalities,
        accepts.body_parts,
        accepts.views,
        accepts.age_years,
    )
    # A text says on which images the calibration was fitted.
    calibration = card.contents.calibration
    parts["calibration"] = (
        calibration.calibrated,
        calibration.temperature,
        calibration.intercepts,
        calibration.platt,
        calibration.too_few,
    )
    return parts
