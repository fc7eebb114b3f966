"""The measurements of a card as tables: metrics with intervals, beside the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.text import get_text_list
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ml.cards.card import Card
from ml.cards.measurements import (
    BaselineValue,
    Coverage,
    CoverageOfGroup,
    Estimate,
    LabelMetrics,
    Measurement,
    Metric,
    Pair,
    command_text,
)

METRIC_NAMES: Mapping[str, str | Promise] = {
    "balanced_accuracy": _("Balanced accuracy"),
    "accuracy": _("Accuracy"),
    "accuracy_at_80": _("Accuracy of the surest 80 %"),
    "mean_auc": _("Mean AUC over the labels"),
    "mean_auc_claimed": _("Mean AUC over labels with enough images"),
    "auc": _("AUC"),
    "expected_calibration_error": _("Calibration error (ECE)"),
}
LABEL_METRIC_NAMES: Mapping[str, str | Promise] = {
    "auc": _("AUC"),
    "sensitivity": _("Sensitivity"),
    "specificity": _("Specificity"),
    "precision": _("Precision"),
    "expected_calibration_error": _("ECE"),
}
# The metrics above rest on the highest probability for softmax models; the mark that a
# reader sees rests on the threshold.
MARK_METRIC_NAMES: Mapping[str, str | Promise] = {
    "sensitivity_at_threshold": _("Sensitivity of the mark"),
    "specificity_at_threshold": _("Specificity of the mark"),
}
CHANGE_NAMES: Mapping[str, str | Promise] = {
    "crop-equalise": _("borders cropped and histograms equalised"),
    "crop-tenth": _("the outer tenth cropped and histograms equalised"),
    "corners-masked": _("corners masked"),
    "lungs-only": _("lungs only"),
    "shifted": _("shifted"),
    "rotated": _("rotated"),
    "rescaled": _("rescaled"),
    "rotated-5": _("rotated by 5 degrees"),
    "jpeg-50": _("as JPEG of quality 50"),
    "noise": _("with noise"),
}
NOT_KNOWN_NAMES: Mapping[str, str | Promise] = {
    "view": _("View not known"),
    "sex": _("Sex not known"),
    "age_years": _("Age not known"),
}
# Of the risk-coverage curve: the shares of surest answers whose errors are shown.
SUREST_SHARES = (0.5, 0.8, 1.0)
NO_VALUE = "–"
LABEL = _("Label")


@dataclass(frozen=True)
class Cell:
    """A named value; `hash`: set in a fixed width."""

    name: str
    value: str
    hash: bool = False


@dataclass(frozen=True)
class MetricLine:
    """A metric with its interval."""

    name: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table: a name, and its cells."""

    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class MetricGroup:
    """The metrics of one set of images, and the command that measures them again."""

    title: str
    metrics: Sequence[MetricLine] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Row] = ()
    rows_are: str | Promise = LABEL
    command: str = ""


def measurement_group(
    title: str, measurement: Measurement, *, label_names: Sequence[str]
) -> MetricGroup:
    """Return what was measured on one set of images, labels in the card's order."""
    shown = dict(LABEL_METRIC_NAMES)
    if _marks_differ(measurement.labels):
        shown |= MARK_METRIC_NAMES
    return MetricGroup(
        title=title,
        metrics=_lines(measurement),
        columns=[*(str(name) for name in shown.values()), gettext("Images")],
        rows=_label_rows(measurement, label_names, shown),
        command=command_text(measurement.command),
    )


def images_title(measurement: Measurement) -> str:
    """Say which images were measured: split, data sets and change."""
    datasets = get_text_list(list(measurement.datasets), gettext("and"))
    validation = measurement.split == "val"
    if validation and datasets:
        title = gettext("Validation images of %(datasets)s") % {"datasets": datasets}
    elif validation:
        title = gettext("Validation images")
    elif datasets:
        title = gettext("Images of the split %(split)s of %(datasets)s") % {
            "split": measurement.split,
            "datasets": datasets,
        }
    else:
        title = gettext("Images of the split %(split)s") % {"split": measurement.split}
    if measurement.change:
        title = gettext("%(images)s, %(change)s") % {
            "images": title,
            "change": CHANGE_NAMES.get(measurement.change, measurement.change),
        }
    pair = measurement.pair
    if pair and not pair.metrics:
        # Everything in this measurement is about the pair.
        title = gettext("%(images)s: %(pair)s") % {
            "images": title,
            "pair": pair_name(pair),
        }
    return title


def pair_name(pair: Pair) -> str:
    """Name the two sides of a pair."""
    first, second = (
        get_text_list(side.split("+"), gettext("or")) for side in pair.sides
    )
    return gettext("%(first)s against %(second)s") % {"first": first, "second": second}


def coverage_groups(card: Card) -> list[MetricGroup]:
    """Return what the label sets or bands of a card are worth, by source and class."""
    claimed = [
        measurement.coverage
        for measurement in card.measurements
        if measurement.coverage
        and measurement.coverage.claimed
        and not measurement.change
    ]
    if not claimed:
        return []
    # The largest set of images: the smaller ones are among its sources.
    return [_coverage_group(max(claimed, key=lambda coverage: coverage.n))]


def interval_line(name: str, estimate: Estimate | Metric | BaselineValue) -> MetricLine:
    """Return a value with its interval under a name."""
    return MetricLine(name, two_digits(estimate.value), interval_text(estimate))


def interval_text(estimate: Estimate | Metric | BaselineValue) -> str:
    """Write the interval of a value."""
    return f"{two_digits(estimate.low)}–{two_digits(estimate.high)}"


def two_digits(value: float | None) -> str:
    """Write a value with two digits, a dash where there is none."""
    return NO_VALUE if value is None else f"{value:.2f}"


def table_row(name: str, columns: Sequence[str], *values: str) -> Row:
    """Return a row of a table whose cells have the names of the columns."""
    return Row(name, [Cell(c, v) for c, v in zip(columns, values, strict=True)])


def _lines(measurement: Measurement) -> list[MetricLine]:
    lines = _counted(measurement)
    for name, words in METRIC_NAMES.items():
        metric = measurement.metric(name)
        if metric:
            lines += _metric_lines(str(words), metric)
    pair = measurement.pair
    if pair:
        for name, words in METRIC_NAMES.items():
            metric = pair.metric(name)
            if metric:
                named = gettext("%(pair)s: %(metric)s") % {
                    "pair": pair_name(pair),
                    "metric": words,
                }
                lines += _metric_lines(named, metric)
    return lines


def _counted(measurement: Measurement) -> list[MetricLine]:
    if measurement.images is None:
        return []
    if measurement.patients is None:
        counted = gettext("%(images)d images") % {"images": measurement.images}
    else:
        counted = gettext("%(images)d images, %(patients)d patients") % {
            "images": measurement.images,
            "patients": measurement.patients,
        }
    not_known = measurement.not_known or {}
    return [
        MetricLine(gettext("Measured on"), counted),
        *(
            MetricLine(
                str(words), gettext("%(images)d images") % {"images": not_known[kind]}
            )
            for kind, words in NOT_KNOWN_NAMES.items()
            if not_known.get(kind)
        ),
    ]


def _metric_lines(name: str, metric: Metric) -> list[MetricLine]:
    """Return a metric, the baseline's beside it, and the lead over that."""
    lines = [interval_line(name, metric)]
    baseline = metric.baseline
    if not baseline:
        return lines
    params = {"metric": name}
    lines += [
        interval_line(
            gettext("%(metric)s, border-and-histogram baseline") % params, baseline
        ),
        interval_line(
            gettext("%(metric)s, lead over the baseline") % params, baseline.lead
        ),
    ]
    if not baseline.separable:
        lines.append(MetricLine(gettext("Source not separable from disease"), name))
    return lines


def _coverage_group(coverage: Coverage) -> MetricGroup:
    lines = [MetricLine(gettext("Stated"), two_digits(coverage.stated_coverage))]
    if coverage.coverage:
        lines.append(
            interval_line(gettext("True label not ruled out"), coverage.coverage)
        )
    if coverage.left_open:
        lines.append(interval_line(gettext("Answer left open"), coverage.left_open))
    risks = dict(coverage.risk_coverage)
    lines += [
        MetricLine(
            gettext("Errors among the surest %(share)s")
            % {"share": format(share, ".0%")},
            two_digits(risks[share]),
        )
        for share in SUREST_SHARES
        if share in risks
    ]
    columns = [gettext("Images"), gettext("Not ruled out"), gettext("Left open")]
    return MetricGroup(
        title=gettext("How often the true label is among those not ruled out"),
        metrics=lines,
        columns=columns,
        rows=[_coverage_row(group, columns) for group in coverage.groups],
        rows_are=_("Source and label"),
    )


def _coverage_row(group: CoverageOfGroup, columns: Sequence[str]) -> Row:
    name = group.name
    if group.kind == "with":
        name = gettext("%(label)s, images with it") % {"label": group.name}
    elif group.kind == "without":
        name = gettext("%(label)s, images without it") % {"label": group.name}
    if group.claimed and group.coverage and group.left_open:
        shares = (
            two_digits(group.coverage.value),
            two_digits(group.left_open.value),
        )
    else:
        shares = (gettext("too few"), NO_VALUE)
    return table_row(name, columns, str(group.n), *shares)


def _marks_differ(labels: Iterable[LabelMetrics]) -> bool:
    """Whether the mark has other metrics than the label: it has for softmax models."""
    for label in labels:
        for name in MARK_METRIC_NAMES:
            mark = label.metric(name)
            metric = label.metric(name.removesuffix("_at_threshold"))
            if mark and (metric is None or mark.value != metric.value):
                return True
    return False


def _label_rows(
    measurement: Measurement,
    label_names: Sequence[str],
    shown: Mapping[str, str | Promise],
) -> list[Row]:
    """Return a row for each label with images; too few images have no metrics."""
    labels = [measurement.label(name) for name in label_names]
    return [
        Row(
            label.label,
            [
                *(
                    Cell(str(words), _label_metric(label, name))
                    for name, words in shown.items()
                ),
                Cell(gettext("Images"), str(label.positives)),
            ],
        )
        for label in labels
        if label and label.positives
    ]


def _label_metric(label: LabelMetrics, name: str) -> str:
    if not label.claimed:
        return gettext("too few")
    metric = label.metric(name)
    if metric is None:
        return NO_VALUE
    if metric.low is None:
        return two_digits(metric.value)
    # A word joiner: the interval stands on one line, under its value if need be.
    interval = f"{two_digits(metric.low)}–\u2060{two_digits(metric.high)}"
    return f"{two_digits(metric.value)} ({interval})"
