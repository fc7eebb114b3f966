"""95 % intervals by resampling patients: all resamples of a metric at once.

A resample is how often each image counts. metrics that take such weights need no
loop over resamples, and two models measured by the same weights are compared image by
image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

ROUNDS = 1000
INTERVAL_PERCENT = (2.5, 97.5)
DIGITS = 4
# Weights handed to a metric at once: more would only take memory.
CHUNK_VALUES = 2_000_000

# Maps float64 weights (resamples, images) to a value or NaN a resample.
Measure = Callable[[np.ndarray], np.ndarray]
Interval = dict[str, float | None]


def patient_counts(
    patients: Sequence[str], *, rounds: int = ROUNDS, seed: int = 0
) -> np.ndarray:
    """Return uint8 (rounds, images): how often each image is drawn, with its patient.

    Images of one patient resemble each other; resampling images would take them for
    independent and give too narrow an interval.
    """
    if not patients:
        return np.zeros((rounds, 0), np.uint8)
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = np.empty((rounds, len(patients)), np.uint8)
    for number in range(rounds):
        drawn = rng.integers(0, len(names), len(names))
        counts[number] = np.bincount(drawn, minlength=len(names))[owner]
    return counts


def draws_of(measure: Measure, counts: np.ndarray) -> np.ndarray:
    """Return the metric of each resample, NaN where it is not defined."""
    rounds, images = counts.shape
    step = max(1, CHUNK_VALUES // max(1, images))
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [
            measure(counts[start : start + step].astype(np.float64))
            for start in range(0, rounds, step)
        ]
    return np.concatenate(parts)


def value_of(measure: Measure, *, images: int) -> float:
    """Return the metric with each image counted once."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(measure(np.ones((1, images)))[0])


def with_interval(measure: Measure, counts: np.ndarray) -> Interval:
    """Return {value, low, high} of a metric; None where it is not defined."""
    if counts.shape[1] == 0:
        return {"value": None, "low": None, "high": None}
    value = value_of(measure, images=counts.shape[1])
    if not math.isfinite(value):
        return {"value": None, "low": None, "high": None}
    return {"value": rounded(value), **interval_of(draws_of(measure, counts))}


def interval_of(draws: np.ndarray) -> Interval:
    """Return the ends {low, high} of the interval of resampled values."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return {"low": None, "high": None}
    low, high = np.percentile(finite, INTERVAL_PERCENT)
    return {"low": rounded(float(low)), "high": rounded(float(high))}


def rounded(value: float) -> float | None:
    """Round for a report; None for NaN and infinity, which JSON lacks."""
    return round(float(value), DIGITS) if math.isfinite(value) else None
