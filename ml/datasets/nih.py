"""NIH ChestX-ray14 in its published layout (Wang et al. 2017), complete or in part.

Data_Entry_2017.csv (or _v2020) with train_val_list.txt and test_list.txt beside it;
images in images/ or in images_001/images/ to images_012/images/.
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
# The official lists; copies on Kaggle have the second name.
LISTS = {
    "train": ("train_val_list.txt", "train_val_list_NIH.txt"),
    "test": ("test_list.txt", "test_list_NIH.txt"),
}
IMAGE_FOLDERS = ("images", "images_*/images", "images_*")
DATASET = "nih"
LICENCE = "NIH: no restriction, cite Wang et al. 2017"


def find_nih_table(root: Path) -> Path | None:
    """Return the table of ChestX-ray14 in a folder, else None."""
    return next(iter(sorted(root.glob(TABLE_PATTERN))), None)


def is_nih_table(names: Iterable[str]) -> bool:
    """Tell whether a table has the columns of ChestX-ray14."""
    return plain_names(NEEDED_COLUMNS) <= plain_names(names)


def read_nih(root: Path, labels_csv: Path | None = None) -> list[ManifestRow]:
    """Read ChestX-ray14, with the official splits if their lists are present.

    With lists, images in none of them are skipped, since they may belong to the
    official test set. Images that are not on disk are skipped, too: many users have
    only some of the twelve parts.

    Raises:
        TrainingError: There is no table, it lacks a column, none of its images is on
            disk, or the test list is present without the training list.
    """
    table = labels_csv or find_nih_table(root)
    if table is None:
        raise TrainingError(
            "There is no %(pattern)s in %(folder)s.",
            params={"pattern": TABLE_PATTERN, "folder": str(root)},
        )
    missing = plain_names(NEEDED_COLUMNS) - plain_names(columns_of(table))
    if missing:
        raise TrainingError(
            "%(table)s needs these columns: %(columns)s.",
            params={"table": str(table), "columns": ", ".join(NEEDED_COLUMNS)},
        )
    images, splits = _images(root), _splits(root, table.parent)
    lines = _without_repeated(read_table(table), table)
    if splits:
        lines = _listed(lines, splits, table)
    rows = [
        _row(line, images[line["imageindex"].lower()], splits)
        for line in lines
        if line.get("imageindex", "").lower() in images
    ]
    absent = [
        line.get("imageindex", "")
        for line in lines
        if line.get("imageindex", "").lower() not in images
    ]
    if not rows:
        raise TrainingError(
            "None of the images of %(table)s is in %(folder)s.",
            params={"table": str(table), "folder": str(root)},
        )
    if absent:
        logger.warning(
            "Skipped %d of %d images of %s that are not on disk: %s",
            len(absent),
            len(lines),
            table.name,
            first_few(absent),
        )
    return rows


def _without_repeated(lines: list[dict[str, str]], table: Path) -> list[dict[str, str]]:
    """Return the lines with each image once.

    Raises:
        TrainingError: An image is named twice, with other labels or another patient.
    """
    by_name: dict[str, dict[str, str]] = {}
    for line in lines:
        first = by_name.setdefault(line.get("imageindex", "").lower(), line)
        if _decided(first) != _decided(line):
            raise TrainingError(
                "%(table)s names the image %(image)s twice, with different labels or "
                "patients. Correct the table.",
                params={"table": str(table), "image": line.get("imageindex", "")},
            )
    return list(by_name.values())


def _decided(line: dict[str, str]) -> tuple[frozenset[str], str]:
    """Return the labels and the patient of a line, however they are written."""
    labels = labels_of(line.get("findinglabels", ""))
    return frozenset(labels), line.get("patientid", "").strip().lstrip("0")


def _listed(
    lines: list[dict[str, str]], splits: dict[str, str], table: Path
) -> list[dict[str, str]]:
    """Return the lines of images in an official list; log how many are skipped."""
    if "train" not in splits.values():
        raise TrainingError(
            "The list of training images %(list)s is missing beside %(table)s.",
            params={"list": LISTS["train"][0], "table": str(table)},
        )
    listed = [line for line in lines if line.get("imageindex", "").lower() in splits]
    if len(listed) < len(lines):
        logger.warning(
            "Skipped %d images of %s that are in no official list: they may be test",
            len(lines) - len(listed),
            table.name,
        )
    return listed


def _row(line: dict[str, str], path: str, splits: dict[str, str]) -> ManifestRow:
    patient = line["patientid"].strip()
    return ManifestRow(
        path=path,
        dataset=DATASET,
        split=splits[line["imageindex"].lower()] if splits else "train",
        patient=f"{DATASET}-{patient.lstrip('0') or patient}",
        view=line.get("viewposition", "").strip().upper(),
        licence=LICENCE,
        labels=labels_of(line["findinglabels"]),
        # The column is named gender in the table of 2017, sex in that of 2020.
        sex=sex_of(line.get("patientgender") or line.get("patientsex") or ""),
        age_years=age_of(line.get("patientage", "")),
    )


def _images(root: Path) -> dict[str, str]:
    """Return the path of each image below `root`, by file name in small letters."""
    folders = [part for each in IMAGE_FOLDERS for part in sorted(root.glob(each))]
    paths: dict[str, str] = {}
    for folder in (*folders, root):
        for image in sorted(folder.iterdir()) if folder.is_dir() else ():
            if image.suffix.lower() == ".png":
                name = image.name.lower()
                paths.setdefault(name, image.relative_to(root).as_posix())
    return paths


def _splits(*folders: Path) -> dict[str, str]:
    """Return the split of each image, in small letters, in the official lists.

    Without lists it is empty, and a warning says so: images of the official test set
    are among those for training then.
    """
    splits: dict[str, str] = {}
    for split, names in LISTS.items():
        places = (folder / name for folder in folders for name in names)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            continue
        for image in path.read_text(encoding="utf-8").lower().split():
            if splits.setdefault(image, split) != split:
                raise TrainingError(
                    "%(image)s is in both lists of images.", params={"image": image}
                )
    if not splits:
        logger.warning(
            "No official list of images was found (%s): images of the official test "
            "set may be trained on",
            ", ".join(name for names in LISTS.values() for name in names),
        )
    return splits
