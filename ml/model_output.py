"""What a model says of one image: scores, heat-map grids, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.calibration import calibrated_labels
from ml.gate.out_of_distribution import GateResult
from ml.preprocessing import Geometry
from ml.uncertainty import certainty_of

if TYPE_CHECKING:
    from ml.cards.card import Card


@dataclass(frozen=True)
class Score:
    """What a model says of one label.

    `probability` is a score until `calibrated`. `grid` is float16 (rows, columns),
    scaled to at most 1, and empty where the model has no heat maps; `scale` is its
    largest value before. `certainty` is confident,
    borderline, not sure, or "" where the card claims nothing.
    """

    label: str
    probability: float
    calibrated: bool
    threshold: float
    positive: bool
    grid: np.ndarray
    scale: float
    certainty: str = ""


@dataclass(frozen=True)
class ModelOutput:
    """The scores of one image, and everything needed to make them again.

    `label_set` are the labels that the card's uncertainty does not rule out; `gate` is
    what the model's own gate said, None where it has none.
    """

    model: str
    version: str
    weights_sha256: str
    preprocessing_version: str
    backend: str
    precision: str
    library_versions: Mapping[str, str]
    input_sha256: str
    geometry: Geometry
    scores: tuple[Score, ...]
    milliseconds: float
    label_set: tuple[str, ...] = ()
    gate: GateResult | None = None


def scores_of(
    card: Card,
    probability: np.ndarray,
    *,
    thresholds: Mapping[str, float],
    grids: Sequence[np.ndarray] | np.ndarray,
    scales: Sequence[float] | np.ndarray,
) -> tuple[tuple[Score, ...], tuple[str, ...]]:
    """Judge the probabilities of an image as a card says.

    Args:
        card: The model's card.
        probability: float (labels,), as the card's calibration makes them.
        thresholds: Label to threshold; the card's where one is missing.
        grids: float16 (labels, rows, columns), scaled to at most 1.
        scales: float (labels,), what was their largest value.

    Returns:
        A score a label of the card, in its order, and the labels not ruled out.
    """
    names = card.label_names
    limits = {**card.thresholds, **thresholds}
    called = [bool(probability[i] >= limits[name]) for i, name in enumerate(names)]
    certainty = certainty_of(
        probability,
        np.array(called),
        names=names,
        uncertainty=card.uncertainty,
    )
    calibrated = calibrated_labels(names, card.calibration)
    scores = tuple(
        Score(
            label=name,
            probability=float(probability[i]),
            calibrated=name in calibrated,
            threshold=float(limits[name]),
            positive=called[i],
            grid=grids[i],
            scale=float(scales[i]),
            certainty=certainty.words[i],
        )
        for i, name in enumerate(names)
    )
    return scores, certainty.label_set
