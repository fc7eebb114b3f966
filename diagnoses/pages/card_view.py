"""A model's card as a page: figures with intervals, data, limits, what is not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from diagnoses.model_versions import card_of
from diagnoses.models import ModelVersion
from diagnoses.pages.moments import moment_words
from diagnoses.pages.signs import MODEL_STATES, Sign
from ml.registry import Card

_FIGURES = (
    ("balanced_accuracy", "Balanced accuracy"),
    ("accuracy", "Accuracy"),
    ("mean_auc", "Mean AUC over the labels"),
    ("auc", "AUC"),
)
_LABEL_FIGURES = (
    ("precision", "Precision"),
    ("recall", "Recall"),
    ("f1", "F1"),
    ("auc", "AUC"),
    ("positives", "Films"),
)
_SOURCE_COLUMNS = ("Label", "Films", "Patients", "Whom, and where from", "Licence")
# Parts of a metric's key, as `ml.packaging` writes them, in words.
_CHANGED_SUFFIX = "_crop_equalise"
_CHANGED_WORDS = ", borders cropped and histograms equalised"
METRICS_NOTE = (
    "In brackets: 95 % intervals by bootstrap over patients. Validation films come "
    "from the sources that the model learned from; elsewhere it may read less well."
)


@dataclass(frozen=True)
class Cell:
    """A named value; `hash`: to be set in a fixed width."""

    name: str
    value: str
    hash: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure with its interval."""

    name: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class LabelRow:
    """A row of a table: a name, and its cells."""

    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class FigureGroup:
    """What was measured on one set of films."""

    title: str
    figures: Sequence[Figure]
    columns: Sequence[str]
    labels: Sequence[LabelRow]


def card_summary(version: ModelVersion) -> dict[str, Any]:
    """Return what the list of models says about one."""
    card = card_of(version)
    return {
        "name": version.name,
        "version": version.version,
        "url": reverse("model", args=[version.name]),
        "state": state_sign(version),
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
        "versions": _ways_to(versions, shown=version),
        "intended_use": card.intended_use,
        "ages": card.ages,
        "limits": card.limits,
        "not_measured": card.not_measured,
        "metrics": figure_groups(card.metrics, label_names=card.label_names),
        "metrics_note": " ".join((METRICS_NOTE, str(card.raw.get("val_use", "")))),
        "training_columns": _SOURCE_COLUMNS,
        "training_data": [_source(source) for source in card.training_data],
        "curves_url": (
            f"{reverse('model-curves', args=[version.name])}?{asked}"
            if has_curves
            else ""
        ),
        "label_rows": _threshold_rows(card, thresholds),
        "thresholds_method": str(card.raw["thresholds"].get("method", "")),
        "facts": _facts(version, card),
    }


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


def _threshold_rows(
    card: Card, thresholds: Mapping[str, float]
) -> list[dict[str, str]]:
    return [
        {
            "display": label.display,
            "snomed": label.snomed,
            "threshold": f"{thresholds[label.name]:.2f}",
        }
        for label in card.labels
    ]


def state_sign(version: ModelVersion) -> Sign:
    """Return the sign of a version's state."""
    return MODEL_STATES[ModelVersion.State(version.state)]


def figure_groups(
    metrics: Mapping[str, Any], *, label_names: Sequence[str]
) -> list[FigureGroup]:
    """Return the sets of films that a card has figures for, labels in its order."""
    return [
        FigureGroup(
            title=_title(key, measured),
            figures=_figures(measured),
            columns=[word for _, word in _LABEL_FIGURES],
            labels=_label_rows(measured.get("labels") or {}, label_names),
        )
        for key, measured in metrics.items()
        if isinstance(measured, Mapping)
    ]


def _title(key: str, measured: Mapping[str, Any]) -> str:
    changed = key.endswith(_CHANGED_SUFFIX)
    split, _, rest = key.removesuffix(_CHANGED_SUFFIX).partition("_")
    pair = measured.get("pair") or []
    films = "Validation films" if split == "val" else f"{split.capitalize()} films"
    # After the split comes the data set; after that, what a pair is made of.
    of = f" of {rest.split('_')[0]}" if rest else ""
    against = f": {' against '.join(pair)}" if pair else ""
    return films + of + (_CHANGED_WORDS if changed else "") + against


def _figures(measured: Mapping[str, Any]) -> list[Figure]:
    counted = [
        f"{measured[name]} {name if name != 'n' else 'films'}"
        for name in ("n", "patients")
        if measured.get(name) is not None
    ]
    figures = [Figure("Measured on", ", ".join(counted))] if counted else []
    for name, word in _FIGURES:
        value = measured.get(name)
        if isinstance(value, Mapping):
            interval = f"{_two(value.get('low'))}–{_two(value.get('high'))}"
            figures.append(Figure(word, _two(value.get("value")), interval))
    return figures


def _label_rows(
    labels: Mapping[str, Mapping[str, Any]], label_names: Sequence[str]
) -> list[LabelRow]:
    """Return a row for each label that any film had."""
    return [
        LabelRow(
            name,
            [
                Cell(
                    word,
                    str(found.get(key)) if key == "positives" else _two(found.get(key)),
                )
                for key, word in _LABEL_FIGURES
            ],
        )
        # The database keeps no order of keys.
        for name in label_names
        if (found := labels.get(name)) and found.get("positives")
    ]


def _two(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "–"


def _source(source: Mapping[str, Any]) -> LabelRow:
    whom = [str(source[key]) for key in ("ages", "place") if source.get(key)]
    values = (
        source.get("label", "–"),
        source.get("films", "–"),
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
    training = card.raw.get("training", {})
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
        Cell("Weights sha256", version.weights_sha256, hash=True),
    ]
    return [fact for fact in facts if fact.value]
