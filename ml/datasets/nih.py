"""NIH ChestX-ray14 as it is published (Wang et al. 2017), whole or in part.

Data_Entry_2017.csv (or _v2020), train_val_list.txt and test_list.txt beside it, images
in images/ or in images_001/images/ to images_012/images/.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ml.datasets.manifest import ManifestRow, age_of, sex_of
from ml.datasets.tables import columns_of, first_few, labels_of, plain_names, read_table
from ml.errors import TrainingError

logger = logging.getLogger(__name__)

TABLE_PATTERN = "Data_Entry_2017*.csv"
NEEDED_COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
IMAGE_FOLDERS = ("images", "images_*/images", "images_*")
DATASET = "nih"
LICENCE = "NIH: no restriction, cite Wang et al. 2017"


def find_nih_table(root: Path) -> Path | None:
    """Return the table of ChestX-ray14 in a folder, if it is there."""
    return next(iter(sorted(root.glob(TABLE_PATTERN))), None)


def is_nih_table(names: Iterable[str]) -> bool:
    """Say whether a table's columns are those of ChestX-ray14."""
    return plain_names(NEEDED_COLUMNS) <= plain_names(names)


def read_nih(root: Path, labels_csv: Path | None = None) -> list[ManifestRow]:
    """Read ChestX-ray14: split by the official lists where they are there.

    Where there is a list, an image in none is left out: it may be one of the official
    test. Images of the table that are not on disk are left out, too: many work with
    some of the twelve parts.

    Raises:
        TrainingError: There is no table, it lacks a column, no image of it is there,
            or the list of the test is there without that of the training.
    """
    table = labels_csv or find_nih_table(root)
    if table is None:
        raise TrainingError(f"There is no {TABLE_PATTERN} in {root}.")
    missing = plain_names(NEEDED_COLUMNS) - plain_names(columns_of(table))
    if missing:
        raise TrainingError(f"{table} lacks columns: {', '.join(NEEDED_COLUMNS)}.")
    images, splits = _images(root), _splits(root, table.parent)
    lines = read_table(table)
    if splits:
        lines = _listed(lines, splits, table)
    rows = [
        _row(line, images[line["imageindex"]], splits)
        for line in lines
        if line.get("imageindex") in images
    ]
    absent = [
        line.get("imageindex", "")
        for line in lines
        if line.get("imageindex") not in images
    ]
    if not rows:
        raise TrainingError(f"None of the images of {table} is in {root}.")
    if absent:
        logger.warning(
            "%d of %d images of %s are not on disk and left out: %s",
            len(absent),
            len(lines),
            table.name,
            first_few(absent),
        )
    return rows


def _listed(
    lines: list[dict[str, str]], splits: dict[str, str], table: Path
) -> list[dict[str, str]]:
    """Return the lines of images that an official list names; tell of the others."""
    if "train" not in splits.values():
        raise TrainingError(
            f"{', '.join(LISTS)}: the list of training images is not beside {table}."
        )
    listed = [line for line in lines if line.get("imageindex") in splits]
    if len(listed) < len(lines):
        logger.warning(
            "%d images of %s are in no official list and left out: they may be test",
            len(lines) - len(listed),
            table.name,
        )
    return listed


def _row(line: dict[str, str], path: str, splits: dict[str, str]) -> ManifestRow:
    patient = line["patientid"].strip()
    return ManifestRow(
        path=path,
        dataset=DATASET,
        split=splits[line["imageindex"]] if splits else "train",
        patient=f"{DATASET}-{patient.lstrip('0') or patient}",
        view=line.get("viewposition", "").strip().upper(),
        licence=LICENCE,
        labels=labels_of(line["findinglabels"]),
        # The table of 2017 calls it gender, that of 2020 sex.
        sex=sex_of(line.get("patientgender") or line.get("patientsex") or ""),
        age_years=age_of(line.get("patientage", "")),
    )


def _images(root: Path) -> dict[str, str]:
    """Return where each image is, below `root`, by its file's name."""
    folders = [part for each in IMAGE_FOLDERS for part in sorted(root.glob(each))]
    found: dict[str, str] = {}
    for folder in (*folders, root):
        for image in folder.glob("*.png"):
            found.setdefault(image.name, image.relative_to(root).as_posix())
    return found


def _splits(*folders: Path) -> dict[str, str]:
    """Return the split of each image of the lists; empty where there is no list."""
    splits: dict[str, str] = {}
    for name, split in LISTS.items():
        path = next((f / name for f in folders if (f / name).is_file()), None)
        if path is None:
            continue
        for image in path.read_text(encoding="utf-8").split():
            if splits.setdefault(image, split) != split:
                raise TrainingError(f"{image} is in both lists of images.")
    return splits
