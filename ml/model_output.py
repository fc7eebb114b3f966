"""The output of a model for one image: scores, heat-map grids and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ml.calibration import calibrated_labels
from ml.cards.ages import Ages, is_measured_at, reason_not_measured
from ml.gate.out_of_distribution import GateResult
from ml.preprocessing import Geometry
from ml.uncertainty import certainty_of

if TYPE_CHECKING:
    from ml.cards.card import Card


@dataclass(frozen=True)
class Score:
    """The score of one label.

    `ages` are those at which the label was measured (`ml.cards.ages`), none: any.
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
    ages: Ages = ()

    @property
    def contributions(self) -> np.ndarray:
        """The grid in contributions to the logit, float32 (rows, columns)."""
        return self.grid.astype(np.float32) * self.scale


@dataclass(frozen=True)
class ModelOutput:
    """The scores of one image, and everything needed to reproduce them.

    `label_set` has the labels that the card's uncertainty does not rule out; `gate` is
    the result of the model's gate, None if it has no gate. `not_scored` has the labels
    without a score and the reason code of each; `age_unknown` those that have a score
    although they were measured at some ages only, and the patient's is not known.
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
    not_scored: Mapping[str, str] = field(default_factory=dict)
    age_unknown: tuple[str, ...] = ()


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
            ages=card.label_ages.get(name, ()),
        )
        for i, name in enumerate(names)
    )
    return scores, certainty.label_set


def at_age(model_output: ModelOutput, age_years: float | None) -> ModelOutput:
    """Return the output without the labels that were not measured at an age.

    The other scores stay as they are. What a softmax model gives to a label that was
    not measured goes to no other label.

    Args:
        model_output: The output with a score for every label.
        age_years: Age of the patient at the examination; None: not known.
    """
    limited = [score for score in model_output.scores if score.ages]
    if age_years is None:
        return replace(
            model_output, age_unknown=tuple(score.label for score in limited)
        )
    not_scored = {
        score.label: reason_not_measured(score.ages, age_years)
        for score in limited
        if not is_measured_at(score.ages, age_years)
    }
    return replace(
        model_output,
        scores=tuple(s for s in model_output.scores if s.label not in not_scored),
        label_set=tuple(n for n in model_output.label_set if n not in not_scored),
        not_scored=not_scored,
    )
