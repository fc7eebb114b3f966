"""Fit the calibration of a card: how logits become probabilities.

Fitted on patients that training did not see; `ml.calibration` applies it. The fits are
penalised towards values that change nothing (`SLOPE_DEVIATION`, `INTERCEPT_DEVIATION`).
scikit-learn's logistic regression penalises towards 0 only and has no slope that
classes share, so SciPy's optimisers find these few parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from ml.calibration import sigmoid, softmax

TEMPERATURE_RANGE = (0.2, 5.0)
# With fewer images of a kind, scores are not called probabilities.
LEAST_IMAGES = 10
# Standard deviations of normal priors: of the slope around 1, of intercepts around 0.
# They keep a few images from undoing what the network learned.
SLOPE_DEVIATION = 0.5
INTERCEPT_DEVIATION = 2.0
SMALLEST_SLOPE = 0.05


def fit_calibration(
    logits: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    *,
    task: str,
    names: Sequence[str],
) -> dict[str, Any]:
    """Return the `calibration` of a card, fitted on these images.

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
    """Return the intercepts that keep any class from being favoured.

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

    fitted = minimize(loss, np.zeros(1 + logits.shape[1])).x
    return fitted[1:] * present / np.exp(fitted[0])


def fit_platt(logits: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Return the slope and intercept that turn logits into log odds.

    The targets are Platt's, a little off 0 and 1. The priors keep slope and intercept
    near 1 and 0; the slope stays positive, so the order of images stays.

    Args:
        logits: float (images,).
        positive: bool (images,).

    Returns:
        Slope and intercept; (1, 0) where images of one kind are missing.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return 1.0, 0.0
    target = np.where(
        positive, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0)
    )
    design = np.stack([logits.astype(np.float64), np.ones(len(logits))], axis=1)
    middle = np.array([1.0, 0.0])
    precision = 1.0 / np.square([SLOPE_DEVIATION, INTERCEPT_DEVIATION])

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        odds = design @ line
        off = line - middle
        value = (np.logaddexp(0.0, odds) - target * odds).sum()
        value += precision @ np.square(off) / 2.0
        slope = design.T @ (sigmoid(odds) - target) + precision * off
        # An image each: the tolerances below do not depend on how many there are.
        return float(value / len(target)), slope / len(target)

    line = minimize(
        loss,
        middle,
        jac=True,
        method="L-BFGS-B",
        bounds=[(SMALLEST_SLOPE, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-9},
    ).x
    return float(line[0]), float(line[1])


def negative_log_likelihood(
    logits: np.ndarray, ground_truth: np.ndarray, *, temperature: float = 1.0
) -> float:
    """Return the mean of -log p of the true class; `ground_truth` int (images,)."""
    chosen = softmax(logits, temperature=temperature)[
        np.arange(len(ground_truth)), ground_truth
    ]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: np.ndarray, ground_truth: np.ndarray) -> float:
    """Return the temperature with the least negative log-likelihood.

    Args:
        logits: float (images, classes) of images that training did not see.
        ground_truth: int (images,), the class of each.
    """
    low, high = np.log(TEMPERATURE_RANGE)
    best = minimize_scalar(
        lambda log: negative_log_likelihood(
            logits, ground_truth, temperature=float(np.exp(log))
        ),
        bounds=(low, high),
        method="bounded",
    )
    return float(np.exp(best.x))
