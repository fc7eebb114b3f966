"""Read a data set in any of its published layouts, as manifest rows."""

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
    """Read a data set; without a val split, some train patients form one.

    Args:
        path: The folder that the paths of the rows are relative to, or a table in it.
        layout: A name in `LAYOUTS`, or "auto" to recognise it by the folder's content.
        labels_csv: The table of labels, if it is not at its usual place.

    Returns:
        One row per image, in the order of the layout.

    Raises:
        TrainingError: No layout is recognised, a table lacks a column, images of a
            DICOM table are missing, an image is listed twice with other labels, or a
            patient is in two splits (`patients_shared`).
    """
    if path.is_file():
        path, labels_csv = path.parent, labels_csv or path
    if not path.is_dir():
        raise TrainingError("%(path)s is not a folder.", params={"path": str(path)})
    if layout == AUTO:
        layout = _layout_of(path, labels_csv)
    if layout not in LAYOUTS:
        raise TrainingError(
            "There is no layout %(layout)s. Known: %(known)s.",
            params={"layout": layout, "known": ", ".join((AUTO, *LAYOUTS))},
        )
    rows = LAYOUTS[layout](path, labels_csv)
    if not rows:
        raise TrainingError(
            "There are no images in %(path)s.", params={"path": str(path)}
        )
    rows = each_once(rows)
    refuse_shared_patients(rows)
    return with_val_patients(rows)


def each_once(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Return the rows with each image once.

    Raises:
        TrainingError: An image is listed twice, with other labels, another patient or
            split.
    """
    by_path: dict[str, ManifestRow] = {}
    for row in rows:
        first = by_path.setdefault(row.path, row)
        if _decided(first) != _decided(row):
            raise TrainingError(
                "The image %(image)s is listed twice, with different labels, patients "
                "or splits. Correct the table.",
                params={"image": row.path},
            )
    return list(by_path.values())


def _decided(row: ManifestRow) -> tuple[frozenset[str], str, str]:
    return frozenset(row.labels), row.patient, row.split


def with_val_patients(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Assign some patients to val if no row is val; the same patients every time.

    Rows without a split count as train; the test split is unchanged.
    """
    if any(row.split == "val" for row in rows):
        return list(rows)
    return [
        replace(row, split=_train_or_val(row)) if row.split in ("", "train") else row
        for row in rows
    ]


def _train_or_val(row: ManifestRow) -> str:
    # Salted, since `hold_out` draws from train by the plain hash.
    drawn = drawn_percent(f"val\0{row.patient}")
    return "val" if drawn < VAL_PERCENT else "train"


def _layout_of(root: Path, labels_csv: Path | None) -> str:
    """Recognise the layout by its table, else by the folders."""
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
        "%(folder)s has no known layout. Known layouts: a file manifest.csv; "
        "Data_Entry_2017.csv of ChestX-ray14; folders train/CLASS or CLASS; DICOM "
        "files with a table of labels.",
        params={"folder": str(root)},
    )


def _layout_of_table(table: Path, root: Path) -> str:
    if is_nih_table(columns_of(table)):
        return "nih"
    return "dicom" if is_dicom_table(table, root) else "manifest"


def _read_manifest(path: Path, labels_csv: Path | None) -> list[ManifestRow]:
    return read_manifest(labels_csv or path / MANIFEST_NAME)


def _read_folders(path: Path, labels_csv: Path | None) -> list[ManifestRow]:
    if labels_csv is not None:
        raise TrainingError(
            "The layout folders takes no table: the folder names are the labels."
        )
    return read_class_folders(path)


LAYOUTS: dict[str, Callable[[Path, Path | None], list[ManifestRow]]] = {
    "manifest": _read_manifest,
    "nih": read_nih,
    "folders": _read_folders,
    "dicom": read_dicom_folder,
}
