"""Turn logits into probabilities, as the calibration of a card says.

Softmax models have an intercept a label and one temperature (vector scaling with a
common slope, Guo et al. 2017). Sigmoid models have a slope and an intercept a label
(Platt 1999). `ml.training.calibration` fits both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


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
        names: The labels in the order of the logits; needed for values by label.
        calibration: The card's object of that name; without it, nothing is changed.
    """
    settings = calibration or {}
    temperature = float(settings.get("temperature", 1.0))
    if task == "softmax":
        if settings.get("intercepts"):
            logits = logits + np.array([settings["intercepts"][name] for name in names])
        return softmax(logits, temperature=temperature)
    if settings.get("platt"):
        lines = np.array([settings["platt"][name] for name in names], np.float64)
        logits = logits.astype(np.float64) * lines[:, 0] + lines[:, 1]
    return sigmoid(logits, temperature=temperature)


def calibrated_labels(
    names: Sequence[str], calibration: Mapping[str, Any]
) -> frozenset[str]:
    """Return the labels whose scores are probabilities."""
    if not calibration.get("calibrated", False):
        return frozenset()
    return frozenset(names) - frozenset(calibration.get("too_few", ()))
