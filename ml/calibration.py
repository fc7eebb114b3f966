"""From logits to probabilities: how a card says it, and how that is fitted.

Softmax models have an intercept a label and one temperature (vector scaling with a
common slope, Guo et al. 2017). Sigmoid models have a slope and an intercept a label
(Platt 1999). Both are fitted on patients that training did not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Searched on a grid of logarithms: one parameter needs no optimiser.
TEMPERATURES = np.exp(np.linspace(np.log(0.2), np.log(5.0), 401))
# Fewer images of a kind than this say too little to call a score a probability.
LEAST_IMAGES = 10
# A few images must not turn or flatten what the network learned: slope and intercept
# are held near those that change nothing, as strongly as these deviations say.
SLOPE_DEVIATION = 0.5
INTERCEPT_DEVIATION = 2.0
SMALLEST_SLOPE = 0.05
NEWTON_STEPS = 50


def softmax(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities over the last axis, float64."""
    scaled = logits.astype(np.float64) / temperature
    risen = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return risen / risen.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Return one probability a label, float64."""
    return 0.5 * (1.0 + np.tanh(logits.astype(np.float64) / (2.0 * temperature)))


def probabilities(
    logits: np.ndarray,
    *,
    task: str,
    names: Sequence[str] = (),
    calibration: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Return probabilities as a card's calibration says, float64.

    Args:
        logits: float (..., labels).
        task: "softmax" or "sigmoid".
        names: The labels in the order of the logits; needed for what is told by label.
        calibration: The card's object of that name; without it, nothing is changed.
    """
    told = calibration or {}
    temperature = float(told.get("temperature", 1.0))
    if task == "softmax":
        if told.get("intercepts"):
            logits = logits + np.array([told["intercepts"][name] for name in names])
        return softmax(logits, temperature=temperature)
    if told.get("platt"):
        lines = np.array([told["platt"][name] for name in names], np.float64)
        logits = logits.astype(np.float64) * lines[:, 0] + lines[:, 1]
    return sigmoid(logits, temperature=temperature)


def calibrated_labels(
    names: Sequence[str], calibration: Mapping[str, Any]
) -> frozenset[str]:
    """Return the labels whose scores are probabilities."""
    if not calibration.get("calibrated", False):
        return frozenset()
    return frozenset(names) - frozenset(calibration.get("too_few", ()))


def fit_platt(logits: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Return the slope and intercept that turn logits into log odds.

    The targets are Platt's, a little off 0 and 1; slope and intercept are held near 1
    and 0, so that few images change little, and the slope never turns the order round.

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
    prior = 1.0 / np.square([SLOPE_DEVIATION, INTERCEPT_DEVIATION])
    start = np.array([1.0, 0.0])
    line = start.copy()
    for _ in range(NEWTON_STEPS):
        found = sigmoid(design @ line)
        slope = design.T @ (found - target) + prior * (line - start)
        curvature = (design * (found * (1.0 - found))[:, None]).T @ design
        step = np.linalg.solve(curvature + np.diag(prior), slope)
        # Never more than a unit at once: a full step may overshoot far from the end.
        line = line - step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-8:
            break
    return max(float(line[0]), SMALLEST_SLOPE), float(line[1])


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
    losses = [
        negative_log_likelihood(logits, ground_truth, temperature=t)
        for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def expected_calibration_error(
    chosen_probability: np.ndarray, right: np.ndarray, *, bins: int = 10
) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins.

    Args:
        chosen_probability: float (images,), of the class chosen.
        right: bool (images,), whether it was right.
        bins: Number of bins between 0 and 1.
    """
    place = np.minimum((chosen_probability * bins).astype(int), bins - 1)
    gap = 0.0
    for number in range(bins):
        inside = place == number
        if inside.any():
            apart = chosen_probability[inside].mean() - right[inside].mean()
            gap += abs(float(apart)) * float(inside.mean())
    return gap


def youden_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1.

    Where several share it, as between well separated groups, the middle of the
    longest stretch between two neighbouring scores that has it; 0.5 where a group is
    empty.
    """
    if positive.all() or not positive.any():
        return 0.5
    ends = np.unique(np.concatenate([[0.0], scores, [1.0]]))
    cuts = (ends[:-1] + ends[1:]) / 2
    # Of each group, the share whose score is below a cut.
    missed, spared = (
        np.searchsorted(np.sort(scores[group]), cuts) / group.sum()
        for group in (positive, ~positive)
    )
    youden = spared - missed
    best = np.flatnonzero(np.isclose(youden, youden.max()))
    widest = best[np.argmax((ends[1:] - ends[:-1])[best])]
    return float(cuts[widest])
