"""Several models as one: the mean of their probabilities, and of their heat maps.

Members are calibrated, so that their probabilities mean the same, and each is the
model that the card names, to the weight. For each label only those members are asked
that know it; where a member knows it in parts (Bacterial and Viral pneumonia), the
parts are summed. Decision support, not for diagnosis.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from ml.cards.card import Card, get_card
from ml.cards.ensemble_spec import sources_of
from ml.errors import ModelError
from ml.model_output import ModelOutput, scores_of
from ml.preprocessing import Geometry


class ReadsImages(Protocol):
    """A model that is ready, whatever is behind it."""

    card: Card
    weights_sha256: str

    def read(
        self,
        display: np.ndarray,
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> ModelOutput:
        """Score an image, uint16 (H, W)."""
        ...


class EnsembleModel:
    """A card without weights, with the models that it names; reads as they do."""

    def __init__(self, card: Card, members: Sequence[ReadsImages]) -> None:
        """Bind a card to its members.

        Args:
            card: A card with `members`.
            members: They, loaded, in the order of the card.

        Raises:
            ModelError: They are not those of the card.
        """
        _check_members(card, members)
        self.card = card
        self.weights_sha256 = str(card.weights_sha256)
        self._members = tuple(members)
        self._sources = sources_of(card.raw)

    def read(
        self,
        display: np.ndarray,
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> ModelOutput:
        """Score an image by every member.

        Args:
            display: uint16 (H, W), as `ml.pixels.display_frame` gives it.
            thresholds: Label to threshold; the card's where one is missing.
            apply_gate: Whether the gate of the first member that has one may refuse.

        Returns:
            A score and a grid for every label of the ensemble's card, in its order.

        Raises:
            ImageRejected: The gate refuses the image.
        """
        began = time.perf_counter()
        results = self._read_by_all(display, apply_gate=apply_gate)
        told = [self._mean(label, results) for label in self.card.label_names]
        scores, label_set = scores_of(
            self.card,
            np.array([probability for probability, _, _ in told]),
            thresholds=thresholds or {},
            grids=[grid for _, grid, _ in told],
            scales=[scale for _, _, scale in told],
        )
        return replace(
            _joined(self.card, results),
            scores=scores,
            label_set=label_set,
            milliseconds=(time.perf_counter() - began) * 1000.0,
        )

    def read_many(
        self,
        displays: Sequence[np.ndarray],
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> list[ModelOutput]:
        """Score several images; see `read`."""
        return [
            self.read(display, thresholds=thresholds, apply_gate=apply_gate)
            for display in displays
        ]

    def _read_by_all(
        self, display: np.ndarray, *, apply_gate: bool
    ) -> dict[str, ModelOutput]:
        """Let the member with the gate read first: what it refuses, nobody scores."""
        gated = next((m.card.name for m in self._members if m.card.gate), "")
        first = sorted(self._members, key=lambda member: member.card.name != gated)
        return {
            member.card.name: member.read(
                display, apply_gate=apply_gate and member.card.name == gated
            )
            for member in first
        }

    def _mean(
        self, label: str, results: Mapping[str, ModelOutput]
    ) -> tuple[float, np.ndarray, float]:
        """Return a label's probability, its grid and what the grid was scaled by."""
        sources = self._sources[label]
        told = [_of_member(results[name], parts) for name, parts in sources.items()]
        seen = [_box(results[name].geometry) for name in sources]
        here = _box(next(iter(results.values())).geometry)
        grid, scale = mean_grid(
            [
                grid
                for (_, grid), box in zip(told, seen, strict=True)
                if grid.size and box == here
            ]
        )
        return float(np.mean([probability for probability, _ in told])), grid, scale


def load_ensemble(card: Card, load: Callable[[Card], ReadsImages]) -> EnsembleModel:
    """Load an ensemble whose members' cards lie beside its own.

    Args:
        card: A card with `members`, read from a folder of models.
        load: Loads one member.

    Raises:
        ModelError: A member is missing or another one.
    """
    models = card.weights_file.parents[2]
    return EnsembleModel(
        card,
        [
            load(get_card(member.name, member.version, weights_dir=models))
            for member in card.members
        ],
    )


def mean_grid(grids: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the mean of heat-map grids, each scaled to at most 1.

    Args:
        grids: float (rows, columns) each, of one geometry; enlarged to the finest.

    Returns:
        float16 (rows, columns) scaled to at most 1, and the largest value before; one
        cell of zero where there is no grid.
    """
    if not grids:
        return np.zeros((1, 1), np.float16), 0.0
    rows, columns = (max(grid.shape[axis] for grid in grids) for axis in (0, 1))
    enlarged = [
        cv2.resize(
            grid.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR
        )
        for grid in grids
    ]
    mean = np.mean(enlarged, axis=0)
    scale = float(mean.max())
    return (mean / (scale or 1.0)).astype(np.float16), scale


def _of_member(
    model_output: ModelOutput, names: Sequence[str]
) -> tuple[float, np.ndarray]:
    """Return what one member says of a label that it knows by these names.

    The grid of several is their mean, weighted by what each has of the probability:
    so weighs the gradient of the logarithm of their sum.
    """
    parts = {score.label: score for score in model_output.scores}
    chosen = [parts[name] for name in names]
    if len(chosen) == 1:
        return chosen[0].probability, chosen[0].grid
    total = sum(score.probability for score in chosen)
    weighted = np.sum(
        [
            score.grid.astype(np.float32) * (score.scale * score.probability)
            for score in chosen
        ],
        axis=0,
    )
    largest = float(weighted.max(initial=0.0))
    return total, weighted / (largest or 1.0)


def _box(geometry: Geometry) -> Geometry:
    """Return where a member looked, whatever the size of the square it saw."""
    return replace(geometry, size=1)


def _joined(card: Card, results: Mapping[str, ModelOutput]) -> ModelOutput:
    """Return the first member's reading as the ensemble's, but for its scores.

    The gate's answer in it is the ensemble's: that member alone was asked.
    """
    told = list(results.values())
    inputs = "".join(results[member.name].input_sha256 for member in card.members)
    versions: dict[str, str] = {}
    for model_output in told:
        versions |= model_output.library_versions
    return replace(
        told[0],
        model=card.name,
        version=card.version,
        weights_sha256=str(card.weights_sha256),
        backend=_said(model_output.backend for model_output in told),
        precision=_said(model_output.precision for model_output in told),
        library_versions=versions,
        input_sha256=hashlib.sha256(inputs.encode()).hexdigest(),
    )


def _said(words: Iterable[str]) -> str:
    return "+".join(sorted(set(words)))


def _check_members(card: Card, members: Sequence[ReadsImages]) -> None:
    expected = [(m.name, m.version, m.weights_sha256) for m in card.members]
    found = [(m.card.name, m.card.version, m.weights_sha256) for m in members]
    for wanted, there in zip(expected, found, strict=False):
        if wanted != there:
            raise ModelError(
                f"{card.name} {card.version} is made of {wanted[0]} {wanted[1]} with "
                f"the weights {wanted[2][:12]}…; here is {there[0]} {there[1]} with "
                f"{there[2][:12]}….",
                reason_code="member_differs",
            )
    if not members or len(expected) != len(found):
        raise ModelError(
            f"{card.name} {card.version} needs {len(expected)} members; "
            f"{len(found)} are here.",
            reason_code="member_missing",
        )
    _check_labels(card, members)


def _check_labels(card: Card, members: Sequence[ReadsImages]) -> None:
    known = {member.card.name: set(member.card.label_names) for member in members}
    try:
        sources = sources_of(card.raw)
    except (KeyError, AttributeError) as error:
        raise ModelError(
            f"The card of {card.name} does not say what of whom."
        ) from error
    for label, told in sources.items():
        if not told or any(not set(n) <= known.get(m, set()) for m, n in told.items()):
            raise ModelError(
                f"The members of {card.name} have no label that makes {label}.",
                reason_code="member_differs",
            )
