"""Which images a trial learns from and which it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ml.datasets.image_cache import PackedImages
from ml.datasets.manifest import ManifestRow
from ml.errors import TrainingError

# Sources that share patients, unknown to us which: all from ChestX-ray14.
OVERLAPPING = (("nih", "nih-emphysema", "rsna-normal"),)
HASH_SIDE = 16
# Bits of 256 that two images may differ in and still count as one.
MOST_DIFFERENT_BITS = 25


@dataclass(frozen=True)
class Split:
    """Images to learn from and to measure on, without a patient in common."""

    train: tuple[ManifestRow, ...]
    test: tuple[ManifestRow, ...]


def split_by_patient(rows: Sequence[ManifestRow], *, folds: int) -> list[Split]:
    """Cut images into folds by patient; each fold is measured once.

    The patients of each source, labels and view are cut in the order of their names,
    all at the same places: neighbours, which may be one person or one device, are
    measured together.
    """
    blocks: dict[tuple[str, ...], list[str]] = {}
    seen: set[str] = set()
    for row in sorted(rows, key=lambda row: row.path):
        if row.patient not in seen:
            seen.add(row.patient)
            key = (row.dataset, "|".join(row.labels), row.view)
            blocks.setdefault(key, []).append(row.patient)
    fold_of = {
        patient: place * folds // len(block)
        for block in blocks.values()
        for place, patient in enumerate(block)
    }
    splits = [
        Split(
            train=tuple(row for row in rows if fold_of[row.patient] != fold),
            test=tuple(row for row in rows if fold_of[row.patient] == fold),
        )
        for fold in range(folds)
    ]
    if any(not split.train or not split.test for split in splits):
        raise TrainingError(
            "There are too few patients for %(folds)d folds.", params={"folds": folds}
        )
    return splits


def left_out_with(sources: Sequence[str]) -> tuple[str, ...]:
    """Return sources with all others that may have patients in common with them."""
    together = set(sources)
    for group in OVERLAPPING:
        if together & set(group):
            together |= set(group)
    return tuple(sorted(together))


def leave_sources_out(
    rows: Sequence[ManifestRow], *, learned: Sequence[str], measured: Sequence[str]
) -> Split:
    """Learn from the train split of some sources, measure on all images of others."""
    without = left_out_with(measured)
    split = Split(
        train=tuple(
            row
            for row in rows
            if row.split == "train" and row.dataset in learned
            if row.dataset not in without
        ),
        test=tuple(row for row in rows if row.dataset in measured),
    )
    if not split.train or not split.test:
        raise TrainingError(
            "Without %(sources)s, there is no image to learn from or none to measure.",
            params={"sources": ", ".join(without)},
        )
    return split


def image_hashes(images: PackedImages) -> np.ndarray:
    """Return the difference hash of each image, int8 (images, 256) of -1 and 1.

    A bit is whether a field of a 16 x 16 grid is lighter than its left neighbour.
    """
    hashes = np.empty((len(images), HASH_SIDE * HASH_SIDE), np.int8)
    for number in range(len(images)):
        small = cv2.resize(
            images.deep_image(number).astype(np.float32),
            (HASH_SIDE + 1, HASH_SIDE),
            interpolation=cv2.INTER_AREA,
        )
        hashes[number] = np.where(np.diff(small, axis=1) > 0, 1, -1).ravel()
    return hashes


def near_duplicates(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return bool (images,): which images look like one of the others."""
    bits = hashes.shape[1]
    alike = hashes.astype(np.float32) @ others.astype(np.float32).T
    return ((bits - alike) / 2 <= MOST_DIFFERENT_BITS).any(axis=1)
