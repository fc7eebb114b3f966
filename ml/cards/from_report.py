"""Turn the reports of `ml.evaluation` into the measurements of a card.

The reports are what the evaluation commands print as JSON, and what acceptances keep.
Cards of schema version 1 held them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml.cards.contents import Shortcuts, ShortcutsBefore, Training
from ml.cards.json_reader import read_json
from ml.cards.measurements import (
    Baseline,
    BaselineComparison,
    BaselineValue,
    ChangedImages,
    Confusion,
    Coverage,
    CoverageOfGroup,
    Estimate,
    FlaggedNormals,
    GateTrial,
    Group,
    HeatMapMeasures,
    HeatOutsideLungs,
    InsertionDeletion,
    LabelMetrics,
    Measurement,
    Metric,
    Pair,
    PointingGame,
    PredictiveValues,
    Randomisation,
    SourceTest,
    TrialResult,
)

NO_CHANGE = "none"
SHORTENED = "Shorter than that of the model; the command says how."
_DIFFERENCE = "_change"
_NOT_METRICS = ("positives", "negatives", "threshold", "claimed", "intervals")


def measurement_of_report(
    report: Mapping[str, Any],
    *,
    key: str,
    command: Sequence[str],
    datasets: Iterable[str] = (),
    split: str = "val",
    change: str | None = None,
) -> Measurement:
    """Return what a report of `ml.evaluation.scoring` says, as an entry of a card.

    Args:
        report: With "n", "patients", metrics as {value, low, high}, "labels" and,
            where measured, "groups", "not_known", "predictive_values", "uncertainty",
            "confusion", "pair", "baseline".
        key: The name of the entry.
        command: What measures the same again.
        datasets: The sources of the images; none: every image of the split.
        split: The split of the images.
        change: What was done to the images before; None: nothing.

    Raises:
        JsonMismatchError: Something in the report has another form.
    """
    baseline = report.get("baseline") or {}
    beside = baseline.get("figures") or {}
    beside_labels = baseline.get("labels") or {}
    confusion = report.get("confusion")
    return Measurement(
        key=key,
        split=split,
        datasets=tuple(datasets),
        images=report.get("n"),
        patients=report.get("patients"),
        change=None if change in (None, NO_CHANGE) else change,
        command=tuple(command),
        metrics=_metrics(report, beside),
        labels=tuple(
            _label(name, values, beside_labels.get(name) or {})
            for name, values in (report.get("labels") or {}).items()
        ),
        too_few=tuple(report.get("too_few") or ()),
        confusion=read_json(Confusion, confusion) if confusion else None,
        groups=tuple(
            _group(by, name, values)
            for by, groups in (report.get("groups") or {}).items()
            for name, values in groups.items()
        ),
        not_known=report.get("not_known"),
        predictive_values=tuple(
            read_json(PredictiveValues, {"label": label, **values})
            for label, by_prevalence in (report.get("predictive_values") or {}).items()
            for values in by_prevalence
        ),
        coverage=_coverage(report.get("uncertainty")),
        pair=_pair(report.get("pair"), baseline.get("pair") or {}),
        baseline=Baseline(baseline.get("sees", ""), baseline.get("learned_from"))
        if baseline
        else None,
    )


def gate_trial_of_report(
    report: Mapping[str, Any],
    *,
    command: Sequence[str],
    split: str = "val",
    patients: int | None = None,
) -> GateTrial:
    """Return what a report of `ml.evaluation.gate.trial` says."""
    real = report["real"]
    return read_json(
        GateTrial,
        {
            **report,
            "split": split,
            "datasets": list(real["by_source"]),
            "images": real["refused"]["n"],
            "patients": patients,
            "command": list(command),
        },
    )


def shortcuts_of_report(
    report: Mapping[str, Any],
    *,
    command: Sequence[str],
    datasets: Iterable[str] = (),
    split: str = "val",
) -> Shortcuts:
    """Return what a report of `ml.evaluation.shortcuts.measures` says."""
    heat = report.get("heat_outside_lungs")
    return Shortcuts(
        split=split,
        datasets=tuple(datasets),
        images=report.get("images"),
        patients=report.get("patients"),
        command=tuple(command),
        failed=tuple(report.get("failed") or ()),
        changes=_changes(report["changes"]),
        baseline=tuple(
            _comparison(part, beside)
            for part, beside in (report.get("baseline") or {}).items()
        ),
        sources=_sources(report.get("sources")),
        heat_outside_lungs=read_json(HeatOutsideLungs, heat) if heat else None,
    )


def shortcuts_before(
    report: Mapping[str, Any], *, training: Training, weights_sha256: str
) -> ShortcutsBefore:
    """Return the shortcuts of the model that was trained without countermeasures."""
    return ShortcutsBefore(
        training=training,
        weights_sha256=weights_sha256,
        changes=_changes(report["changes"]),
        sources=_sources(report.get("sources")),
    )


def heat_maps_of_report(
    report: Mapping[str, Any],
    *,
    command: Sequence[str],
    datasets: Iterable[str] = (),
    split: str = "val",
) -> HeatMapMeasures:
    """Return what a report of `ml.evaluation.heat_maps.measures` says."""
    curves = read_json(InsertionDeletion, report["insertion_deletion"])
    pointing = report.get("pointing_game")
    return HeatMapMeasures(
        split=split,
        datasets=tuple(datasets),
        images=curves.images,
        patients=curves.patients,
        command=tuple(command),
        cells=tuple(report.get("cells") or ()),
        pointing_game={
            part: read_json(PointingGame, played) for part, played in pointing.items()
        }
        if pointing
        else None,
        insertion_deletion=curves,
        randomisation=read_json(Randomisation, report["randomisation"]),
    )


def flagged_normals_of_report(
    report: Mapping[str, Any], *, command: Sequence[str]
) -> FlaggedNormals:
    """Return what a report of `ml.evaluation.normals.flagged` says of one model."""
    return read_json(FlaggedNormals, {**report, "command": list(command)})


def trial_result_of_report(report: Mapping[str, Any]) -> TrialResult:
    """Return what a report of a trial on patients left out says.

    Args:
        report: With "task", "source", "metric", "value", "interval" (its two ends),
            "images", "patients" and "command"; where they apply "method", "baseline"
            and "lead" with their intervals, "left_out" (names), "folds", and
            "shortened" with "shortened_how".

    Raises:
        JsonMismatchError: Something in the report is missing or of another form.
    """
    plain = {name: value for name, value in report.items() if value is not None}
    how = plain.get("shortened_how") or SHORTENED
    return read_json(
        TrialResult,
        {
            **plain,
            "value": _with_ends(report, "value", "interval"),
            "baseline": _with_ends(report, "baseline", "baseline_interval"),
            "lead": _with_ends(report, "lead", "lead_interval"),
            "shortened": how if plain.get("shortened") else "",
        },
    )


def _with_ends(
    report: Mapping[str, Any], name: str, interval: str
) -> dict[str, Any] | None:
    if report.get(name) is None:
        return None
    low, high = report.get(interval) or (None, None)
    return {"value": report[name], "low": low, "high": high}


def _metrics(
    values: Mapping[str, Any], beside: Mapping[str, Any]
) -> tuple[Metric, ...]:
    """Return every {value, low, high} of an object, with the baseline's beside it."""
    return tuple(
        Metric(
            name,
            estimate.value,
            estimate.low,
            estimate.high,
            baseline=_baseline_value(beside.get(name)),
        )
        for name, value in values.items()
        if isinstance(value, Mapping) and "value" in value
        for estimate in (read_json(Estimate, value),)
    )


def _baseline_value(beside: Mapping[str, Any] | None) -> BaselineValue | None:
    if not beside:
        return None
    baseline = read_json(Estimate, beside["baseline"])
    return BaselineValue(
        value=baseline.value,
        low=baseline.low,
        high=baseline.high,
        lead=read_json(Estimate, beside["lead"]),
        separable=not beside.get("verdict"),
    )


def _label(
    name: str, values: Mapping[str, Any], beside: Mapping[str, Any]
) -> LabelMetrics:
    intervals = values.get("intervals") or {}
    metrics = []
    for metric, value in values.items():
        if metric in _NOT_METRICS:
            continue
        low, high = intervals.get(metric) or (None, None)
        baseline = _baseline_value(beside.get(metric))
        metrics.append(Metric(metric, value, low, high, baseline=baseline))
    return LabelMetrics(
        label=name,
        positives=values.get("positives"),
        negatives=values.get("negatives"),
        threshold=values.get("threshold"),
        claimed=values.get("claimed", True),
        metrics=tuple(metrics),
    )


def _group(by: str, name: str, values: Mapping[str, Any]) -> Group:
    return Group(
        by=by,
        name=name,
        images=values["n"],
        patients=values.get("patients"),
        claimed=values.get("claimed", True),
        metrics=_metrics(values, {}),
    )


def _coverage(checked: Mapping[str, Any] | None) -> Coverage | None:
    if not checked:
        return None
    groups = [
        *_coverage_groups("source", checked.get("by_source") or {}),
        *_coverage_groups("class", checked.get("by_class") or {}),
    ]
    return Coverage(
        stated_coverage=checked["stated_coverage"],
        counted=checked.get("counted", "images"),
        n=checked["n"],
        claimed=checked["claimed"],
        coverage=_estimate(checked.get("coverage")),
        left_open=_estimate(checked.get("left_open")),
        groups=tuple(groups),
        risk_coverage=tuple(
            (share, risk) for share, risk in checked.get("risk_coverage") or ()
        ),
    )


def _coverage_groups(by: str, groups: Mapping[str, Any]) -> Iterable[CoverageOfGroup]:
    for name, values in groups.items():
        # A label that the model answers by itself: images with it, and without.
        parts = values if "with" in values else {"": values}
        for kind, figures in parts.items():
            yield CoverageOfGroup(
                by=by,
                name=name,
                kind=kind,
                n=figures["n"],
                claimed=figures["claimed"],
                coverage=_estimate(figures.get("coverage")),
                left_open=_estimate(figures.get("left_open")),
            )


def _estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    return read_json(Estimate, value) if value else None


def _pair(pair: object, beside: Mapping[str, Any]) -> Pair | None:
    if not pair:
        return None
    if not isinstance(pair, Mapping):
        # An entry that was measured on the pair alone names its sides only.
        first, second = _sides(pair)
        return Pair(sides=(first, second))
    first, second = pair["pair"]
    return Pair(
        sides=(first, second), images=pair.get("n"), metrics=_metrics(pair, beside)
    )


def _sides(pair: Any) -> tuple[str, str]:
    first, second = pair
    return str(first), str(second)


def _changes(changes: Mapping[str, Any]) -> tuple[ChangedImages, ...]:
    return tuple(
        ChangedImages(
            part=part,
            images=by_change["images"],
            change=None if change == NO_CHANGE else change,
            metrics=_changed_metrics(values),
        )
        for part, by_change in changes.items()
        for change, values in _unchanged_first(by_change)
    )


def _unchanged_first(by_change: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs = [(change, v) for change, v in by_change.items() if change != "images"]
    return sorted(pairs, key=lambda pair: pair[0] != NO_CHANGE)


def _changed_metrics(values: Mapping[str, Any]) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            metric.name,
            metric.value,
            metric.low,
            metric.high,
            difference=_estimate(values.get(metric.name + _DIFFERENCE)),
        )
        for metric in _metrics(values, {})
        if not metric.name.endswith(_DIFFERENCE)
    )


def _comparison(part: str, beside: Mapping[str, Any]) -> BaselineComparison:
    return BaselineComparison(
        part=part,
        sees=beside.get("sees", ""),
        learned_from=beside.get("learned_from"),
        metrics=_compared(beside.get("figures") or {}),
        labels=tuple(
            LabelMetrics(label=name, metrics=_compared(values))
            for name, values in (beside.get("labels") or {}).items()
        ),
    )


def _compared(beside: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Return the metrics of a model that stand beside the baseline's."""
    return _metrics({name: each["model"] for name, each in beside.items()}, beside)


def _sources(sources: Mapping[str, Any] | None) -> SourceTest | None:
    return read_json(SourceTest, sources) if sources else None
