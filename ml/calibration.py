"""From logits to probabilities: one temperature (Guo et al. 2017), and thresholds."""

from __future__ import annotations

import numpy as np

# Searched on a grid of logarithms: one parameter needs no optimiser.
TEMPERATURES = np.exp(np.linspace(np.log(0.2), np.log(5.0), 401))


def softmax(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities over the last axis, float64."""
    scaled = logits.astype(np.float64) / temperature
    risen = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return risen / risen.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Return one probability a label, float64."""
    return 0.5 * (1.0 + np.tanh(logits.astype(np.float64) / (2.0 * temperature)))


def probabilities(
    logits: np.ndarray, *, task: str, temperature: float = 1.0
) -> np.ndarray:
    """Return probabilities of a "softmax" or "sigmoid" model, float64."""
    activation = softmax if task == "softmax" else sigmoid
    return activation(logits, temperature=temperature)


def negative_log_likelihood(
    logits: np.ndarray, truth: np.ndarray, *, temperature: float = 1.0
) -> float:
    """Return the mean of -log p of the true class; `truth` int (films,)."""
    chosen = softmax(logits, temperature=temperature)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature with the least negative log-likelihood.

    Args:
        logits: float (films, classes) of films that training did not see.
        truth: int (films,), the class of each.
    """
    losses = [
        negative_log_likelihood(logits, truth, temperature=t) for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def expected_calibration_error(
    chosen_probability: np.ndarray, right: np.ndarray, *, bins: int = 10
) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins.

    Args:
        chosen_probability: float (films,), of the class chosen.
        right: bool (films,), whether it was right.
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
    called = scores[None, :] >= cuts[:, None]
    sensitivity = called[:, positive].mean(axis=1)
    specificity = 1.0 - called[:, ~positive].mean(axis=1)
    youden = sensitivity + specificity - 1.0
    best = np.flatnonzero(np.isclose(youden, youden.max()))
    widest = best[np.argmax((ends[1:] - ends[:-1])[best])]
    return float(cuts[widest])
