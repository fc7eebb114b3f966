"""With weights of one, the plain figures; else those of the images drawn so often."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ml import calibration, metrics, weighted_metrics
from ml.evaluation.bootstrap import patient_counts, with_interval

RNG = np.random.default_rng(3)
SCORES = np.round(RNG.random(80), 1)
POSITIVE = RNG.random(80) < SCORES
# Weights that are counts: the figure of the images repeated so often.
COUNTS = RNG.integers(0, 3, (4, 80))


def slow_interval(
    figure: Callable[[np.ndarray], float], patients: Sequence[str]
) -> tuple[float, float]:
    """Return the 95 % interval of a figure by one call of it a resample of patients."""
    _, owner = np.unique(patients, return_inverse=True)
    groups = [np.flatnonzero(owner == i) for i in range(owner.max() + 1)]
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(groups), len(groups)) for _ in range(1000)]
    values = [figure(np.concatenate([groups[i] for i in drawn])) for drawn in draws]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def repeated(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(80), counts)


def test_auc_of_resamples_is_that_of_the_images_repeated() -> None:
    found = weighted_metrics.auc(SCORES, POSITIVE, COUNTS.astype(float))
    for value, counts in zip(found, COUNTS, strict=True):
        images = repeated(counts)
        assert value == pytest.approx(metrics.auc(SCORES[images], POSITIVE[images]))


def test_average_precision_is_worked_out_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    positive = np.array([True, False, True, False])
    found = weighted_metrics.average_precision(scores, positive, np.ones((1, 4)))
    assert found == pytest.approx([(1.0 + 2.0 / 3.0) / 2.0])


def test_the_other_figures_are_those_of_the_images_repeated() -> None:
    called = SCORES >= 0.5
    weights = COUNTS.astype(float)
    f1 = weighted_metrics.f1(called, POSITIVE, weights)
    gap = weighted_metrics.expected_calibration_error(SCORES, POSITIVE, weights)
    balanced = weighted_metrics.balanced_accuracy(
        POSITIVE.astype(int), called.astype(int), weights
    )
    brier = weighted_metrics.brier(SCORES, POSITIVE, weights)
    for i, counts in enumerate(COUNTS):
        images = repeated(counts)
        ground_truth, said = POSITIVE[images], called[images]
        hits = 2.0 * (said & ground_truth).sum()
        assert f1[i] == pytest.approx(hits / (said.sum() + ground_truth.sum()))
        assert gap[i] == pytest.approx(
            calibration.expected_calibration_error(SCORES[images], ground_truth)
        )
        assert balanced[i] == pytest.approx(
            metrics.balanced_accuracy(ground_truth, said)
        )
        assert brier[i] == pytest.approx(np.mean((SCORES[images] - ground_truth) ** 2))


def test_intervals_are_those_of_the_slow_way() -> None:
    patients = [str(i // 3) for i in range(80)]
    slow = slow_interval(
        lambda images: metrics.auc(SCORES[images], POSITIVE[images]), patients
    )
    quick = with_interval(
        lambda w: weighted_metrics.auc(SCORES, POSITIVE, w), patient_counts(patients)
    )
    assert (quick["low"], quick["high"]) == pytest.approx(slow, abs=1e-4)


def test_images_of_a_patient_are_drawn_together() -> None:
    counts = patient_counts(["a", "b", "a", "c"], rounds=50)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert counts.sum() > 0
    nothing = with_interval(lambda w: w.sum(axis=1), patient_counts([]))
    assert nothing == {"value": None, "low": None, "high": None}
