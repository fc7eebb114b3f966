"""The pointing game (Zhang et al. 2018): is the hottest point inside a reader's box?

Beside it, what needs no model: a point drawn anywhere in the box that the network
sees, and the middle of that box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ml import metrics
from ml.datasets.boxes import Box, box_mask, labels_of_box
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.evaluation.bootstrap import Interval, patient_counts, with_interval
from ml.evaluation.heat_maps.explained import Explained, enlarged, explain
from ml.inference import LoadedModel
from ml.preprocessing import crop


@dataclass(frozen=True)
class Pointed:
    """One label of one image that has boxes of it.

    `hit` and `centre` are 0 or 1, `random` the share of the network's box that the
    boxes cover, `heat` the share of the heat inside them. `empty`: the map has no
    evidence for the label.
    """

    row: ManifestRow
    label: str
    hit: float
    centre: float
    random: float
    heat: float
    empty: bool = False


def point(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    *,
    step: Callable[[], None] = lambda: None,
) -> list[Pointed]:
    """Play the game with every image that has boxes of what the model names.

    Images that cannot be read, or whose original size is not known, are left out; so
    are boxes that lie wholly outside what the network sees.
    """
    played = []
    for row in rows:
        wanted = _wanted(row, model.card.label_names)
        original = (row.original_width, row.original_height)
        if not wanted or None in original:
            continue
        try:
            seen = explain(model, row, root)
        except (MlError, OSError):
            continue
        finally:
            step()
        for label, boxes in wanted.items():
            names = labels_of_box(label, model.card.label_names)
            kinds = [model.card.label_names.index(name) for name in names]
            mask = _seen_mask(boxes, (original[0] or 1, original[1] or 1), seen)
            if mask.any():
                heat = seen.heat[kinds].max(axis=0)
                empty = not heat.any()
                played.append(Pointed(row, label, *_outcome(heat, mask), empty))
    return played


def _wanted(row: ManifestRow, names: Sequence[str]) -> dict[str, list[Box]]:
    wanted: dict[str, list[Box]] = {}
    for box in row.boxes:
        if labels_of_box(box.label, names):
            wanted.setdefault(box.label, []).append(box)
    return wanted


def _seen_mask(
    boxes: Sequence[Box], original: tuple[int, int], seen: Explained
) -> np.ndarray:
    """Return bool (height, width): the boxes within the part that the network sees."""
    geometry = seen.geometry
    shape = (geometry.source_height, geometry.source_width)
    return crop(box_mask(boxes, original=original, shape=shape), geometry)


def _outcome(heat: np.ndarray, mask: np.ndarray) -> tuple[float, float, float, float]:
    """Return hit, centre, random and the share of heat inside; no heat is a miss."""
    height, width = mask.shape
    size = max(height, width)
    drawn = np.maximum(enlarged(heat, size=size), 0.0)
    centre = float(mask[height // 2, width // 2])
    if not heat.any():
        return 0.0, centre, float(mask.mean()), 0.0
    down, across = np.unravel_index(int(np.argmax(drawn)), drawn.shape)
    hit = mask[int(down) * height // size, int(across) * width // size]
    rows = np.arange(size) * height // size
    columns = np.arange(size) * width // size
    inside = mask[np.ix_(rows, columns)]
    return (
        float(hit),
        centre,
        float(mask.mean()),
        float(drawn[inside].sum() / drawn.sum()),
    )


def pointing_metrics(played: Sequence[Pointed]) -> dict[str, Any]:
    """Return hit rates with intervals by patient, and the leads over both baselines.

    An empty map counts as a miss.
    """
    counts = patient_counts([each.row.patient for each in played])

    def interval(values: list[float]) -> Interval:
        return with_interval(partial(metrics.mean, np.array(values)), counts)

    return {
        "images_and_labels": len(played),
        "patients": len({each.row.patient for each in played}),
        "empty": sum(each.empty for each in played),
        "hit": interval([p.hit for p in played]),
        "random": interval([p.random for p in played]),
        "centre": interval([p.centre for p in played]),
        "lead_over_random": interval([p.hit - p.random for p in played]),
        "lead_over_centre": interval([p.hit - p.centre for p in played]),
        "heat_inside": interval([p.heat for p in played]),
    }
