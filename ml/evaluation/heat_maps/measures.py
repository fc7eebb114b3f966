"""Measure the heat maps of a model, as its card keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ml.datasets.ground_truth import ground_truth_of
from ml.datasets.manifest import ManifestRow, with_split
from ml.ensemble import ReadsImages
from ml.errors import MlError, ModelError
from ml.evaluation.heat_maps.explained import Explained, explain
from ml.evaluation.heat_maps.insertion_deletion import (
    BLUR_SHARE,
    Curves,
    curves_of,
    order_metrics,
)
from ml.evaluation.heat_maps.pointing import Pointed, point, pointing_metrics
from ml.evaluation.heat_maps.randomisation import (
    SHARES,
    HeatedImage,
    RandomisedRunner,
    randomisation_metrics,
)
from ml.inference import LoadedModel
from ml.labels import NOTHING_FOUND_LABELS
from ml.training.gate.fit import held_out_rows

# Images of val on which curves are drawn and weights destroyed: each takes some sixty
# passes, and intervals tell what so many are worth.
IMAGES = 60
SEED = 20260
LEAST_BOXES = 5
ALL, TRAIN, HELD_OUT, VAL = "all", "train", "held-out", "val"
SPLITS = (ALL, TRAIN, HELD_OUT, VAL)
# The images that the network did not learn from: those of held-out patients, and val.
UNSEEN = "unseen"
Progress = Callable[[int, int], None]


def measure_heat_maps(
    model: ReadsImages,
    rows: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
    *,
    split: str = ALL,
    images: int = IMAGES,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Measure the heat maps of a model.

    Args:
        model: A model with a network and heat maps of its own; not an ensemble.
        rows: Images of a manifest, of every split.
        root: The folder that the paths of the rows start from.
        cache_dir: Where the model's graph is kept.
        split: Which of SPLITS; "all" uses the boxes of every split, and val for the
            rest. "held-out" has the train patients that were held out from learning.
        images: On how many images curves and randomisation are measured.
        progress: Called with how many steps are done, of how many.

    Returns:
        A report; metrics are {value, low, high}.

    Raises:
        ModelError: The model has no heat maps of its own, or knows no image of the
            split.
    """
    if not isinstance(model, LoadedModel):
        raise ModelError(
            "An ensemble's heat maps are those of its members: measure each of them."
        )
    if not model.card.heat_maps:
        raise ModelError(
            "%(model)s has no heat maps.", params={"model": model.card.name}
        )
    parts = split_parts(rows, name=model.card.name)
    chosen = _chosen(parts[VAL if split == ALL else split], model, images)
    boxed = [row for row in parts[split] if row.boxes]
    step = _stepping(progress, total=len(boxed) + len(chosen) + len(SHARES))
    played = point(model, boxed, root, step=step)
    seen = _seen(model, chosen, root, step)
    if not seen:
        raise ModelError("No image of the split that the model knows has a heat map.")
    return {
        "cells": list(seen[0].image.heat.shape[1:]),
        "split": split,
        "pointing_game": _pointing(played, parts),
        "insertion_deletion": _insertion_deletion([each.curves for each in seen]),
        "randomisation": randomisation_metrics(
            model.runner,
            [
                HeatedImage(each.image.square, each.label, each.curves.patient)
                for each in seen
            ],
            lambda share, draw: RandomisedRunner(
                model, cache_dir=cache_dir, share=share, seed=SEED + draw
            ),
            step=step,
        ),
    }


def split_parts(
    rows: Sequence[ManifestRow], *, name: str
) -> dict[str, list[ManifestRow]]:
    """Return the images of each of SPLITS for a model; none is in two but "all"."""
    learned, held_out = held_out_rows(with_split(rows, "train"), name=name)
    return {
        ALL: list(rows),
        TRAIN: learned,
        HELD_OUT: held_out,
        VAL: with_split(rows, "val"),
    }


@dataclass(frozen=True)
class _Seen:
    image: Explained
    label: int
    curves: Curves


def _seen(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    step: Callable[[], None],
) -> list[_Seen]:
    """Return the images that have heat for a finding, with their curves."""
    seen = []
    for number, row in enumerate(rows):
        image = _explained(model, row, root)
        label = None if image is None else _hottest_wanted(model, image)
        if image is not None and label is not None:
            curves = curves_of(
                model, image, label=label, patient=row.patient, seed=SEED + number
            )
            seen.append(_Seen(image, label, curves))
        step()
    return seen


def _insertion_deletion(curves: Sequence[Curves]) -> dict[str, Any]:
    return {
        "images": len(curves),
        "patients": len({each.patient for each in curves}),
        "blur_share": BLUR_SHARE,
        "insertion": order_metrics(curves, pick=lambda c: c.insertion),
        "deletion": order_metrics(curves, pick=lambda c: c.deletion),
    }


def _stepping(progress: Progress, *, total: int) -> Callable[[], None]:
    numbers = count(1)
    return lambda: progress(next(numbers), total)


def _chosen(
    rows: Sequence[ManifestRow], model: LoadedModel, images: int
) -> list[ManifestRow]:
    """Choose images with a ground truth for the model, whatever their order.

    Images with a finding come first: normal images have no right place for heat, and
    score and heat are most often low.
    """
    rows = ground_truth_of(model.card, rows).rows

    def place(row: ManifestRow) -> tuple[bool, bytes]:
        normal = bool(NOTHING_FOUND_LABELS & set(row.labels))
        return normal, hashlib.sha256(row.path.encode()).digest()

    return sorted(rows, key=place)[:images]


def _explained(model: LoadedModel, row: ManifestRow, root: Path) -> Explained | None:
    try:
        return explain(model, row, root)
    except (MlError, OSError):
        # What cannot be read is left out; the number of images says so.
        return None


def _hottest_wanted(model: LoadedModel, image: Explained) -> int | None:
    """Return the label with the highest score, if it is a finding and has heat."""
    order = np.argsort(-image.scores)
    names = model.card.label_names
    for label in order:
        if names[label] not in NOTHING_FOUND_LABELS and image.heat[label].any():
            return int(label)
    return None


def _pointing(
    played: Sequence[Pointed], parts: Mapping[str, Sequence[ManifestRow]]
) -> dict[str, Any] | None:
    """Return the metrics by split and label; None without boxes."""
    if not played:
        return None
    paths = {name: {row.path for row in parts[name]} for name in SPLITS}
    paths[UNSEEN] = paths[HELD_OUT] | paths[VAL]
    chosen = {
        name: [each for each in played if each.row.path in among]
        for name, among in paths.items()
    }
    for label in sorted({each.label for each in played}):
        own = [each for each in played if each.label == label]
        if LEAST_BOXES <= len(own) < len(played):
            chosen[label] = own
    return {name: pointing_metrics(part) for name, part in chosen.items() if part}
