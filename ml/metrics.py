"""Figures of merit of one set of images, in NumPy."""

from __future__ import annotations

import numpy as np


def accuracy(ground_truth: np.ndarray, chosen: np.ndarray) -> float:
    """Return the share of images whose class was chosen (int arrays)."""
    return float((ground_truth == chosen).mean())


def balanced_accuracy(ground_truth: np.ndarray, chosen: np.ndarray) -> float:
    """Return the mean recall of the classes in `ground_truth` (int arrays)."""
    present = np.unique(ground_truth)
    return float(np.mean([(chosen[ground_truth == c] == c).mean() for c in present]))


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve; ties count half; NaN without both kinds.

    Args:
        scores: float (images,).
        positive: bool (images,).
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    total = float(ranks[place][positive].sum())
    return (total - positives * (positives + 1) / 2.0) / (positives * negatives)


def mean_auc(scores: np.ndarray, ground_truth: np.ndarray, known: np.ndarray) -> float:
    """Return the mean AUC over the labels that have both kinds of images.

    Args:
        scores: float (images, labels).
        ground_truth: bool (images, labels).
        known: bool (images, labels), where the truth is known.
    """
    areas = [
        auc(scores[known[:, i], i], ground_truth[known[:, i], i])
        for i in range(scores.shape[1])
    ]
    finite = [area for area in areas if np.isfinite(area)]
    return float(np.mean(finite)) if finite else float("nan")


def confusion(
    ground_truth: np.ndarray, chosen: np.ndarray, *, classes: int
) -> np.ndarray:
    """Return int (classes, classes): a row a true class, a column a chosen one."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (ground_truth, chosen), 1)
    return table
