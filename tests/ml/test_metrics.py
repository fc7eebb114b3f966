"""Metrics of resamples equal those of the images repeated, and scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    roc_auc_score,
)

from ml import metrics
from ml.evaluation.bootstrap import patient_counts, with_interval

pytestmark = pytest.mark.slow


RNG = np.random.default_rng(3)
SCORES = np.round(RNG.random(80), 1)
POSITIVE = RNG.random(80) < SCORES
CALLED = SCORES >= 0.5
# Weights that are counts: the metric of the images repeated so often.
COUNTS = RNG.integers(0, 3, (4, 80))
METRICS: dict[str, tuple[metrics.Metric, np.ndarray, np.ndarray]] = {
    "accuracy": (metrics.accuracy, POSITIVE, CALLED),
    "accuracy of surest": (metrics.accuracy_of_surest, SCORES, CALLED),
    "auc": (metrics.auc, SCORES, POSITIVE),
    "average precision": (metrics.average_precision, SCORES, POSITIVE),
    "balanced accuracy": (metrics.balanced_accuracy, POSITIVE, CALLED),
    "brier": (metrics.brier, SCORES, POSITIVE),
    "calibration error": (metrics.expected_calibration_error, SCORES, POSITIVE),
    "f1": (metrics.f1, CALLED, POSITIVE),
    "share": (metrics.share, CALLED, POSITIVE),
}


def slow_interval(
    metric: Callable[[np.ndarray], float], patients: Sequence[str]
) -> tuple[float, float]:
    """Return the 95 % interval of a metric by one call of it a resample of patients."""
    _, owner = np.unique(patients, return_inverse=True)
    groups = [np.flatnonzero(owner == i) for i in range(owner.max() + 1)]
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(groups), len(groups)) for _ in range(1000)]
    values = [metric(np.concatenate([groups[i] for i in drawn])) for drawn in draws]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


@pytest.mark.parametrize("name", METRICS)
def test_metrics_of_resamples_equal_those_of_repeated_images(name: str) -> None:
    metric, first, second = METRICS[name]
    resampled = metric(first, second, COUNTS.astype(float))
    for value, counts in zip(resampled, COUNTS, strict=True):
        images = np.repeat(np.arange(80), counts)
        assert value == pytest.approx(metric(first[images], second[images]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", roc_auc_score(POSITIVE, SCORES)),
        ("average precision", average_precision_score(POSITIVE, SCORES)),
        ("balanced accuracy", balanced_accuracy_score(POSITIVE, CALLED)),
        ("brier", brier_score_loss(POSITIVE, SCORES)),
        ("f1", f1_score(POSITIVE, CALLED)),
    ],
)
def test_metrics_equal_those_of_scikit_learn(name: str, expected: float) -> None:
    metric, first, second = METRICS[name]
    assert metric(first, second) == pytest.approx(expected)


def test_average_precision_equals_that_computed_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    positive = np.array([True, False, True, False])
    precision = metrics.average_precision(scores, positive)
    assert precision == pytest.approx((1.0 + 2.0 / 3.0) / 2.0)


def test_intervals_equal_those_of_the_slow_reference() -> None:
    patients = [str(i // 3) for i in range(80)]
    slow = slow_interval(
        lambda images: metrics.auc(SCORES[images], POSITIVE[images]), patients
    )
    quick = with_interval(
        lambda w: metrics.auc(SCORES, POSITIVE, w), patient_counts(patients)
    )
    assert (quick["low"], quick["high"]) == pytest.approx(slow, abs=1e-4)


def test_images_of_a_patient_are_resampled_together() -> None:
    counts = patient_counts(["a", "b", "a", "c"], rounds=50)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert counts.sum() > 0
    nothing = with_interval(lambda w: w.sum(axis=1), patient_counts([]))
    assert nothing == {"value": None, "low": None, "high": None}


def test_the_surest_four_of_five_answers_count() -> None:
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    assert metrics.accuracy_of_surest(sure, right) == pytest.approx(3 / 4)
