"""Bounding boxes around findings, as a manifest lists them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.errors import TrainingError
from ml.labels import PARENTS

# Names in the box list of ChestX-ray14 that differ from its label list.
BOX_SYNONYMS = {"Infiltrate": "Infiltration", "Lung Opacity": "Lung opacity"}
# What readers draw who do not name the disease, and the labels that it may be.
BOX_MEANINGS = {"Lung opacity": ("Pneumonia", "Infiltration", "Consolidation")}


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the original image, before any resizing."""

    label: str
    left: float
    top: float
    width: float
    height: float


def boxes_of(text: str) -> tuple[Box, ...]:
    """Parse a JSON list of [label, x, y, width, height].

    Raises:
        TrainingError: The text is not such a list.
    """
    if not text:
        return ()
    try:
        return tuple(
            Box(str(label), *(float(value) for value in place))
            for label, *place in json.loads(text)
        )
    except (ValueError, TypeError) as error:
        raise TrainingError(
            "The boxes cannot be read: %(boxes)s.", params={"boxes": text[:80]}
        ) from error


def labels_of_box(label: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of a model that a box stands for.

    A box of a general label stands for all its subtypes: Pneumonia for bacterial and
    viral pneumonia. One of Lung opacity stands for every label that it may be.
    """
    label = BOX_SYNONYMS.get(label, label)
    meant = BOX_MEANINGS.get(label, (label,))
    return tuple(
        name
        for name in names
        if name in meant or (PARENTS.get(name) in meant and PARENTS[name] not in names)
    )


def box_mask(
    boxes: Sequence[Box], *, original: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    """Draw boxes as a mask over a stored image.

    Args:
        boxes: In pixels of the original image.
        original: Its width and height.
        shape: The stored image's height and width.

    Returns:
        bool `shape`, true inside any box.
    """
    across, down = shape[1] / original[0], shape[0] / original[1]
    mask = np.zeros(shape, bool)
    for box in boxes:
        rows = slice(
            max(0, round(box.top * down)), round((box.top + box.height) * down)
        )
        columns = slice(
            max(0, round(box.left * across)), round((box.left + box.width) * across)
        )
        mask[rows, columns] = True
    return mask
