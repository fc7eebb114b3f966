"""Insertion and deletion (Petsiuk et al. 2018): does the score follow the heat?

An image's pixels are blurred away in the order of the heat, hottest first (deletion),
or brought back into the blurred image in the same order (insertion). If the heat names
what the score comes from, deletion lets it fall early and insertion lets it rise
early: the area under its curve is small, or large. The same in a random order of the
same coarse cells, and from the centre outwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from ml import metrics
from ml.evaluation.bootstrap import Interval, patient_counts, with_interval
from ml.evaluation.heat_maps.explained import Explained, enlarged, scores_of
from ml.inference import LoadedModel

# Shares of the pixels at which the score is looked at, 0 to 1.
STEPS = 10
# Of the blur that stands for 'not there', as a share of the square's side: shapes of
# lungs are gone, the grey of their surroundings stays.
BLUR_SHARE = 0.10
ORDERS = ("heat", "random", "centre")


@dataclass(frozen=True)
class Curves:
    """Areas under the curves of one image, by order."""

    patient: str
    insertion: dict[str, float]
    deletion: dict[str, float]


def curves_of(
    model: LoadedModel, seen: Explained, *, label: int, patient: str, seed: int
) -> Curves:
    """Return the areas of one image and label, for the heat and both baselines."""
    size = seen.square.shape[0]
    grid = seen.heat[label]
    random = np.random.default_rng(seed).random(grid.shape).astype(np.float32)
    rows, columns = np.mgrid[0:size, 0:size] - (size - 1) / 2.0
    priority = {
        "heat": enlarged(grid, size=size),
        "random": enlarged(random, size=size),
        "centre": -np.hypot(rows, columns),
    }
    deviation = BLUR_SHARE * size
    blurred = cv2.GaussianBlur(seen.square, (0, 0), deviation).reshape(
        seen.square.shape
    )

    def area(order: str, *, insert: bool) -> float:
        first, last = (blurred, seen.square) if insert else (seen.square, blurred)
        ranks = np.argsort(np.argsort(-priority[order].ravel(), kind="stable"))
        ranks = ranks.reshape(size, size, 1) / (size * size)
        scores = [
            _score(model, np.where(ranks < step / STEPS, last, first), label)
            for step in range(STEPS + 1)
        ]
        return float(np.trapezoid(scores, dx=1.0 / STEPS))

    return Curves(
        patient=patient,
        insertion={order: area(order, insert=True) for order in ORDERS},
        deletion={order: area(order, insert=False) for order in ORDERS},
    )


def _score(model: LoadedModel, square: np.ndarray, label: int) -> float:
    logits, _ = model.runner.run(square.astype(np.float32))
    return float(scores_of(model.card, logits)[label])


def order_metrics(
    curves: Sequence[Curves], *, pick: Callable[[Curves], dict[str, float]]
) -> dict[str, Any]:
    """Return mean areas by order, and the heat's differences from both baselines."""
    counts = patient_counts([each.patient for each in curves])

    def interval(values: list[float]) -> Interval:
        return with_interval(partial(metrics.mean, np.array(values)), counts)

    areas = [pick(each) for each in curves]
    by_order: dict[str, Any] = {o: interval([a[o] for a in areas]) for o in ORDERS}
    for order in ORDERS[1:]:
        apart = [a["heat"] - a[order] for a in areas]
        by_order[f"heat_minus_{order}"] = interval(apart)
    return by_order
