"""The output of a model for one image: scores, heat-map grids and provenance."""

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
    """The score of one label.

    `probability` is only a score unless `calibrated`. `grid` is float16 (rows,
    columns), scaled to at most 1, and empty if the model has no heat maps; `scale` is
    its largest value before scaling, a contribution to the logit. `certainty` is
    confident, borderline, not sure, or "" if the card has no uncertainty for the label.
    """

    label: str
    probability: float
    calibrated: bool
    threshold: float
    positive: bool
    grid: np.ndarray
    scale: float
    certainty: str = ""

    @property
    def contributions(self) -> np.ndarray:
        """The grid in contributions to the logit, float32 (rows, columns)."""
        return self.grid.astype(np.float32) * self.scale


@dataclass(frozen=True)
class ModelOutput:
    """The scores of one image, and everything needed to reproduce them.

    `label_set` has the labels that the card's uncertainty does not rule out; `gate` is
    the result of the model's gate, None if it has no gate.
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
    """Apply thresholds and uncertainty of a card to the probabilities of an image.

    Args:
        card: The model's card.
        probability: float (labels,), calibrated by the card's calibration.
        thresholds: Label to threshold; the card's where one is missing.
        grids: float16 (rows, columns) for each label, scaled to at most 1.
        scales: The largest value of each grid before scaling.

    Returns:
        A score for each label of the card, in its order, and the labels that are not
        ruled out.
    """
    names = card.label_names
    limits = {**card.thresholds, **thresholds}
    positive = [bool(probability[i] >= limits[name]) for i, name in enumerate(names)]
    certainty = certainty_of(
        probability,
        np.array(positive),
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
            positive=positive[i],
            grid=grids[i],
            scale=float(scales[i]),
            certainty=certainty.words[i],
        )
        for i, name in enumerate(names)
    )
    return scores, certainty.label_set
