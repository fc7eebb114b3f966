"""Fit how a model's scores become probabilities; workers do without this and SciPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ml.calibration import (
    INTERCEPT_DEVIATION,
    LEAST_IMAGES,
    fit_platt,
    fit_temperature,
)


def fit_calibration(
    logits: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    *,
    task: str,
    names: Sequence[str],
) -> dict[str, Any]:
    """Fit what a card's `calibration` says of how scores become probabilities.

    Args:
        logits: float (images, labels) of patients that training did not see.
        positive: bool (images, labels).
        known: bool (images, labels), where the truth is known.
        task: "softmax" or "sigmoid".
        names: The labels in the order of the logits.

    Returns:
        {calibrated, method, intercepts, temperature} or {calibrated, method, platt,
        too_few}: labels with fewer than LEAST_IMAGES images of a kind keep to scores.
    """
    if task == "softmax":
        classes = positive.argmax(axis=1)
        intercepts = fit_intercepts(logits, classes).round(4)
        temperature = fit_temperature(logits + intercepts, classes)
        return {
            "calibrated": True,
            "method": "intercepts, then temperature",
            "intercepts": dict(zip(names, intercepts.tolist(), strict=True)),
            "temperature": round(temperature, 4),
        }
    lines: dict[str, list[float]] = {}
    too_few: list[str] = []
    for i, name in enumerate(names):
        rows = known[:, i]
        lines[name] = [
            round(part, 4) for part in fit_platt(logits[rows, i], positive[rows, i])
        ]
        kinds = (int(positive[rows, i].sum()), int((~positive[rows, i]).sum()))
        if min(kinds) < LEAST_IMAGES:
            too_few.append(name)
    return {
        "calibrated": len(too_few) < len(names),
        "method": "platt",
        "platt": lines,
        "too_few": too_few,
    }


def fit_intercepts(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return what is added to each class's logits so that none is favoured.

    Training draws classes by its own shares and varies images more than readers do,
    which leaves some classes too strong on images as they are. Fitted with a common
    slope by maximum likelihood, every class weighing the same however many images it
    has, and held near 0, so that few images change little.

    Args:
        logits: float (images, classes).
        classes: int (images,), the truth.

    Returns:
        float64 (classes,), in units of the logits; 0 for a class without an image.
    """
    counts = np.bincount(classes, minlength=logits.shape[1])
    present = counts > 0
    weights = 1.0 / counts[classes]
    weights *= len(classes) / weights.sum()
    rows = np.arange(len(classes))

    def loss(values: np.ndarray) -> float:
        scaled = logits * np.exp(values[0]) + values[1:] * present
        log_sums = np.logaddexp.reduce(scaled, axis=1)
        held = np.square(values[1:] / INTERCEPT_DEVIATION).sum() / 2.0
        return float(weights @ (log_sums - scaled[rows, classes]) + held)

    found = minimize(loss, np.zeros(1 + logits.shape[1])).x
    return found[1:] * present / np.exp(found[0])
