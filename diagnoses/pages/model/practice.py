"""What a card says of use in practice, as tables.

By view, sex and age; what a mark is worth where a disease is rare; how many normal
images are flagged; patients that a training left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.text import get_text_list
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.labels import label_name
from diagnoses.pages.model.metrics import (
    METRIC_NAMES,
    MetricGroup,
    MetricLine,
    images_title,
    interval_line,
    interval_text,
    measurement_group,
    table_row,
    two_digits,
)
from ml.cards.card import Card
from ml.cards.measurements import (
    PLAIN,
    Estimate,
    FlaggedNormals,
    Measurement,
    Metric,
    TrialResult,
    command_text,
)

_GROUP_NAMES: Mapping[str, str | Promise] = {
    "dataset": _("data set %(name)s"),
    "view": _("view %(name)s"),
    "sex": _("sex %(name)s"),
    "age_years": _("age in years %(name)s"),
}
_GROUP_METRICS = ("accuracy", "balanced_accuracy", "mean_auc")


def measurement_groups(card: Card) -> list[MetricGroup]:
    """Return each set of images that a card has metrics of, and its groups."""
    groups = []
    for measurement in card.measurements:
        title = images_title(measurement)
        groups.append(
            measurement_group(title, measurement, label_names=card.label_names)
        )
        if measurement.groups and not measurement.change:
            groups.append(_people_group(title, measurement))
    return groups


def practice_groups(card: Card) -> list[MetricGroup]:
    """Return what to expect of a model on other patients than those it learned from."""
    contents = card.contents
    groups = _predictive_groups(card)
    if contents.flagged_normals:
        groups.append(_normals_group(contents.flagged_normals))
    for title, results in (
        (
            gettext("Trained without a source, measured on it"),
            contents.cross_source,
        ),
        (gettext("Cross-validated by patient"), contents.cross_validation),
    ):
        groups += [_trial_group(title, result) for result in results]
    return groups


def _people_group(title: str, measurement: Measurement) -> MetricGroup:
    columns = [
        gettext("Images"),
        *(str(METRIC_NAMES[name]) for name in _GROUP_METRICS),
    ]
    rows = []
    for group in measurement.groups:
        metrics = {metric.name: metric for metric in group.metrics}
        values = (
            [_with_interval(metrics.get(name)) for name in _GROUP_METRICS]
            if group.claimed
            else [gettext("too few")] * len(_GROUP_METRICS)
        )
        name = str(_GROUP_NAMES.get(group.by, "%(name)s")) % {"name": group.name}
        rows.append(table_row(name, columns, str(group.images), *values))
    return MetricGroup(
        title=gettext("%(images)s, by group") % {"images": title},
        columns=columns,
        rows=rows,
        rows_are=_("Group"),
    )


def _predictive_groups(card: Card) -> list[MetricGroup]:
    """Return predictive values of each label, on each set of unchanged images."""
    displays = {label.name: label.display for label in card.labels}
    columns = [gettext("Marked: has it"), gettext("Not marked: does not have it")]
    groups = []
    for measurement in card.measurements:
        rows = [
            table_row(
                gettext("%(label)s, where %(share)s have it")
                % {
                    "label": label_name(
                        each.label, display=displays.get(each.label, each.label)
                    ),
                    "share": f"{each.prevalence:.0%}",
                },
                columns,
                _with_interval(each.ppv),
                _with_interval(each.npv),
            )
            for each in measurement.predictive_values
        ]
        if rows and not measurement.change:
            title = gettext("What a mark is worth, by %(images)s") % {
                "images": images_title(measurement)
            }
            groups.append(
                MetricGroup(
                    title=title,
                    columns=columns,
                    rows=rows,
                    rows_are=_("Label and share of patients"),
                    command=command_text(measurement.command),
                )
            )
    return groups


def _normals_group(normals: FlaggedNormals) -> MetricGroup:
    lines = [
        MetricLine(
            gettext("Measured on"),
            gettext("%(images)d images of %(datasets)s, for research only")
            % {
                "images": normals.images,
                "datasets": get_text_list(list(normals.datasets), gettext("and")),
            },
        )
    ]
    together = normals.together
    if together:
        text = gettext("Flagged by any of %(models)s, for any label that they claim")
        models = get_text_list(list(together.models), gettext("or"))
        lines.append(interval_line(text % {"models": models}, together.flagged))
    columns = [gettext("Flagged for any label"), gettext("By label")]
    rows = []
    for name, share in normals.points.items():
        by_label = ", ".join(
            f"{label_name(label)} {two_digits(flagged.value)}"
            for label, flagged in share.labels.items()
        )
        point = gettext("%(name)s, in use by default") % {"name": name}
        rows.append(
            table_row(
                point if name in (normals.default or "card",) else name,
                columns,
                _with_interval(share.flagged),
                by_label or gettext("none is claimed"),
            )
        )
    return MetricGroup(
        title=gettext("Normal images of adults that are flagged"),
        metrics=lines,
        columns=columns,
        rows=rows,
        rows_are=_("Operating point"),
        command=command_text(normals.command),
    )


def _trial_group(title: str, result: TrialResult) -> MetricGroup:
    name = str(METRIC_NAMES.get(result.metric, result.metric))
    lines = [
        MetricLine(
            gettext("Measured on"),
            gettext("%(images)d images, %(patients)d patients")
            % {"images": result.images, "patients": result.patients},
        ),
        interval_line(name, result.value),
    ]
    if result.baseline:
        text = gettext("%(metric)s, border-and-histogram baseline")
        lines.append(interval_line(text % {"metric": name}, result.baseline))
    if result.lead:
        text = gettext("%(metric)s, lead over the baseline")
        lines.append(interval_line(text % {"metric": name}, result.lead))
    if result.left_out:
        left_out = get_text_list(list(result.left_out), gettext("and"))
        lines.append(MetricLine(gettext("Left out of training"), left_out))
    if result.folds:
        lines.append(MetricLine(gettext("Folds"), str(result.folds)))
    if result.method != PLAIN:
        lines.append(MetricLine(gettext("Against telling sources"), result.method))
    if result.shortened:
        lines.append(MetricLine(gettext("Shortened training"), result.shortened))
    return MetricGroup(
        title=f"{title}: {result.source}, {result.task}",
        metrics=lines,
        command=command_text(result.command),
    )


def _with_interval(estimate: Estimate | Metric | None) -> str:
    if estimate is None or estimate.value is None:
        return two_digits(None)
    if estimate.low is None:
        return two_digits(estimate.value)
    return f"{two_digits(estimate.value)} ({interval_text(estimate)})"
