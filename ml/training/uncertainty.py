"""Fit the uncertainty of a card: label sets or bands with a stated coverage.

`ml.uncertainty` explains both and reads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ml.uncertainty import DIGITS

COVERAGE = 0.9
# Of the errors that the stated coverage allows, the stricter one allows half.
STRICTER = 0.5
# A class with fewer images than this has the quantile of all images.
LEAST_CLASS_IMAGES = 20
LEAST_BAND_IMAGES = 10


def fit_uncertainty(
    probability: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    *,
    task: str,
    names: Sequence[str],
    patients: Sequence[str],
    coverage: float = COVERAGE,
) -> dict[str, Any]:
    """Return the `uncertainty` of a card, fitted on these images.

    Args:
        probability: float (images, labels), calibrated, of patients that neither
            training nor the temperature saw.
        positive: bool (images, labels).
        known: bool (images, labels), where the truth is known.
        task: "softmax" or "sigmoid".
        names: The labels in the order of the columns.
        patients: The patient of each image.
        coverage: The share of images whose truth must not be ruled out.
    """
    fitted = _fit_sets if task == "softmax" else _fit_bands
    stricter = 1.0 - (1.0 - coverage) * STRICTER
    with_label = (positive & known).sum(axis=0).tolist()
    return {
        "coverage": coverage,
        "stricter_coverage": round(stricter, 4),
        "calibrated_on": {
            "images": len(patients),
            "patients": len(set(patients)),
            "images_with": dict(zip(names, with_label, strict=True)),
        },
        **fitted(probability, positive, known, names, (coverage, stricter)),
    }


def _fit_sets(
    probability: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    names: Sequence[str],
    coverages: tuple[float, float],
) -> dict[str, Any]:
    fitted: dict[str, Any] = {"method": "conformal"}
    for prefix, coverage in zip(("", "stricter_"), coverages, strict=True):
        every, by_class = _class_quantiles(probability, positive, names, coverage)
        fitted |= {f"{prefix}quantile": every, f"{prefix}quantiles": by_class}
    return fitted


def _fit_bands(
    probability: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    names: Sequence[str],
    coverages: tuple[float, float],
) -> dict[str, Any]:
    bands, strict = (_bands(probability, positive, known, names, c) for c in coverages)
    return {
        "method": "abstain",
        "bands": bands,
        "stricter_bands": strict,
        "too_few": [name for name in names if name not in bands],
    }


def conformal_quantile(values: np.ndarray, coverage: float) -> float:
    """Return the conformal quantile: an upper bound for a new value.

    A new value stays below it with at least this probability. It is the
    ceil((n + 1) coverage)-th smallest (Vovk et al.), infinite where there
    are too few values for the coverage.
    """
    rank = math.ceil((len(values) + 1) * coverage - 1e-9)
    if rank > len(values):
        return math.inf
    return float(np.sort(values)[rank - 1])


def _class_quantiles(
    probability: np.ndarray,
    positive: np.ndarray,
    names: Sequence[str],
    coverage: float,
) -> tuple[float, dict[str, float]]:
    ground_truth = positive.argmax(axis=1)
    unlike = 1.0 - probability[np.arange(len(ground_truth)), ground_truth]
    every = _rounded_up(conformal_quantile(unlike, coverage))
    by_class = {
        name: _rounded_up(conformal_quantile(unlike[ground_truth == i], coverage))
        for i, name in enumerate(names)
        if int((ground_truth == i).sum()) >= LEAST_CLASS_IMAGES
    }
    return every, by_class


def _rounded_up(quantile: float) -> float:
    """Round so that no image leaves its set; 1 puts every label into it."""
    scale = 10.0**DIGITS
    return min(1.0, math.ceil(quantile * scale) / scale) if quantile < 1.0 else 1.0


def _rounded_down(value: float) -> float:
    scale = 10.0**DIGITS
    return math.floor(value * scale) / scale if value > 0.0 else 0.0


def _bands(
    probability: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    names: Sequence[str],
    coverage: float,
) -> dict[str, list[float]]:
    bands: dict[str, list[float]] = {}
    for i, name in enumerate(names):
        scores = probability[known[:, i], i]
        has_it = positive[known[:, i], i]
        if min(int(has_it.sum()), int((~has_it).sum())) < LEAST_BAND_IMAGES:
            continue
        low = -conformal_quantile(-scores[has_it], coverage)
        high = conformal_quantile(scores[~has_it], coverage)
        if low > high:
            # Told apart well enough: whatever lies between serves both kinds.
            low = high = (low + high) / 2.0
        bands[name] = [_rounded_down(low), _rounded_up(high)]
    return bands
