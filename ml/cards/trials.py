"""Results on patients that a training left out, added to a card from reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.cards.card import Card, read_card, write_card
from ml.cards.from_report import trial_result_of_report
from ml.cards.json_reader import JsonMismatchError, as_json
from ml.cards.measurements import TrialResult
from ml.errors import ModelError


def add_trial_results(path: Path, reports: Sequence[Mapping[str, Any]]) -> Card:
    """Write the results of trials on patients left out into a card.

    A result takes the place of the one of the same task, source, metric and training.

    Args:
        path: The card.json.
        reports: See `ml.cards.from_report.trial_result_of_report`.

    Raises:
        ModelError: A report has another form, or names neither what was left out nor
            folds.
    """
    card = read_card(path)
    kept: dict[str, dict[object, TrialResult]] = {
        field: {_trial_key(each): each for each in getattr(card.contents, field)}
        for field in ("cross_source", "cross_validation")
    }
    for report in reports:
        try:
            result = trial_result_of_report(report)
        except JsonMismatchError as mismatch:
            raise ModelError(
                "The report does not fit at %(place)s: %(expected)s.",
                params={
                    "place": mismatch.place or "/",
                    "expected": mismatch.expected,
                },
            ) from mismatch
        if not result.left_out and not result.folds:
            raise ModelError("The report names neither what was left out nor folds.")
        field = "cross_source" if result.left_out else "cross_validation"
        kept[field][_trial_key(result)] = result
    changed = {field: as_json(tuple(kept[field].values())) for field in kept}
    write_card(path, {**card.raw, **changed})
    return read_card(path)


def _trial_key(result: TrialResult) -> tuple[object, ...]:
    return (
        result.task,
        result.source,
        result.metric,
        result.method,
        result.left_out,
        result.folds,
    )
