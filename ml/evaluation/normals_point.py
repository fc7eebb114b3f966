"""Default thresholds of several models together: a stated share of flagged normals.

A reader sees all models at once, so what counts is how many normal images any of them
flags. Every claimed label may flag the same number of normals; the kinds of pneumonia
may flag more, if that is needed to keep the sensitivity of PNEUMONIA_GOALS. Labels
without a claim are never flagged (`ml.labels.is_flagged`), so they keep the point
"youden".

Only training images are read: the normals for the thresholds, and those of patients
that every model held out from learning for the sensitivity. A model may be used for a
patient of unknown age, so every claimed label counts, whatever its ages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards.ages import Ages, ages_of, is_measured_at
from ml.cards.card import Card, member_cards
from ml.cards.claims import claimed_labels
from ml.cards.contents import KeptSensitivity, NormalsPoint
from ml.cards.json_reader import as_json
from ml.datasets.ground_truth import findings_of, ground_truth_of
from ml.datasets.manifest import ManifestRow, with_split
from ml.ensemble import ReadsImages
from ml.errors import ImageRejected, ModelError
from ml.inference import read_with_all
from ml.labels import NOTHING_FOUND_LABELS, counts_for
from ml.pixels import read_display
from ml.training.gate.fit import held_out_rows
from ml.training.operating_points import (
    RATIOS,
    THRESHOLD_RANGE,
    normals_name,
    normals_thresholds,
)

Progress = Callable[[int, int], None]
PNEUMONIA = "Pneumonia"
# The sensitivity for pneumonia to keep on held-out training images, by data set.
PNEUMONIA_GOALS = {"kermany": 0.9, "nih": 0.6}
METHOD = (
    "operating point {point}: at most {share:g} % of {images} images of adults that "
    "radiologists read as normal ({dataset}, split train; terms: {licence}; used for "
    "thresholds only, never trained on) are flagged by any of {models} for any label "
    "that they claim; labels without a claim keep the point youden"
)
_DIGITS = 4


@dataclass(frozen=True)
class ModelFit:
    """The thresholds of one model, and what its card says about them."""

    card: Card
    name: str
    values: dict[str, float]
    method: str
    normals: NormalsPoint

    @property
    def raw(self) -> dict[str, Any]:
        """The JSON of the card with the point, which is its default."""
        points = {**self.card.operating_points, self.name: self.values}
        thresholds = {
            "values": self.values,
            "method": self.method,
            "normals": as_json(self.normals),
        }
        return {
            **self.card.raw,
            "operating_points": points,
            "thresholds": thresholds,
        }


@dataclass(frozen=True)
class _Column:
    """One label of one model, a column of the scores."""

    model: int
    label: str
    claimed: bool
    ages: Ages

    def is_scored_in(self, dataset: str) -> bool:
        """Tell whether the label is scored at some age of a data set's patients."""
        return not self.ages or any(
            is_measured_at(self.ages, low) or is_measured_at(self.ages, high)
            for low, high in ages_of([dataset])
        )


def fit_normals_point(
    models: Sequence[ReadsImages],
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    share: float,
    normals: str,
    command: Sequence[str],
    progress: Progress = lambda done, total: None,
) -> list[ModelFit]:
    """Fit the default thresholds of models that are used side by side.

    Args:
        models: Loaded models, each with the measurements that its claims rest on.
        rows: The manifest; its split train is used.
        root: The folder that the paths of the rows start from.
        share: The share of the normals that may be flagged, 0 to 1.
        normals: The data set of the normals.
        command: The command that fits the same again, as arguments.
        progress: Called with how many images are read, of how many.

    Returns:
        For each model what its card says then.

    Raises:
        ModelError: There is no image of the data set in the split train, or an image
            cannot be read.
    """
    train = with_split(rows, "train")
    healthy = [row for row in train if row.dataset == normals]
    if not healthy:
        raise ModelError(
            "There is no image of %(dataset)s in the split train.",
            params={"dataset": normals},
            reason_code="nothing_measured",
        )
    held_out = [row for row in train if row.dataset != normals]
    for model in models:
        _, held_out = held_out_rows(held_out, name=model.card.name)
    held_out = [row for row in held_out if any(_knows(m.card, row) for m in models)]
    scores = _scores(models, [*healthy, *held_out], root, progress)
    columns = _columns(models)
    limits = _limits(columns, models, scores, healthy, held_out, share)
    flags = (scores >= limits) & np.array([column.claimed for column in columns])
    point = _Point(models, columns, scores, flags, limits, healthy, held_out)
    return [point.of_model(i, share, tuple(command)) for i in range(len(models))]


@dataclass(frozen=True)
class _Point:
    """Scores, flags and thresholds of all models, a column for each label of each."""

    models: Sequence[ReadsImages]
    columns: Sequence[_Column]
    scores: np.ndarray
    flags: np.ndarray
    limits: np.ndarray
    healthy: Sequence[ManifestRow]
    held_out: Sequence[ManifestRow]

    def of_model(self, model: int, share: float, command: tuple[str, ...]) -> ModelFit:
        """Return what the card of one model says about the point."""
        card = self.models[model].card
        own = [i for i, column in enumerate(self.columns) if column.model == model]
        on_normals = self.flags[: len(self.healthy)]
        names = tuple(f"{m.card.name} {m.card.version}" for m in self.models)
        normals = NormalsPoint(
            share=share,
            flagged=_share(np.any(on_normals, axis=1)),
            flagged_by_this_model=_share(np.any(on_normals[:, own], axis=1)),
            dataset=self.healthy[0].dataset,
            licence=self.healthy[0].licence,
            images=len(self.healthy),
            patients=len({row.patient for row in self.healthy}),
            models=names,
            sensitivity=tuple(self._sensitivity(card, own)),
            pneumonia=_pneumonia(
                self.columns, self.flags[len(self.healthy) :], self.held_out
            ),
            command=command,
        )
        point = normals_name(share)
        method = METHOD.format(
            point=point,
            share=100 * share,
            images=normals.images,
            dataset=normals.dataset,
            licence=normals.licence or "not known",
            models=", ".join(names),
        )
        values = {self.columns[i].label: float(self.limits[i]) for i in own}
        return ModelFit(card, point, values, method, normals)

    def _sensitivity(self, card: Card, own: Sequence[int]) -> list[KeptSensitivity]:
        place = {row.path: i for i, row in enumerate(self.held_out)}
        ground_truth = ground_truth_of(card, self.held_out)
        images = [len(self.healthy) + place[row.path] for row in ground_truth.rows]
        kept = []
        for position, i in enumerate(own):
            positive = (ground_truth.positive & ground_truth.known)[:, position]
            scores = self.scores[images, i][positive]
            label = self.columns[i].label
            if self.columns[i].claimed and len(scores):
                kept.append(
                    KeptSensitivity(
                        label=label,
                        positives=len(scores),
                        value=_share(scores >= self.limits[i]),
                        before=_share(scores >= _plain(card)[label]),
                    )
                )
        return kept


def _knows(card: Card, row: ManifestRow) -> bool:
    return bool(ground_truth_of(card, [row]).rows)


def _scores(
    models: Sequence[ReadsImages],
    rows: Sequence[ManifestRow],
    root: Path,
    progress: Progress,
) -> np.ndarray:
    """Return float (images, labels of all models), one column after the other."""
    table = []
    for number, row in enumerate(rows, start=1):
        display = read_display((root / row.path).read_bytes())
        outputs = read_with_all(models, display, apply_gate=False)
        read = [each for each in outputs if not isinstance(each, ImageRejected)]
        table.append([s.probability for each in read for s in each.scores])
        progress(number, len(rows))
    return np.array(table)


def _columns(models: Sequence[ReadsImages]) -> list[_Column]:
    columns = []
    for i, model in enumerate(models):
        claimed = claimed_labels(model.card, members=member_cards(model.card))
        columns += [
            _Column(
                model=i,
                label=name,
                claimed=name in claimed and name not in NOTHING_FOUND_LABELS,
                ages=model.card.label_ages.get(name, ()),
            )
            for name in model.card.label_names
        ]
    return columns


def _plain(card: Card) -> Mapping[str, float]:
    return card.operating_points.get("youden", card.thresholds)


def _limits(
    columns: Sequence[_Column],
    models: Sequence[ReadsImages],
    scores: np.ndarray,
    healthy: Sequence[ManifestRow],
    held_out: Sequence[ManifestRow],
    share: float,
) -> np.ndarray:
    """Return the threshold of each column, by the smallest ratio that keeps the goals.

    If none does, by the one that falls the least short of them. A label that is not
    scored at the ages of the normals stays at its plain point or above: they say
    nothing of how many normals it flags at its own ages.
    """
    limits = np.array([_plain(models[c.model].card)[c.label] for c in columns])
    claimed = np.array([column.claimed for column in columns])
    normals, dataset = len(healthy), healthy[0].dataset
    scored = np.array([column.is_scored_in(dataset) for column in columns])
    floors = np.where(scored, THRESHOLD_RANGE[0], limits)[claimed]
    favoured = np.array([_is_pneumonia(c.label) for c in columns])[claimed]
    lead = -np.inf
    for ratio in RATIOS if claimed.any() else ():
        tried = limits.copy()
        tried[claimed] = normals_thresholds(
            scores[:normals, claimed],
            share=share,
            floors=floors,
            favoured=favoured,
            ratio=ratio,
        )
        kept = _pneumonia(columns, (scores >= tried)[normals:] & claimed, held_out)
        beyond = min((kept[name] - PNEUMONIA_GOALS[name] for name in kept), default=0.0)
        if min(beyond, 0.0) > lead:
            limits, lead = tried, min(beyond, 0.0)
    return limits


def _is_pneumonia(label: str) -> bool:
    return PNEUMONIA in counts_for(label)


def _pneumonia(
    columns: Sequence[_Column], flags: np.ndarray, held_out: Sequence[ManifestRow]
) -> dict[str, float]:
    """Return the share of pneumonia that any model flags as such, by data set.

    Labels that are not scored at the ages of a data set do not count there.
    """
    has_it = np.array([PNEUMONIA in findings_of(row.labels) for row in held_out], bool)
    shares = {}
    for name in PNEUMONIA_GOALS:
        images = has_it & np.array([row.dataset == name for row in held_out], bool)
        kinds = [
            i
            for i, column in enumerate(columns)
            if _is_pneumonia(column.label) and column.is_scored_in(name)
        ]
        if images.any():
            shares[name] = _share(np.any(flags[images][:, kinds], axis=1))
    return shares


def _share(flags: np.ndarray) -> float:
    return round(float(np.mean(flags)), _DIGITS)
