"""Figures of merit of many resamples at once.

Each takes weights, float64 (resamples, images), how often each image counts, and
returns float64 (resamples,), NaN where the figure is not defined. With weights of one
they are the plain figures.
"""

from __future__ import annotations

import numpy as np

CALIBRATION_BINS = 10


def share(counted: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of `counted` images among `among`; both bool (images,)."""
    # Products of matrices: many times quicker than picking columns.
    return weights @ (among & counted).astype(float) / (weights @ among.astype(float))


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of a value that each image has, float (images,)."""
    return weights @ values / weights.sum(axis=1)


def accuracy(
    ground_truth: np.ndarray, chosen: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the share of images whose class was chosen (int arrays)."""
    return share(ground_truth == chosen, np.ones(len(ground_truth), bool), weights)


def balanced_accuracy(
    ground_truth: np.ndarray, chosen: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mean recall over the classes present in each resample."""
    recalls = [
        share(chosen == c, ground_truth == c, weights) for c in np.unique(ground_truth)
    ]
    return mean_defined(recalls, rounds=len(weights))


def mean_defined(values: list[np.ndarray], *, rounds: int) -> np.ndarray:
    """Return the mean over those values of a resample that are defined."""
    if not values:
        return np.full(rounds, np.nan)
    table = np.stack(values)
    defined = np.isfinite(table)
    return np.where(defined, table, 0.0).sum(axis=0) / defined.sum(axis=0)


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve; ties count half.

    Args:
        scores: float (images,).
        positive: bool (images,).
        weights: float64 (resamples, images).
    """
    hits, misses = _by_score(scores, positive, weights)
    if not hits.shape[1]:
        return np.full(len(weights), np.nan)
    below = misses.cumsum(axis=1) - misses / 2.0
    return (hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1))


def average_precision(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the precision, averaged over the recall that each score adds."""
    hits, misses = (part[:, ::-1] for part in _by_score(scores, positive, weights))
    found = hits.cumsum(axis=1)
    called = found + misses.cumsum(axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return (precision * hits).sum(axis=1) / hits.sum(axis=1)


def _by_score(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of positives and negatives at each score, rising."""
    if not len(scores):
        return np.zeros((len(weights), 0)), np.zeros((len(weights), 0))
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    sorted_weights, sorted_positive = weights[:, order], positive[order]
    hits = np.add.reduceat(sorted_weights * sorted_positive, starts, axis=1)
    misses = np.add.reduceat(sorted_weights * ~sorted_positive, starts, axis=1)
    return hits, misses


def f1(called: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the harmonic mean of precision and recall of bool (images,) arrays."""
    hits = weights @ (called & positive).astype(float)
    return 2.0 * hits / (weights @ (called.astype(float) + positive))


def brier(
    probability: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mean squared distance of probabilities from the truth.

    Args:
        probability: float (images,), or (images, classes): then summed over classes.
        positive: bool of the same shape.
        weights: float64 (resamples, images).
    """
    squared = (probability - positive) ** 2
    if squared.ndim == 2:
        squared = squared.sum(axis=1)
    return weights @ squared / weights.sum(axis=1)


def expected_calibration_error(
    probability: np.ndarray, right: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mean gap between probability and share over equal-width bins.

    Args:
        probability: float (images,) of the class chosen, or of one label.
        right: bool (images,): whether it was the true one, or the label is there.
        weights: float64 (resamples, images).
    """
    place = np.minimum(
        (probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1
    )
    apart = probability - right
    binned = np.where(place[:, None] == np.arange(CALIBRATION_BINS), apart[:, None], 0)
    return np.abs(weights @ binned).sum(axis=1) / weights.sum(axis=1)
