"""Metrics of a model on labelled images, each with its 95 % interval.

A label's metrics are claimed only where it has LEAST_IMAGES images with it and as many
without. The others are listed as too few; their metrics are kept for the record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ml import metrics
from ml.cards.card import Card
from ml.datasets.manifest import ManifestRow
from ml.evaluation.bootstrap import (
    Interval,
    Measure,
    patient_counts,
    rounded,
    with_interval,
)
from ml.labels import NOTHING_FOUND_LABELS

LEAST_IMAGES = 20
# In a group of fewer images than this nothing is claimed.
LEAST_GROUP = 50
AGE_BANDS = ((0, 6), (6, 18), (18, 40), (40, 65), (65, 200))
HEADLINES = (
    "accuracy",
    "balanced_accuracy",
    "accuracy_at_80",
    "mean_auc",
    "mean_auc_claimed",
    "f1",
    "average_precision",
    "expected_calibration_error",
    "brier",
)
# The shares of patients with the label that predictive values are given for.
PREVALENCES = (0.01, 0.05, 0.2)
GROUP_METRICS = ("accuracy", "balanced_accuracy", "mean_auc")
# Of a label, apart from what the command has printed since its first version.
LABEL_INTERVALS = (
    "auc",
    "average_precision",
    "sensitivity",
    "specificity",
    "sensitivity_at_threshold",
    "specificity_at_threshold",
    "precision",
    "f1",
    "expected_calibration_error",
    "brier",
)


@dataclass(frozen=True)
class ScoredImages:
    """Probabilities of the readable images, with their ground truth.

    `scores`, `positive` and `known` are (images, labels); `thresholds` are the card's,
    or those of a chosen operating point.
    """

    card: Card
    rows: tuple[ManifestRow, ...]
    scores: np.ndarray
    positive: np.ndarray
    known: np.ndarray
    left_out: dict[str, Any]
    thresholds: Mapping[str, float]

    @property
    def patients(self) -> list[str]:
        """The patient of each image."""
        return [row.patient for row in self.rows]

    @cached_property
    def called(self) -> np.ndarray:
        """Bool (images, labels): the labels called, by argmax or thresholds."""
        if self.card.task == "softmax":
            return np.eye(len(self.card.labels), dtype=bool)[self.scores.argmax(axis=1)]
        return self.marked

    @cached_property
    def marked(self) -> np.ndarray:
        """Bool (images, labels): the labels marked for a reader, by thresholds."""
        limits = np.array([self.thresholds[name] for name in self.card.label_names])
        return self.scores >= limits

    @cached_property
    def sureness(self) -> np.ndarray:
        """Float: how sure each answer is, (images,) or (images, labels).

        A softmax model is as sure as its highest probability; a label of a sigmoid
        model as far as it lies from its threshold, of the way to 0 or 1.
        """
        if self.card.task == "softmax":
            return self.scores.max(axis=1)
        limits = np.array([self.thresholds[name] for name in self.card.label_names])
        room = np.where(self.called, 1.0 - limits, limits)
        return np.abs(self.scores - limits) / np.maximum(room, 1e-9)

    @cached_property
    def counts(self) -> np.ndarray:
        """Uint8 (resamples, images), see `ml.evaluation.bootstrap.patient_counts`."""
        return patient_counts(self.patients)

    def claimed(self) -> np.ndarray:
        """Return bool (labels,): which have enough images of both kinds."""
        with_it = (self.positive & self.known).sum(axis=0)
        without = (~self.positive & self.known).sum(axis=0)
        return np.minimum(with_it, without) >= LEAST_IMAGES

    def chosen(self, images: np.ndarray) -> ScoredImages:
        """Return the images where bool (images,) is true."""
        return ScoredImages(
            card=self.card,
            rows=tuple(r for r, ok in zip(self.rows, images, strict=True) if ok),
            scores=self.scores[images],
            positive=self.positive[images],
            known=self.known[images],
            left_out={"n": int(images.sum())},
            thresholds=self.thresholds,
        )


def summarise(scored: ScoredImages) -> dict[str, Any]:
    """Return all metrics with intervals, as a JSON object."""
    names = scored.card.label_names
    claimed = scored.claimed() if scored.rows else np.zeros(len(names), bool)
    return {
        **{name: headline(scored, name) for name in HEADLINES},
        "labels": label_metrics(scored),
        "labels_claimed": [n for n, ok in zip(names, claimed, strict=True) if ok],
        "too_few": [n for n, ok in zip(names, claimed, strict=True) if not ok],
        "confusion": confusion_of(scored),
        "patients": len(set(scored.patients)),
        "groups": group_metrics(scored),
        "not_known": not_known(scored),
        "predictive_values": predictive_values(scored),
    }


def headline(scored: ScoredImages, name: str) -> Interval:
    """Return one metric of all images as {value, low, high}."""
    if not scored.rows:
        return {"value": None, "low": None, "high": None}
    return with_interval(measure_of(scored, name), scored.counts)


def measure_of(scored: ScoredImages, name: str) -> Measure:
    """Return how a headline is computed from weights of the images."""
    if scored.card.task == "softmax" and name in _SOFTMAX:
        return _SOFTMAX[name](scored)
    picked: Sequence[int] = range(scored.scores.shape[1])
    if name == "mean_auc_claimed":
        picked = np.flatnonzero(scored.claimed()).tolist()
    metric = {"mean_auc": "auc", "mean_auc_claimed": "auc"}.get(name, name)
    parts = [label_measure(scored, i, metric) for i in picked]

    def mean(weights: np.ndarray) -> np.ndarray:
        return metrics.mean_defined(
            [part(weights) for part in parts], rounds=len(weights)
        )

    return mean


def _classes(scored: ScoredImages) -> tuple[np.ndarray, np.ndarray]:
    return scored.positive.argmax(axis=1), scored.called.argmax(axis=1)


def _softmax_calibration(scored: ScoredImages) -> Measure:
    ground_truth, chosen = _classes(scored)
    surest = scored.scores.max(axis=1)
    return lambda w: metrics.expected_calibration_error(
        surest, ground_truth == chosen, w
    )


def _softmax_surest(scored: ScoredImages) -> Measure:
    ground_truth, chosen = _classes(scored)
    return lambda w: metrics.accuracy_of_surest(
        scored.sureness, ground_truth == chosen, w
    )


_SOFTMAX = {
    "accuracy_at_80": _softmax_surest,
    "accuracy": lambda s: lambda w: metrics.accuracy(*_classes(s), w),
    "balanced_accuracy": lambda s: lambda w: metrics.balanced_accuracy(*_classes(s), w),
    "expected_calibration_error": _softmax_calibration,
    "brier": lambda s: lambda w: metrics.brier(s.scores, s.positive, w),
}


def label_measure(scored: ScoredImages, label: int, metric: str) -> Measure:
    """Return how a metric of one label is computed, from the images where it is known.

    Args:
        scored: The images.
        label: Which column.
        metric: One of LABEL_INTERVALS, "accuracy", "balanced_accuracy", or of a
            sigmoid model "accuracy_at_80".
    """
    rows = scored.known[:, label]
    scores, called = scored.scores[rows, label], scored.called[rows, label]
    has_it = scored.positive[rows, label]
    marked = scored.marked[rows, label]
    everyone = np.ones(int(rows.sum()), bool)
    measures: dict[str, Measure] = {
        "auc": lambda w: metrics.auc(scores, has_it, w),
        "average_precision": lambda w: metrics.average_precision(scores, has_it, w),
        "sensitivity": lambda w: metrics.share(called, has_it, w),
        "specificity": lambda w: metrics.share(~called, ~has_it, w),
        "sensitivity_at_threshold": lambda w: metrics.share(marked, has_it, w),
        "specificity_at_threshold": lambda w: metrics.share(~marked, ~has_it, w),
        "precision": lambda w: metrics.share(has_it, called, w),
        "f1": lambda w: metrics.f1(called, has_it, w),
        "accuracy": lambda w: metrics.share(called == has_it, everyone, w),
        "accuracy_at_80": lambda w: metrics.accuracy_of_surest(
            scored.sureness[rows, label], called == has_it, w
        ),
        "balanced_accuracy": lambda w: (
            (metrics.share(called, has_it, w) + metrics.share(~called, ~has_it, w))
            / 2.0
        ),
        "expected_calibration_error": lambda w: metrics.expected_calibration_error(
            scores, has_it, w
        ),
        "brier": lambda w: metrics.brier(scores, has_it, w),
    }
    return lambda weights: measures[metric](weights[:, rows])


def label_metrics(scored: ScoredImages) -> dict[str, dict[str, Any]]:
    """Return each label's metrics as numbers, with their intervals beside them."""
    claimed = scored.claimed() if scored.rows else np.zeros(len(scored.card.labels))
    labels: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(scored.card.label_names):
        intervals = {
            metric: with_interval(label_measure(scored, i, metric), scored.counts)
            for metric in LABEL_INTERVALS
        }
        rows = scored.known[:, i]
        labels[name] = {
            **{metric: intervals[metric]["value"] for metric in LABEL_INTERVALS},
            "recall": intervals["sensitivity"]["value"],
            "positives": int(scored.positive[rows, i].sum()),
            "negatives": int((~scored.positive[rows, i]).sum()),
            "threshold": rounded(scored.thresholds[name]),
            "claimed": bool(claimed[i]),
            "intervals": {
                metric: [intervals[metric]["low"], intervals[metric]["high"]]
                for metric in LABEL_INTERVALS
            },
        }
    return labels


def group_metrics(scored: ScoredImages) -> dict[str, dict[str, Any]]:
    """Return metrics by data set, view, sex and age band, where they are known."""
    groups: dict[str, dict[str, Any]] = {}
    for kind, key in _GROUP_KEYS.items():
        keys = [key(row) for row in scored.rows]
        names = sorted({k for k in keys if k})
        if not names:
            continue
        groups[kind] = {
            name: _group(scored.chosen(np.array([k == name for k in keys])))
            for name in names
        }
    return groups


def not_known(scored: ScoredImages) -> dict[str, int]:
    """Return for view, sex and age of how many images they are not known."""
    return {
        kind: sum(not key(row) for row in scored.rows)
        for kind, key in _GROUP_KEYS.items()
        if kind != "dataset"
    }


def predictive_values(scored: ScoredImages) -> dict[str, list[dict[str, Any]]]:
    """Return what a mark of each label, or none, is worth where a label is rarer.

    Bayes' rule on sensitivity and specificity at the threshold, over the same
    resamples: `ppv` is the share of the marked who have the label, `npv` of the others
    who do not, for each of PREVALENCES. Labels with too few images are left out.
    """
    if not scored.rows:
        return {}
    return {
        name: [
            {
                "prevalence": prevalence,
                **{
                    value: with_interval(
                        _predictive_value(scored, i, value, prevalence), scored.counts
                    )
                    for value in ("ppv", "npv")
                },
            }
            for prevalence in PREVALENCES
        ]
        for i, name in enumerate(scored.card.label_names)
        if scored.claimed()[i] and name not in NOTHING_FOUND_LABELS
    }


def _predictive_value(
    scored: ScoredImages, label: int, value: str, prevalence: float
) -> Measure:
    sensitivity, specificity = (
        label_measure(scored, label, f"{name}_at_threshold")
        for name in ("sensitivity", "specificity")
    )

    def measure(weights: np.ndarray) -> np.ndarray:
        found, spared = sensitivity(weights), specificity(weights)
        if value == "ppv":
            true, false = prevalence * found, (1.0 - prevalence) * (1.0 - spared)
        else:
            true, false = (1.0 - prevalence) * spared, prevalence * (1.0 - found)
        return true / (true + false)

    return measure


def _group(scored: ScoredImages) -> dict[str, Any]:
    return {
        "n": len(scored.rows),
        "patients": len(set(scored.patients)),
        "claimed": len(scored.rows) >= LEAST_GROUP,
        **{name: headline(scored, name) for name in GROUP_METRICS},
    }


def _age_band(row: ManifestRow) -> str:
    if row.age_years is None or math.isnan(row.age_years):
        return ""
    low, high = next(
        (band for band in AGE_BANDS if band[0] <= row.age_years < band[1]),
        AGE_BANDS[-1],
    )
    return (
        f"{low:02d} and over" if high == AGE_BANDS[-1][1] else f"{low:02d}–{high - 1}"
    )


_GROUP_KEYS = {
    "dataset": lambda row: row.dataset,
    "view": lambda row: row.view,
    "sex": lambda row: row.sex,
    "age_years": _age_band,
}


def confusion_of(scored: ScoredImages) -> Mapping[str, Any]:
    """Return counts by true and called class; for sigmoid models a table a label."""
    names: Sequence[str] = list(scored.card.label_names)
    if scored.card.task == "softmax":
        table = metrics.confusion(*_classes(scored), classes=len(names))
        return {"labels": names, "rows_are": "truth", "matrix": table.tolist()}
    tables = []
    for i in range(len(names)):
        rows = scored.known[:, i]
        ground_truth, called = scored.positive[rows, i], scored.called[rows, i]
        tables.append(
            metrics.confusion(
                ground_truth.astype(int), called.astype(int), classes=2
            ).tolist()
        )
    return {"labels": names, "rows_are": "truth", "matrices": tables}
