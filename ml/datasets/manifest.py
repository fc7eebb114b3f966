"""Manifests: the images of a data set with labels, patients and splits.

A manifest is a CSV file with at least the columns path and labels (joined by |). The
columns dataset, split, patient_id, view, licence, sex, age_years, modality, boxes,
original_width and original_height are optional.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.datasets.boxes import Box, boxes_of
from ml.datasets.image_cache import PackedImages, pack_images, packed_image
from ml.errors import TrainingError
from ml.labels import resolve

__all__ = [
    "LabelledImage",
    "ManifestRow",
    "PackedImages",
    "Selection",
    "age_of",
    "drawn_percent",
    "hold_out",
    "pack_images",
    "packed_image",
    "read_manifest",
    "refuse_shared_patients",
    "select_images",
    "sex_of",
    "with_split",
]

AGE = re.compile(r"(\d+(?:\.\d+)?)([DWMY]?)")
AGE_UNITS_A_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
OLDEST_YEARS = 130.0


@dataclass(frozen=True)
class ManifestRow:
    """One image of a manifest with its labels.

    `sex` is F, M, O or "" if unknown; `age_years` is None if unknown.
    """

    path: str
    dataset: str
    split: str
    patient: str
    view: str
    licence: str
    labels: tuple[str, ...]
    sex: str = ""
    age_years: float | None = None
    modality: str = ""
    boxes: tuple[Box, ...] = ()
    original_width: int | None = None
    original_height: int | None = None


@dataclass(frozen=True)
class LabelledImage:
    """An image with its one label for a softmax model."""

    row: ManifestRow
    label: str
    class_index: int


@dataclass(frozen=True)
class Selection:
    """The images that a softmax model can use, and the paths of those excluded."""

    images: tuple[LabelledImage, ...]
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest.

    Raises:
        TrainingError: The file cannot be read or lacks the columns path and labels.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = {"path", "labels"} - set(reader.fieldnames or ())
            if missing:
                raise TrainingError(
                    "%(path)s lacks these columns: %(columns)s.",
                    params={"path": str(path), "columns": ", ".join(sorted(missing))},
                )
            return [_manifest_row(values) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(
            "The manifest %(path)s cannot be read: %(error)s.",
            params={"path": str(path), "error": str(error)},
        ) from error


def _manifest_row(values: dict[str, str]) -> ManifestRow:
    labels = tuple(part.strip() for part in (values["labels"] or "").split("|"))
    return ManifestRow(
        path=values["path"],
        dataset=values.get("dataset") or "",
        split=values.get("split") or "",
        # Without a patient identifier, each image counts as a separate patient.
        patient=values.get("patient_id") or values["path"],
        view=(values.get("view") or "").upper(),
        licence=values.get("licence") or "",
        labels=tuple(label for label in labels if label),
        sex=sex_of(values.get("sex") or ""),
        age_years=age_of(values.get("age_years") or ""),
        modality=(values.get("modality") or "").upper(),
        boxes=boxes_of(values.get("boxes") or ""),
        original_width=_pixels(values.get("original_width") or ""),
        original_height=_pixels(values.get("original_height") or ""),
    )


def _pixels(text: str) -> int | None:
    return int(text) if text.strip().isdigit() and int(text) > 0 else None


def sex_of(text: str) -> str:
    """Return M, F or O (PS3.3 C.7.1.1) for a word or letter, else an empty string."""
    letter = text.strip().upper()[:1]
    return letter if letter in ("M", "F", "O") else ""


def age_of(text: str) -> float | None:
    """Return years for a number or a DICOM age string (PS3.5 6.2, AS: 008M).

    An age above 130 counts as unknown: ChestX-ray14 has some of over 400 years.
    """
    match = AGE.fullmatch(text.strip().upper())
    if match is None:
        return None
    years = float(match[1]) / AGE_UNITS_A_YEAR[match[2] or "Y"]
    return years if years <= OLDEST_YEARS else None


def refuse_shared_patients(rows: Iterable[ManifestRow]) -> None:
    """Raise an error if a patient is in more than one split.

    Raises:
        TrainingError: Names the first few of these patients.
    """
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.patient, set()).add(row.split)
    shared = sorted(patient for patient, names in splits.items() if len(names) > 1)
    if shared:
        raise TrainingError(
            "%(count)d patients are in more than one split, so results would be too "
            "good: %(patients)s.",
            params={"count": len(shared), "patients": ", ".join(shared[:5])},
            reason_code="patients_shared",
        )


def select_images(rows: Iterable[ManifestRow], names: Sequence[str]) -> Selection:
    """Give each image its most specific label; exclude images without a single one."""
    images: list[LabelledImage] = []
    excluded: dict[str, list[str]] = {"unknown": [], "ambiguous": []}
    for row in rows:
        resolution = resolve(row.labels, names)
        if resolution.label is None:
            excluded[resolution.reason].append(row.path)
        else:
            index = list(names).index(resolution.label)
            images.append(LabelledImage(row, resolution.label, index))
    return Selection(
        tuple(images), tuple(excluded["unknown"]), tuple(excluded["ambiguous"])
    )


def hold_out(
    images: Sequence[LabelledImage], *, percent: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Hold out the images of some patients, whatever the order of the rows.

    Returns:
        The remaining images, and those of about `percent` of the patients.
    """
    remaining: list[LabelledImage] = []
    held_out: list[LabelledImage] = []
    for image in images:
        drawn = drawn_percent(image.row.patient)
        (held_out if drawn < percent else remaining).append(image)
    return remaining, held_out


def drawn_percent(name: str) -> int:
    """Return a number from 0 to 99 that depends on the name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100


def with_split(rows: Iterable[ManifestRow], split: str) -> list[ManifestRow]:
    """Return the rows of one split."""
    return [row for row in rows if row.split == split]
