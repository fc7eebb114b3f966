"""Loss on held-out train patients, the best epoch by it, and early stopping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml.datasets.ground_truth import GroundTruth

HELD_OUT_LOSS = "held_out_loss"


def log_loss(task: str, logits: np.ndarray, ground_truth: GroundTruth) -> float:
    """Return the negative log-likelihood an image (softmax) or known label (sigmoid).

    Args:
        task: "softmax" or "sigmoid".
        logits: float (images, labels).
        ground_truth: Of the same images.
    """
    values = logits.astype(np.float64)
    if task == "softmax":
        logged = values - np.logaddexp.reduce(values, axis=1, keepdims=True)
        return float(-logged[ground_truth.positive].mean())
    signed = np.where(ground_truth.positive, values, -values)
    return float(np.logaddexp(0.0, -signed)[ground_truth.known].mean())


def best_epoch(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the epoch with the smallest held-out loss; 0 where none was measured."""
    measured = [entry for entry in history if HELD_OUT_LOSS in entry]
    best = min(measured, key=lambda entry: entry[HELD_OUT_LOSS], default={"epoch": 0})
    return int(best["epoch"])


def is_enough(history: Sequence[Mapping[str, Any]], *, patience: int) -> bool:
    """Return whether `patience` epochs have passed since the best; never for 0."""
    return 0 < patience <= len(history) - best_epoch(history)
