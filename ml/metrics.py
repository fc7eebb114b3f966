"""Figures of merit and their intervals, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

INTERVAL_PERCENT = (2.5, 97.5)


def accuracy(truth: np.ndarray, chosen: np.ndarray) -> float:
    """Return the share of films whose class was chosen (int arrays)."""
    return float((truth == chosen).mean())


def balanced_accuracy(truth: np.ndarray, chosen: np.ndarray) -> float:
    """Return the mean recall over the classes present in `truth` (int arrays)."""
    present = np.unique(truth)
    return float(np.mean([(chosen[truth == c] == c).mean() for c in present]))


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve; ties count half; NaN without both kinds.

    Args:
        scores: float (films,).
        positive: bool (films,).
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    total = float(ranks[place][positive].sum())
    return (total - positives * (positives + 1) / 2.0) / (positives * negatives)


def mean_auc(scores: np.ndarray, truth: np.ndarray, known: np.ndarray) -> float:
    """Return the mean AUC over the labels that have both kinds of films.

    Args:
        scores: float (films, labels).
        truth: bool (films, labels).
        known: bool (films, labels), where the truth is known.
    """
    areas = [
        auc(scores[known[:, i], i], truth[known[:, i], i])
        for i in range(scores.shape[1])
    ]
    finite = [area for area in areas if np.isfinite(area)]
    return float(np.mean(finite)) if finite else float("nan")


def precision_recall_f1(
    called: np.ndarray, positive: np.ndarray
) -> tuple[float, float, float]:
    """Return precision, recall and F1 of bool (films,) arrays; NaN where undefined."""
    hits = float((called & positive).sum())
    precision = _ratio(hits, float(called.sum()))
    recall = _ratio(hits, float(positive.sum()))
    return (
        precision,
        recall,
        _ratio(2.0 * hits, float(called.sum() + positive.sum())),
    )


def confusion(truth: np.ndarray, chosen: np.ndarray, *, classes: int) -> np.ndarray:
    """Return int (classes, classes): a row a true class, a column a chosen one."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (truth, chosen), 1)
    return table


def bootstrap_interval(
    figure: Callable[[np.ndarray], float],
    patients: Sequence[str],
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % interval of a figure by resampling patients, not films.

    Films of one patient resemble each other; resampling films would take them for
    independent and give too narrow an interval.

    Args:
        figure: Maps int indices of films, with repetitions, to a value or NaN.
        patients: The patient of each film.
        rounds: Number of resamples.
        seed: Decides them.
    """
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    films = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[films], np.arange(owner.max() + 2))
    groups = [films[starts[i] : starts[i + 1]] for i in range(owner.max() + 1)]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, len(groups), len(groups))
        value = figure(np.concatenate([groups[i] for i in drawn]))
        if np.isfinite(value):
            values.append(value)
    if not values:
        return float("nan"), float("nan")
    low, high = np.percentile(values, INTERVAL_PERCENT)
    return float(low), float(high)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
