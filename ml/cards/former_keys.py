"""Keys of cards of schema version 1 beside the present ones, for programs.

Version 1 kept under `metrics`, by key, the reports of evaluations as they were printed,
and said "film" for image in its keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ml.cards.json_reader import as_json, read_json
from ml.cards.measurements import (
    NOT_SEPARABLE,
    Coverage,
    Estimate,
    Group,
    LabelMetrics,
    Measurement,
    Metric,
    Pair,
    command_text,
)
from ml.cards.upgrade import RENAMED_KEYS, upgraded

_FORMER_NAMES = {present: former for former, present in RENAMED_KEYS.items()}


def with_former_keys(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card as JSON of the present schema, with the keys of version 1 as well.

    Args:
        raw: A whole card in any version of its schema.
    """
    card = upgraded(raw)
    measurements = card.pop("measurements", [])
    if "metrics" in raw:
        metrics = raw["metrics"]
    else:
        metrics = former_metrics(read_json(Measurement, each) for each in measurements)
    return {**_with_films(card), "measurements": measurements, "metrics": metrics}


def former_metrics(measurements: Iterable[Measurement]) -> dict[str, Any]:
    """Return measurements as `metrics` of a card of schema version 1 had them."""
    return {each.key: _report(each) for each in measurements}


def _with_films(value: Any) -> Any:
    if isinstance(value, Mapping):
        present = {key: _with_films(inner) for key, inner in value.items()}
        former = {
            _FORMER_NAMES[key]: inner
            for key, inner in present.items()
            if key in _FORMER_NAMES
        }
        return {**former, **present}
    if isinstance(value, list):
        return [_with_films(inner) for inner in value]
    return value


def _report(measurement: Measurement) -> dict[str, Any]:
    report: dict[str, Any] = {
        "command": command_text(measurement.command),
        "n": measurement.images,
        "patients": measurement.patients,
        **_metrics(measurement.metrics),
        "labels": {each.label: _label(each) for each in measurement.labels},
        "too_few": list(measurement.too_few),
        "groups": _groups(measurement.groups),
    }
    if measurement.confusion:
        report["confusion"] = {
            "rows_are": "truth",
            **as_json(measurement.confusion),
        }
    if measurement.coverage:
        report["uncertainty"] = _uncertainty(measurement.coverage)
    if measurement.pair:
        report["pair"] = _pair(measurement.pair)
    if measurement.baseline:
        report["baseline"] = _baseline(measurement)
    return report


def _metrics(metrics: Iterable[Metric]) -> dict[str, Any]:
    return {
        each.name: as_json(Estimate(each.value, each.low, each.high))
        for each in metrics
    }


def _label(label: LabelMetrics) -> dict[str, Any]:
    return {
        **{each.name: each.value for each in label.metrics},
        "positives": label.positives,
        "negatives": label.negatives,
        "threshold": label.threshold,
        "claimed": label.claimed,
        "intervals": {each.name: [each.low, each.high] for each in label.metrics},
    }


def _groups(groups: Iterable[Group]) -> dict[str, Any]:
    by_kind: dict[str, Any] = {}
    for each in groups:
        by_kind.setdefault(each.by, {})[each.name] = {
            "n": each.images,
            "patients": each.patients,
            "claimed": each.claimed,
            **_metrics(each.metrics),
        }
    return by_kind


def _uncertainty(coverage: Coverage) -> dict[str, Any]:
    by: dict[str, Any] = {"by_source": {}, "by_class": {}}
    for each in coverage.groups:
        values = {
            "n": each.n,
            "claimed": each.claimed,
            "coverage": as_json(each.coverage),
            "left_open": as_json(each.left_open),
        }
        groups = by[f"by_{each.by}"]
        if each.kind:
            groups.setdefault(each.name, {})[each.kind] = values
        else:
            groups[each.name] = values
    return {
        "stated_coverage": coverage.stated_coverage,
        "counted": coverage.counted,
        "n": coverage.n,
        "claimed": coverage.claimed,
        "coverage": as_json(coverage.coverage),
        "left_open": as_json(coverage.left_open),
        **by,
        "risk_coverage": [list(point) for point in coverage.risk_coverage],
    }


def _pair(pair: Pair) -> Any:
    if pair.images is None:
        # An entry that was measured on the pair alone named its sides only.
        return list(pair.sides)
    return {"pair": list(pair.sides), "n": pair.images, **_metrics(pair.metrics)}


def _baseline(measurement: Measurement) -> dict[str, Any]:
    baseline, pair = measurement.baseline, measurement.pair
    compared: dict[str, Any] = {
        **(as_json(baseline) if baseline else {}),
        "figures": _compared(measurement.metrics),
        "labels": {
            each.label: metrics
            for each in measurement.labels
            if (metrics := _compared(each.metrics))
        },
        "not_separable": list(measurement.not_separable),
    }
    if pair and (metrics := _compared(pair.metrics)):
        compared["pair"] = {"pair": list(pair.sides), **metrics}
    return compared


def _compared(metrics: Iterable[Metric]) -> dict[str, Any]:
    return {
        each.name: {
            "model": as_json(Estimate(each.value, each.low, each.high)),
            "baseline": as_json(
                Estimate(each.baseline.value, each.baseline.low, each.baseline.high)
            ),
            "lead": as_json(each.baseline.lead),
            "verdict": "" if each.baseline.separable else NOT_SEPARABLE,
        }
        for each in metrics
        if each.baseline
    }
