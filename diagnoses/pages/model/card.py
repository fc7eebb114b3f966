"""A model's card as a page: figures with intervals, data, limits, what is not known."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from diagnoses.governance.versions import card_of
from diagnoses.models import ModelVersion
from diagnoses.pages.model.evidence import (
    gate_groups,
    heat_map_groups,
    shortcut_groups,
)
from diagnoses.pages.model.figures import (
    Cell,
    LabelRow,
    coverage_groups,
    figure_groups,
)
from diagnoses.pages.words.signs import MODEL_STATES, NO_WEIGHTS, Sign
from diagnoses.pages.words.times import moment_words
from ml.cards.card import Card

_SOURCE_COLUMNS = ("Label", "Images", "Patients", "Whom, and where from", "Licence")
METRICS_NOTE = (
    "In brackets: 95 % intervals by bootstrap over patients. Validation images come "
    "from the sources that the model learned from; elsewhere it may read less well."
)


def card_summary(version: ModelVersion) -> dict[str, Any]:
    """Return what the list of models says about one."""
    card = card_of(version)
    return {
        "name": version.name,
        "version": version.version,
        "url": reverse("model", args=[version.name]),
        "state": state_sign(version),
        "no_weights_reason": _no_weights_reason(version),
        "intended_use": card.intended_use,
        "labels": [label.display for label in card.labels],
    }


def card_page(
    version: ModelVersion,
    *,
    versions: Sequence[ModelVersion],
    thresholds: Mapping[str, float],
    has_curves: bool,
) -> dict[str, Any]:
    """Return what the page of one version says.

    Args:
        version: Which one.
        versions: All of its name, for the way to the others.
        thresholds: By which it judges now, by label.
        has_curves: Whether its training curves came with it.
    """
    card = card_of(version)
    asked = urlencode({"version": version.version})
    return {
        "name": version.name,
        "version": version.version,
        "state": state_sign(version),
        "no_weights_reason": _no_weights_reason(version),
        "versions": _ways_to(versions, shown=version),
        "intended_use": card.intended_use,
        "ages": card.ages,
        "limits": card.limits,
        "not_measured": card.not_measured,
        "metrics": [
            *figure_groups(card.metrics, label_names=card.label_names),
            *coverage_groups(card),
        ],
        "gate": gate_groups(card),
        "shortcuts": shortcut_groups(card),
        "shortcuts_statement": _shortcuts_statement(card),
        "heat_maps": heat_map_groups(card),
        "metrics_note": " ".join((METRICS_NOTE, str(card.raw.get("val_use", "")))),
        "training_columns": _SOURCE_COLUMNS,
        "training_data": [_source(source) for source in card.training_data],
        "curves_url": (
            f"{reverse('model-curves', args=[version.name])}?{asked}"
            if has_curves
            else ""
        ),
        "label_rows": _threshold_rows(card, thresholds),
        "thresholds_note": _thresholds_note(card, thresholds),
        "facts": _facts(version, card),
    }


def _shortcuts_statement(card: Card) -> str:
    """Return what a classifier without lungs does as well, in words."""
    return str((card.shortcuts or {}).get("statement", "")).replace("_", " ")


def _no_weights_reason(version: ModelVersion) -> str:
    """Return why nobody can use a version that came without weights."""
    if version.has_weights:
        return ""
    return str(
        version.card.get("no_weights_reason")
        or "No weights were shipped with this card."
    )


def _ways_to(
    versions: Sequence[ModelVersion], *, shown: ModelVersion
) -> list[dict[str, object]]:
    return [
        {
            "version": other.version,
            "url": f"?{urlencode({'version': other.version})}",
            "current": other.pk == shown.pk,
        }
        for other in versions
    ]


def _thresholds_note(card: Card, thresholds: Mapping[str, float]) -> str:
    """Say where the thresholds in force come from, and what the figures rest on."""
    if dict(thresholds) == dict(card.thresholds):
        return str(card.raw["thresholds"].get("method", ""))
    return "set here, as told below; the card's figures were measured at its own"


def threshold_words(value: float) -> str:
    """Return a threshold with the four digits that cards keep."""
    return f"{value:.4g}"


def _threshold_rows(
    card: Card, thresholds: Mapping[str, float]
) -> list[dict[str, str]]:
    return [
        {
            "display": label.display,
            "snomed": label.snomed,
            "threshold": threshold_words(thresholds[label.name]),
        }
        for label in card.labels
    ]


def state_sign(version: ModelVersion) -> Sign:
    """Return the sign of a version's state; without weights there is but one."""
    if not version.has_weights:
        return NO_WEIGHTS
    return MODEL_STATES[ModelVersion.State(version.state)]


def _source(source: Mapping[str, Any]) -> LabelRow:
    whom = [str(source[key]) for key in ("ages", "place") if source.get(key)]
    values = (
        source.get("label", "–"),
        source.get("images", "–"),
        source.get("patients", "–"),
        "; ".join(whom),
        source.get("licence", "–"),
    )
    return LabelRow(
        str(source.get("dataset", "")),
        [
            Cell(column, str(value))
            for column, value in zip(_SOURCE_COLUMNS, values, strict=True)
        ],
    )


def _facts(version: ModelVersion, card: Card) -> list[Cell]:
    normalisation = str(card.normalisation.get("method", ""))
    calibration = (
        f"calibrated ({card.calibration.get('method', 'method not named')})"
        if card.calibrated
        else "not calibrated: scores, not probabilities"
    )
    training = card.raw.get("training") or {}
    facts = [
        Cell("Architecture", card.architecture),
        Cell(
            "Answers",
            "one of the labels" if card.task == "softmax" else "each label by itself",
        ),
        Cell("Reads", ", ".join((*card.modalities, *card.views))),
        Cell("Body part", ", ".join(card.body_parts).lower()),
        Cell("Ages", card.ages),
        Cell("Input", f"{card.input_size} × {card.input_size}; {normalisation}"),
        Cell("Scores", calibration),
        Cell("Begun from", str(training.get("begins_from", ""))),
        Cell(
            "State", f"{version.state} since {moment_words(version.state_changed_at)}"
        ),
        Cell("Made of", ", ".join(f"{m.name} {m.version}" for m in card.members)),
        Cell("Runs on", " or ".join(card.runs_on).upper()),
        Cell(
            "Identity sha256" if card.members else "Weights sha256",
            version.weights_sha256,
            hash=True,
        ),
    ]
    return [fact for fact in facts if fact.value]
