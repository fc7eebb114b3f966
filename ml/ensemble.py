"""Several models as one: the mean of their probabilities, and of their heat maps.

Members are calibrated, so that their probabilities are comparable, and each is checked
against the hash of its weights on the card. A label is scored by the members that know
it; where a member knows it in parts (Bacterial and Viral pneumonia), the parts are
summed. Decision support, not for diagnosis.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from ml.cards.card import Card, member_cards
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
            members: The loaded members, in the order of the card.

        Raises:
            ModelError: The members are not those of the card.
        """
        _check_members(card, members)
        self.card = card
        self.weights_sha256 = str(card.weights_sha256)
        self._members = tuple(members)
        self._sources = card.label_sources

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
        means = [self._mean(label, results) for label in self.card.label_names]
        scores, label_set = scores_of(
            self.card,
            np.array([probability for probability, _, _ in means]),
            thresholds=thresholds or {},
            grids=[grid for _, grid, _ in means],
            scales=[scale for _, _, scale in means],
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
        """Let the member with the gate read first; no member scores what it refuses."""
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
        parts = [_of_member(results[name], labels) for name, labels in sources.items()]
        boxes = [_box(results[name].geometry) for name in sources]
        own_box = _box(next(iter(results.values())).geometry)
        grid, scale = mean_grid(
            [
                grid
                for (_, grid), box in zip(parts, boxes, strict=True)
                if grid.size and box == own_box
            ]
        )
        return float(np.mean([probability for probability, _ in parts])), grid, scale


def load_ensemble(card: Card, load: Callable[[Card], ReadsImages]) -> EnsembleModel:
    """Load an ensemble whose members' cards lie beside its own.

    Args:
        card: A card with `members`, read from a folder of models.
        load: Loads one member.

    Raises:
        ModelError: A member is missing or has other weights.
    """
    return EnsembleModel(card, [load(member) for member in member_cards(card)])


def mean_grid(grids: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the mean of heat-map grids.

    Args:
        grids: float (rows, columns) each, contributions to the logit, of one geometry;
            enlarged to the finest.

    Returns:
        float16 (rows, columns) scaled to at most 1, and the largest contribution; one
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
    """Return a member's probability and grid of a label that it knows by these names.

    The grid has the contributions to the logit. That of several labels is their mean,
    weighted by their probabilities, as the gradient of the logarithm of their sum is.
    """
    parts = {score.label: score for score in model_output.scores}
    chosen = [parts[name] for name in names]
    if len(chosen) == 1:
        return chosen[0].probability, chosen[0].contributions
    total = sum(score.probability for score in chosen)
    weighted = np.sum(
        [score.contributions * score.probability for score in chosen],
        axis=0,
    )
    return total, weighted / (total or 1.0)


def _box(geometry: Geometry) -> Geometry:
    """Return the part of the image that a member read, without its input size."""
    return replace(geometry, size=1)


def _joined(card: Card, results: Mapping[str, ModelOutput]) -> ModelOutput:
    """Return the first member's output as the ensemble's, without its scores.

    The gate's answer in it holds for the ensemble: only that member's gate was applied.
    """
    outputs = list(results.values())
    inputs = "".join(results[member.name].input_sha256 for member in card.members)
    versions: dict[str, str] = {}
    for model_output in outputs:
        versions |= model_output.library_versions
    return replace(
        outputs[0],
        model=card.name,
        version=card.version,
        weights_sha256=str(card.weights_sha256),
        backend=_joined_words(output.backend for output in outputs),
        precision=_joined_words(output.precision for output in outputs),
        library_versions=versions,
        input_sha256=hashlib.sha256(inputs.encode()).hexdigest(),
    )


def _joined_words(words: Iterable[str]) -> str:
    return "+".join(sorted(set(words)))


def _check_members(card: Card, members: Sequence[ReadsImages]) -> None:
    expected = [(m.name, m.version, m.weights_sha256) for m in card.members]
    loaded = [(m.card.name, m.card.version, m.weights_sha256) for m in members]
    for wanted, here in zip(expected, loaded, strict=False):
        if wanted != here:
            raise ModelError(
                "%(ensemble)s needs %(member)s %(version)s with the weights "
                "%(sha256)s…; loaded is %(other_member)s %(other_version)s with "
                "%(other_sha256)s….",
                params={
                    "ensemble": f"{card.name} {card.version}",
                    "member": wanted[0],
                    "version": wanted[1],
                    "sha256": wanted[2][:12],
                    "other_member": here[0],
                    "other_version": here[1],
                    "other_sha256": here[2][:12],
                },
                reason_code="member_differs",
            )
    if not members or len(expected) != len(loaded):
        raise ModelError(
            "%(ensemble)s needs %(expected)d members; %(loaded)d are here.",
            params={
                "ensemble": f"{card.name} {card.version}",
                "expected": len(expected),
                "loaded": len(loaded),
            },
            reason_code="member_missing",
        )
    _check_labels(card, members)


def _check_labels(card: Card, members: Sequence[ReadsImages]) -> None:
    known = {member.card.name: set(member.card.label_names) for member in members}
    for label in card.label_names:
        sources = card.label_sources.get(label)
        if not sources:
            raise ModelError(
                "The card of %(ensemble)s does not say which labels of its members "
                "make %(label)s.",
                params={"ensemble": card.name, "label": label},
            )
        if any(not set(n) <= known.get(m, set()) for m, n in sources.items()):
            raise ModelError(
                "The members of %(ensemble)s have no label that makes %(label)s.",
                params={"ensemble": card.name, "label": label},
                reason_code="member_differs",
            )
