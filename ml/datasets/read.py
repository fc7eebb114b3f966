"""Data sets as they are published: each layout becomes the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ml.datasets.class_folders import has_class_folders, read_class_folders
from ml.datasets.dicom_folder import find_dicom_table, is_dicom_table, read_dicom_folder
from ml.datasets.manifest import (
    ManifestRow,
    drawn_percent,
    read_manifest,
    refuse_shared_patients,
)
from ml.datasets.nih import find_nih_table, is_nih_table, read_nih
from ml.datasets.tables import columns_of
from ml.errors import TrainingError

MANIFEST_NAME = "manifest.csv"
AUTO = "auto"
VAL_PERCENT = 10


def read_dataset(
    path: Path, *, layout: str = AUTO, labels_csv: Path | None = None
) -> list[ManifestRow]:
    """Read a data set; where it has no val split, some train patients become it.

    Args:
        path: The folder that the paths of the rows start from, or a table in it.
        layout: A name in `LAYOUTS`, or "auto": told by what is in the folder.
        labels_csv: The table of labels where it is not at its usual place.

    Returns:
        A row an image, sorted as the layout lists them.

    Raises:
        TrainingError: Nothing is recognised, a table lacks a column, images of a DICOM
            table are missing, or a patient stands in two splits (`patients_shared`).
    """
    if path.is_file():
        path, labels_csv = path.parent, labels_csv or path
    if not path.is_dir():
        raise TrainingError(f"{path} is no folder.")
    if layout == AUTO:
        layout = _layout_of(path, labels_csv)
    if layout not in LAYOUTS:
        known = ", ".join((AUTO, *LAYOUTS))
        raise TrainingError(f"No layout is called {layout!r}; known: {known}.")
    rows = LAYOUTS[layout](path, labels_csv)
    if not rows:
        raise TrainingError(f"There is no image in {path}.")
    refuse_shared_patients(rows)
    return with_val_patients(rows)


def with_val_patients(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Set some patients aside as val where no row says val: always the same ones.

    Rows without a split count as train; test stays as it is.
    """
    if any(row.split == "val" for row in rows):
        return list(rows)
    return [
        replace(row, split=_dealt(row)) if row.split in ("", "train") else row
        for row in rows
    ]


def _dealt(row: ManifestRow) -> str:
    # Salted: the patients held out from train are drawn by the plain hash.
    drawn = drawn_percent(f"val\0{row.patient}")
    return "val" if drawn < VAL_PERCENT else "train"


def _layout_of(root: Path, labels_csv: Path | None) -> str:
    """Tell the layout by its table, else by the folders."""
    if labels_csv is not None:
        return _layout_of_table(labels_csv, root)
    if (root / MANIFEST_NAME).is_file():
        return "manifest"
    if find_nih_table(root) is not None:
        return "nih"
    if find_dicom_table(root) is not None:
        return "dicom"
    if has_class_folders(root):
        return "folders"
    raise TrainingError(
        f"{root} is none of the layouts known: a {MANIFEST_NAME}, Data_Entry_2017.csv "
        "of ChestX-ray14, folders train/<class> or <class>, or DICOM files with a "
        "table of labels."
    )


def _layout_of_table(table: Path, root: Path) -> str:
    if is_nih_table(columns_of(table)):
        return "nih"
    return "dicom" if is_dicom_table(table, root) else "manifest"


def _read_manifest(path: Path, labels_csv: Path | None) -> list[ManifestRow]:
    return read_manifest(labels_csv or path / MANIFEST_NAME)


def _read_folders(path: Path, labels_csv: Path | None) -> list[ManifestRow]:
    if labels_csv is not None:
        raise TrainingError("In this layout the folders are the labels: no table.")
    return read_class_folders(path)


LAYOUTS: dict[str, Callable[[Path, Path | None], list[ManifestRow]]] = {
    "manifest": _read_manifest,
    "nih": read_nih,
    "folders": _read_folders,
    "dicom": read_dicom_folder,
}
