"""Images for training and measuring: rows of a data set, and parts of it by patient.

A manifest is a CSV with at least the columns path and labels (joined by |); dataset,
split, patient_id, view, licence, sex, age_years, modality, boxes, original_width and
original_height are used where they are there.
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
    """One image of a manifest, with the labels it carries there.

    `sex` is F, M, O or "" where it is not known; `age_years` None likewise.
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
    """An image with the one label it has under a softmax model."""

    row: ManifestRow
    label: str
    class_index: int


@dataclass(frozen=True)
class Selection:
    """The images that a softmax model can learn from, and those left out with why."""

    images: tuple[LabelledImage, ...]
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest.

    Raises:
        TrainingError: The file is not there or lacks the columns path and labels.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = {"path", "labels"} - set(reader.fieldnames or ())
            if missing:
                names = ", ".join(sorted(missing))
                raise TrainingError(f"{path} lacks the columns: {names}.")
            return [_manifest_row(values) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"The manifest {path} cannot be read: {error}.") from error


def _manifest_row(values: dict[str, str]) -> ManifestRow:
    labels = tuple(part.strip() for part in (values["labels"] or "").split("|"))
    return ManifestRow(
        path=values["path"],
        dataset=values.get("dataset") or "",
        split=values.get("split") or "",
        # Without an identifier each image is taken for a patient of its own.
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
    """Return DICOM's letter (PS3.3 C.7.1.1: M, F or O) for a word, or nothing."""
    letter = text.strip().upper()[:1]
    return letter if letter in ("M", "F", "O") else ""


def age_of(text: str) -> float | None:
    """Return years for a number or a DICOM age string (PS3.5 6.2, AS: 008M).

    An age above 130 is none: ChestX-ray14 has some of over 400 years.
    """
    found = AGE.fullmatch(text.strip().upper())
    if found is None:
        return None
    years = float(found[1]) / AGE_UNITS_A_YEAR[found[2] or "Y"]
    return years if years <= OLDEST_YEARS else None


def refuse_shared_patients(rows: Iterable[ManifestRow]) -> None:
    """Refuse a manifest in which a patient stands in two splits.

    Raises:
        TrainingError: With the first few of those patients.
    """
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.patient, set()).add(row.split)
    shared = sorted(patient for patient, found in splits.items() if len(found) > 1)
    if shared:
        raise TrainingError(
            f"{len(shared)} patients stand in more than one split, so a figure would "
            f"measure memory: {', '.join(shared[:5])}.",
            reason_code="patients_shared",
        )


def select_images(rows: Iterable[ManifestRow], names: Sequence[str]) -> Selection:
    """Give each image its most specific label; list those that have no single one."""
    images: list[LabelledImage] = []
    left_out: dict[str, list[str]] = {"unknown": [], "ambiguous": []}
    for row in rows:
        resolution = resolve(row.labels, names)
        if resolution.label is None:
            left_out[resolution.reason].append(row.path)
        else:
            index = list(names).index(resolution.label)
            images.append(LabelledImage(row, resolution.label, index))
    return Selection(
        tuple(images), tuple(left_out["unknown"]), tuple(left_out["ambiguous"])
    )


def hold_out(
    images: Sequence[LabelledImage], *, percent: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Set images of some patients aside, the same ones whatever the order of the rows.

    Returns:
        The images that stay, and those of about `percent` of the patients.
    """
    stay: list[LabelledImage] = []
    aside: list[LabelledImage] = []
    for image in images:
        drawn = drawn_percent(image.row.patient)
        (aside if drawn < percent else stay).append(image)
    return stay, aside


def drawn_percent(name: str) -> int:
    """Return 0 to 99, always the same for a name."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100


def with_split(rows: Iterable[ManifestRow], split: str) -> list[ManifestRow]:
    """Return the rows of one split."""
    return [row for row in rows if row.split == split]
