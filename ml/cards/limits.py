"""The limits on a card: its texts with the metrics that they quote."""

from __future__ import annotations

from collections.abc import Sequence

from ml.cards.card import Card
from ml.cards.contents import TrainingSource
from ml.cards.measurements import Measurement
from ml.cards.texts import Facts


def limits_of(
    facts: Facts,
    measurements: Sequence[Measurement],
    training_data: Sequence[TrainingSource],
) -> list[str]:
    """Return the limits of a model: its texts, and what is not separable from source.

    Raises:
        ModelError: The card lacks a metric that a limit quotes.
    """
    return [
        *facts.limits_with_metrics(measurements, training_data),
        *_not_separable(measurements),
    ]


def limits_of_ensemble(members: Sequence[Card]) -> list[str]:
    """Return the limits of an ensemble: its own, and those of its members."""
    return [
        "The members learned from the same few sources: they err together, and "
        "that they agree says less than it seems.",
        "The limits of every member hold; each member's card says them.",
        *dict.fromkeys(limit for card in members for limit in card.limits),
    ]


def _not_separable(measurements: Sequence[Measurement]) -> list[str]:
    """Return the sentence on metrics that the baseline reaches as well."""
    named = [
        f"{each.key}: " + ", ".join(each.not_separable).replace("_", " ")
        for each in measurements
        if each.not_separable
    ]
    return (
        [f"Source not separable from disease by {'; '.join(named)}."] if named else []
    )
