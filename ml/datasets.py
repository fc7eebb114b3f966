"""Films for training and measuring: the manifest, patient-wise parts, the film cache.

A manifest is a CSV with at least the columns path and labels (joined by |); dataset,
split, patient_id, view and licence are used where they are there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ml.errors import TrainingError
from ml.labels import resolve
from ml.pixels import read_display
from ml.preprocessing import PREPROCESSING_VERSION, crop, find_geometry

# Longest side of a packed film: twice the largest input and more.
PACKED_SIDE = 384


@dataclass(frozen=True)
class ManifestRow:
    """One film of a manifest, with the labels it carries there."""

    path: str
    dataset: str
    split: str
    patient: str
    view: str
    licence: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LabelledFilm:
    """A film with the one label it has under a softmax model."""

    row: ManifestRow
    label: str
    class_index: int


@dataclass(frozen=True)
class Selection:
    """The films that a softmax model can learn from, and those left out with why."""

    films: tuple[LabelledFilm, ...]
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest.

    Raises:
        TrainingError: The file is not there or lacks the columns path and labels.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
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
        # Without an identifier each film is taken for a patient of its own.
        patient=values.get("patient_id") or values["path"],
        view=(values.get("view") or "").upper(),
        licence=values.get("licence") or "",
        labels=tuple(label for label in labels if label),
    )


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


def select_films(rows: Iterable[ManifestRow], names: Sequence[str]) -> Selection:
    """Give each film its most specific label; list those that have no single one."""
    films: list[LabelledFilm] = []
    left_out: dict[str, list[str]] = {"unknown": [], "ambiguous": []}
    for row in rows:
        resolution = resolve(row.labels, names)
        if resolution.label is None:
            left_out[resolution.reason].append(row.path)
        else:
            index = list(names).index(resolution.label)
            films.append(LabelledFilm(row, resolution.label, index))
    return Selection(
        tuple(films), tuple(left_out["unknown"]), tuple(left_out["ambiguous"])
    )


def hold_out(
    films: Sequence[LabelledFilm], *, percent: int
) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """Set films of some patients aside, the same ones whatever the order of the rows.

    Returns:
        The films that stay, and those of about `percent` of the patients.
    """
    stay: list[LabelledFilm] = []
    aside: list[LabelledFilm] = []
    for film in films:
        digest = hashlib.sha256(film.row.patient.encode()).digest()
        drawn = int.from_bytes(digest[:4], "big") % 100
        (aside if drawn < percent else stay).append(film)
    return stay, aside


@dataclass(frozen=True)
class PackedFilms:
    """Cropped films in one memory-mapped file; `film(i)` is uint8 (height, width)."""

    values: np.ndarray
    offsets: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.shapes)

    def film(self, index: int) -> np.ndarray:
        """Return film `index`, uint8 (height, width), cropped, not yet squashed."""
        height, width = (int(x) for x in self.shapes[index])
        start = int(self.offsets[index])
        return self.values[start : start + height * width].reshape(height, width)


def pack_films(paths: Sequence[str], *, root: Path, cache_dir: Path) -> PackedFilms:
    """Crop films once, by the geometry of inference, into a small cache.

    The cache is named after the paths, their sizes and the preprocessing version, and
    is written to a temporary name first: an interrupted run leaves nothing half-made.

    Raises:
        TrainingError: A film is missing or cannot be read.
    """
    key = _cache_key(paths, root)
    values_path = cache_dir / f"films-{key}.u8"
    index_path = cache_dir / f"films-{key}.json"
    if not index_path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        _write_cache(paths, root, values_path, index_path)
    shapes = np.array(json.loads(index_path.read_text()), np.int64).reshape(-1, 2)
    sizes = shapes[:, 0] * shapes[:, 1]
    offsets = np.concatenate(([0], np.cumsum(sizes)[:-1])) if len(sizes) else sizes
    return PackedFilms(np.memmap(values_path, np.uint8, "r"), offsets, shapes)


def _cache_key(paths: Sequence[str], root: Path) -> str:
    digest = hashlib.sha256(f"{PREPROCESSING_VERSION} {PACKED_SIDE}".encode())
    for path in paths:
        try:
            size = (root / path).stat().st_size
        except OSError as error:
            raise TrainingError(f"The film {path} is not in {root}.") from error
        digest.update(f"{path}\0{size}\0".encode())
    return digest.hexdigest()[:24]


def _write_cache(
    paths: Sequence[str], root: Path, values_path: Path, index_path: Path
) -> None:
    shapes: list[tuple[int, int]] = []
    temporary = values_path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as out:
        for path in paths:
            film = packed_film(read_display((root / path).read_bytes()))
            shapes.append(film.shape)
            out.write(film.tobytes())
    temporary.replace(values_path)
    temporary_index = index_path.with_suffix(f".{os.getpid()}.tmp")
    temporary_index.write_text(json.dumps(shapes))
    temporary_index.replace(index_path)


def packed_film(display: np.ndarray) -> np.ndarray:
    """Crop a uint16 film and bring it to 8 bits and at most PACKED_SIDE a side."""
    film = crop(display, find_geometry(display, size=PACKED_SIDE))
    longest = max(film.shape)
    if longest > PACKED_SIDE:
        share = PACKED_SIDE / longest
        height, width = (max(1, round(side * share)) for side in film.shape)
        film = cv2.resize(film, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray((film // 257).astype(np.uint8))


def with_split(rows: Iterable[ManifestRow], split: str) -> list[ManifestRow]:
    """Return the rows of one split."""
    return [row for row in rows if row.split == split]
