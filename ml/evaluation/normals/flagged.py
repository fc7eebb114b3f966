"""How often models flag images of adults that readers called normal.

An image is flagged where a label that the card claims an accuracy for is above its
threshold, as on the worklist. The images of `rsna-normal` may be used for research
only: they measure, and set thresholds; no shipped network learned from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ml import metrics
from ml.cards.card import (
    Card,
    get_card,
    list_cards,
    member_cards,
    read_card,
    write_card,
)
from ml.cards.claims import claimed_labels, weakness_of
from ml.cards.json_reader import as_json, read_json
from ml.cards.measurements import Estimate, FlaggedTogether
from ml.datasets.manifest import ManifestRow
from ml.ensemble import ReadsImages
from ml.errors import ModelError
from ml.evaluation.bootstrap import Interval, patient_counts, with_interval
from ml.evaluation.scoring import KnownScores, read_scores
from ml.labels import is_flagged

NORMALS_DATASET = "rsna-normal"
OWN_THRESHOLDS = "card"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoredNormals:
    """Normal images as a model read them; `scores` is float (images, labels)."""

    card: Card
    rows: tuple[ManifestRow, ...]
    scores: np.ndarray

    @cached_property
    def claimed(self) -> tuple[str, ...]:
        """The labels that may be flagged."""
        return claimed_labels(self.card, members=member_cards(self.card))

    def flags(self, thresholds: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Return by claimed label bool (images,): which images are flagged for it."""
        return {
            name: self.scores[:, i] >= thresholds[name]
            for i, name in enumerate(self.card.label_names)
            if is_flagged(name, positive=True, claimed_labels=self.claimed)
        }


def chest_cards(*, weights_dir: Path | None = None) -> list[Card]:
    """Return the shipped chest models that the demo uses, the newest card of each.

    These have weights, and are better than chance by their own cards.
    """
    names = dict.fromkeys(card.name for card in list_cards(weights_dir=weights_dir))
    return [
        card
        for name in names
        if (card := get_card(name, weights_dir=weights_dir)).weights_sha256
        and "CHEST" in card.body_parts
        and weakness_of(card) is None
    ]


def score_normals(
    model: ReadsImages,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    progress: Progress = lambda done, total: None,
    known: KnownScores | None = None,
) -> ScoredNormals:
    """Read normal images with a model.

    Args:
        model: A loaded model or ensemble.
        rows: The images, of one split and data set.
        root: The folder that the paths of the rows start from.
        progress: Called with how many images are done, of how many.
        known: Scores of the model; what is missing is read and put there.

    Raises:
        ModelError: There is no image, or one cannot be read: a share of the others
            would not compare with that of another model.
    """
    if not rows:
        raise ModelError(
            "There are no images of %(dataset)s to measure.",
            params={"dataset": NORMALS_DATASET},
            reason_code="nothing_measured",
        )
    scores, failed = read_scores(model, rows, root=root, progress=progress, known=known)
    for path, reason in failed.items():
        raise ModelError(
            "%(path)s cannot be read: %(reason)s",
            params={"path": path, "reason": reason},
        )
    return ScoredNormals(model.card, tuple(rows), scores)


def flagged_by_point(scored: ScoredNormals) -> dict[str, Any]:
    """Return the share flagged at each operating point of a card, as a JSON object.

    The thresholds that the card uses stand under the name of the operating point that
    has them, else under "card".
    """
    card = scored.card
    points = {
        name: {label: float(value) for label, value in point.items()}
        for name, point in card.operating_points.items()
    }
    own = {label: float(value) for label, value in card.thresholds.items()}
    default = next((name for name, point in points.items() if point == own), "")
    if not default:
        points[OWN_THRESHOLDS] = own
    counts = patient_counts([row.patient for row in scored.rows])
    return {
        **_images(scored.rows),
        "default": default,
        "points": {
            name: _shares(scored.flags({**own, **point}), counts)
            for name, point in points.items()
        },
    }


def flagged_by_any(models: Sequence[ScoredNormals]) -> dict[str, Any]:
    """Return the share that any of several models flags, at the cards' thresholds.

    Args:
        models: The same images as each model read them; at least one.
    """
    rows = models[0].rows
    counts = patient_counts([row.patient for row in rows])
    by_model = {
        f"{each.card.name}/{each.card.version}": each.flags(each.card.thresholds)
        for each in models
    }
    every = {
        f"{model}: {label}": flags
        for model, labels in by_model.items()
        for label, flags in labels.items()
    }
    return {
        **_images(rows),
        "flagged": _shares(every, counts)["flagged"],
        "models": {model: _shares(flags, counts) for model, flags in by_model.items()},
    }


def write_together(
    path: Path, report: Mapping[str, Any], command: Sequence[str]
) -> None:
    """Write onto a card how many normals it and others flag together.

    Args:
        path: The card.json.
        report: Of `ml.evaluation.normals.flagged.flagged_by_any`.
        command: What measures the same again.

    Raises:
        ModelError: The card does not say how many normals it flags alone.
    """
    card = read_card(path)
    alone = card.contents.flagged_normals
    if alone is None:
        raise ModelError(
            "%(model)s has no share of flagged normals of its own: measure it first.",
            params={"model": card.name},
        )
    together = FlaggedTogether(
        models=tuple(report["models"]),
        flagged=read_json(Estimate, report["flagged"]),
        images=report["images"],
        patients=report["patients"],
        command=tuple(command),
    )
    changed = as_json(replace(alone, together=together))
    write_card(path, {**card.raw, "flagged_normals": changed})


def _images(rows: Sequence[ManifestRow]) -> dict[str, Any]:
    return {
        "split": rows[0].split,
        "datasets": sorted({row.dataset for row in rows}),
        "images": len(rows),
        "patients": len({row.patient for row in rows}),
    }


def _shares(flags: Mapping[str, np.ndarray], counts: np.ndarray) -> dict[str, Any]:
    none = np.zeros(counts.shape[1], bool)
    return {
        "flagged": _share(np.logical_or.reduce([none, *flags.values()]), counts),
        "labels": {name: _share(flagged, counts) for name, flagged in flags.items()},
    }


def _share(flagged: np.ndarray, counts: np.ndarray) -> Interval:
    values = flagged.astype(float)
    return with_interval(lambda weights: metrics.mean(values, weights), counts)
