"""The page of a model's card: metrics, training data, limits, what was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.governance.versions import card_of, retired_of, retired_sentence
from diagnoses.labels import label_name
from diagnoses.models import ModelVersion
from diagnoses.pages.model.evidence import (
    gate_groups,
    heat_map_groups,
    not_separable_statement,
    shortcut_groups,
)
from diagnoses.pages.model.metrics import (
    METRIC_NAMES,
    NO_VALUE,
    Cell,
    Row,
    coverage_groups,
    table_row,
)
from diagnoses.pages.model.practice import measurement_groups, practice_groups
from diagnoses.pages.words.signs import MODEL_STATES, NO_WEIGHTS, Sign
from diagnoses.pages.words.times import moment_words
from ml.cards.card import Card
from ml.cards.claims import weakness_of
from ml.cards.contents import TrainingSource

METRICS_NOTE = _(
    "In brackets: 95 % intervals by bootstrap over patients. Validation images come "
    "from the sources that the model learned from; on other images it may do worse."
)


def card_summary(version: ModelVersion) -> dict[str, Any]:
    """Return what the list of models shows of one."""
    card = card_of(version)
    return {
        "name": version.name,
        "version": version.version,
        "url": reverse("model", args=[version.name]),
        "state": state_sign(version),
        "retired": retired_sentence(version),
        "no_weights_reason": _no_weights_reason(version, card),
        "weakness": _weakness_sentence(card),
        "intended_use": card.intended_use,
        "labels": [
            label_name(label.name, display=label.display) for label in card.labels
        ],
    }


def _weakness_sentence(card: Card) -> str:
    """Return why the demo does not use a model, or ""."""
    weakness = weakness_of(card)
    if weakness is None:
        return ""
    metric, baseline = weakness.metric, weakness.metric.baseline
    values = {
        "value": _two_digits(metric.value),
        "low": _two_digits(metric.low),
        "high": _two_digits(metric.high),
        "datasets": ", ".join(weakness.measurement.datasets),
    }
    text = gettext(
        "No better than chance by its own card: mean AUC %(value)s (95 %% interval "
        "%(low)s to %(high)s; chance is 0.50) on %(datasets)s. The demo does not use "
        "this model."
    )
    if weakness.beside_baseline and baseline:
        values |= {
            "baseline": _two_digits(baseline.value),
            "lead": _two_digits(baseline.lead.value),
            "low": _two_digits(baseline.lead.low),
            "high": _two_digits(baseline.lead.high),
        }
        text = gettext(
            "By its own card no better than the border-and-histogram baseline, which "
            "sees no lungs: mean AUC %(value)s on %(datasets)s, that of the baseline "
            "%(baseline)s, lead %(lead)s (95 %% interval %(low)s to %(high)s). The "
            "demo does not use this model."
        )
    return text % values


def _two_digits(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:z.2f}"


def _claims_sentence(version: ModelVersion, card: Card) -> str:
    """Return the labels whose accuracy the card claims: only these can be flagged."""
    claimed = [
        label_name(label.name, display=label.display)
        for label in card.labels
        if label.name in version.claimed_labels
    ]
    if not claimed:
        return gettext(
            "The card claims no accuracy for any label: this model flags nothing."
        )
    return gettext(
        "The card claims an accuracy for: %(labels)s. Other labels are never flagged."
    ) % {"labels": ", ".join(claimed)}


def card_page(
    version: ModelVersion,
    *,
    versions: Sequence[ModelVersion],
    thresholds: Mapping[str, float],
    has_curves: bool,
) -> dict[str, Any]:
    """Return what the page of one version shows.

    Args:
        version: The version.
        versions: All versions of its name, for the links to the others.
        thresholds: The thresholds in force now, by label.
        has_curves: Whether its training curves came with it.
    """
    card = card_of(version)
    query = urlencode({"version": version.version})
    columns = _training_columns()
    return {
        "name": version.name,
        "version": version.version,
        "state": state_sign(version),
        "no_weights_reason": _no_weights_reason(version, card),
        "retired": retired_sentence(version),
        "successors": _successors(version),
        "weakness": _weakness_sentence(card),
        "claims": _claims_sentence(version, card),
        "versions": _links_to(versions, shown=version),
        "intended_use": card.intended_use,
        "ages": card.ages,
        "limits": card.limits,
        "not_measured": card.not_measured,
        "measurements": [*measurement_groups(card), *coverage_groups(card)],
        "practice": practice_groups(card),
        "gate": gate_groups(card),
        "shortcuts": shortcut_groups(card),
        "shortcuts_statement": not_separable_statement(card),
        "heat_maps": heat_map_groups(card),
        "metrics_note": METRICS_NOTE,
        "val_use": card.contents.val_use,
        "training_columns": columns,
        "training_data": [
            _source_row(source, columns) for source in card.training_data
        ],
        "curves_url": (
            f"{reverse('model-curves', args=[version.name])}?{query}"
            if has_curves
            else ""
        ),
        "chosen_by": _chosen_by_sentence(card),
        "label_rows": _threshold_rows(card, thresholds),
        "thresholds_note": _thresholds_note(card, thresholds),
        "normals": _normals_lines(card, thresholds),
        "facts": _facts(version, card),
    }


def _successors(version: ModelVersion) -> list[dict[str, str]]:
    """Return links to the installed versions that take the place of a retired one."""
    retired = retired_of(version)
    return [
        {
            "name": str(successor),
            "url": f"{reverse('model', args=[successor.name])}"
            f"?{urlencode({'version': successor.version})}",
        }
        for successor in (retired.in_favour_of if retired else ())
        if ModelVersion.objects.filter(
            name=successor.name, version=successor.version
        ).exists()
    ]


def _no_weights_reason(version: ModelVersion, card: Card) -> str:
    """Return why a version without weights cannot be used."""
    if version.has_weights:
        return ""
    return card.no_weights_reason or gettext("No weights were shipped with this card.")


def _links_to(
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
    """Say where the thresholds in force come from."""
    if dict(thresholds) == dict(card.thresholds):
        return card.contents.thresholds.method
    return gettext(
        "set here, see below; the metrics of the card were measured at its own "
        "thresholds"
    )


def _normals_lines(card: Card, thresholds: Mapping[str, float]) -> list[str]:
    """Return what the card's thresholds flag and keep, if they are in force."""
    normals = card.contents.thresholds.normals
    if normals is None or dict(thresholds) != dict(card.thresholds):
        return []
    flagged = gettext(
        "Of %(images)d normal training images (%(dataset)s) any of %(models)s flags "
        "%(flagged)s, this model %(own)s."
    ) % {
        "images": normals.images,
        "dataset": normals.dataset,
        "models": ", ".join(normals.models),
        "flagged": _percent(normals.flagged),
        "own": _percent(normals.flagged_by_this_model),
    }
    displays = {label.name: label.display for label in card.labels}
    return [
        flagged,
        *(
            gettext(
                "%(label)s: calls %(value)s of %(positives)d held-out training images "
                "with it; the point youden %(before)s."
            )
            % {
                "label": label_name(kept.label, display=displays[kept.label]),
                "value": _percent(kept.value),
                "positives": kept.positives,
                "before": _percent(kept.before),
            }
            for kept in normals.sensitivity
        ),
    ]


def _percent(share: float) -> str:
    return gettext("%(percent)s %%") % {"percent": f"{100 * share:.1f}"}


def _chosen_by_sentence(card: Card) -> str:
    """Return why the model is the default, or ""."""
    chosen_by = card.contents.chosen_by
    if chosen_by is None:
        return ""
    return gettext(
        "The default model. %(metric)s %(value)s on %(images)d held-out training "
        "images of %(patients)d patients (%(dataset)s); the runner-up %(runner_up)s "
        "reached %(other)s, difference %(difference)s (95 %% interval %(low)s to "
        "%(high)s)."
    ) % {
        "metric": METRIC_NAMES[chosen_by.metric],
        "value": _two_digits(chosen_by.value.value),
        "images": chosen_by.images,
        "patients": chosen_by.patients,
        "dataset": chosen_by.dataset,
        "runner_up": chosen_by.runner_up,
        "other": _two_digits(chosen_by.runner_up_value),
        "difference": _two_digits(chosen_by.difference.value),
        "low": _two_digits(chosen_by.difference.low),
        "high": _two_digits(chosen_by.difference.high),
    }


def threshold_words(value: float) -> str:
    """Return a threshold with the four digits that cards keep."""
    return f"{value:.4g}"


def _threshold_rows(
    card: Card, thresholds: Mapping[str, float]
) -> list[dict[str, str]]:
    return [
        {
            "display": label_name(label.name, display=label.display),
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


def _training_columns() -> list[str]:
    return [
        gettext("Label"),
        gettext("Images"),
        gettext("Patients"),
        gettext("Ages and place"),
        gettext("Licence"),
    ]


def _source_row(source: TrainingSource, columns: Sequence[str]) -> Row:
    return table_row(
        source.dataset,
        columns,
        source.label or NO_VALUE,
        _count(source.images),
        _count(source.patients),
        "; ".join(text for text in (source.ages, source.place) if text),
        source.licence or NO_VALUE,
    )


def _count(number: int | None) -> str:
    return NO_VALUE if number is None else str(number)


def _facts(version: ModelVersion, card: Card) -> list[Cell]:
    training = card.training
    facts = [
        Cell(gettext("Architecture"), card.architecture),
        Cell(
            gettext("Answers"),
            gettext("one of the labels")
            if card.task == "softmax"
            else gettext("each label by itself"),
        ),
        Cell(
            gettext("Modalities and views"), ", ".join((*card.modalities, *card.views))
        ),
        Cell(gettext("Body part"), ", ".join(card.body_parts).lower()),
        Cell(gettext("Ages"), card.ages),
        Cell(gettext("Input"), _input_words(card)),
        Cell(gettext("Scores"), _calibration_words(card)),
        Cell(gettext("Initial weights"), training.begins_from if training else ""),
        Cell(
            gettext("State"),
            gettext("%(state)s since %(moment)s")
            % {
                "state": version.get_state_display(),
                "moment": moment_words(version.state_changed_at),
            },
        ),
        Cell(
            gettext("Made of"), ", ".join(f"{m.name} {m.version}" for m in card.members)
        ),
        Cell(gettext("Runs on"), ", ".join(card.runs_on).upper()),
        Cell(
            gettext("Identity sha256") if card.members else gettext("Weights sha256"),
            version.weights_sha256,
            hash=True,
        ),
    ]
    return [fact for fact in facts if fact.value]


def _input_words(card: Card) -> str:
    size = f"{card.input_size} × {card.input_size}"
    method = str(card.normalisation.get("method", ""))
    return f"{size}; {method}" if method else size


def _calibration_words(card: Card) -> str:
    if not card.calibrated:
        return gettext("not calibrated: scores, not probabilities")
    method = card.contents.calibration.method or gettext("method not named")
    return gettext("calibrated (%(method)s)") % {"method": method}
