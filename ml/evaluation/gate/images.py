"""Images that a gate must refuse: made wrong, drawn, or of something else.

Made of val images, drawn, and found in folders and in what is installed here anyway:
test objects of pydicom, sample pictures of scikit-image.
"""

from __future__ import annotations

import hashlib
import importlib.util
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import Dataset

from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.images.pictures import channels_differ
from ml.pixels import (
    PREAMBLE_LENGTH,
    display_frame,
    is_colour,
    picture_display,
    read_dataset,
    read_display,
    read_picture,
)

WHITE = 65535
SEED = 977
MADE_WRONG_EACH = 60
DRAWN_EACH = 40
SHORTEST_SIDE = 32
# Folders of installed packages.
PICTURES = ("skimage", "data")
OBJECTS = ("pydicom", "data/test_files")
DOCUMENTS_OF = ("Django", "numpy", "pydicom", "keras", "celery", "pillow")
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
CHEST_PARTS = {"", "CHEST", "THORAX", "LUNG"}
FRONTAL_MODALITIES = {"CR", "DX", "RG"}


@dataclass(frozen=True)
class TrialImage:
    """An image with the kind that it is reported under; display is uint16 (H, W)."""

    kind: str
    name: str
    display: np.ndarray
    colour: bool = False


def images_made_wrong(
    rows: Sequence[ManifestRow], *, root: Path
) -> Iterator[TrialImage]:
    """Rotate, invert and crop images: different ones of every source for each kind."""
    rng = np.random.default_rng(SEED)
    for kind in ("inverted", "turned by 90", "turned by 180", "half an image"):
        for number, row in enumerate(_from_all_sources(rows, rng)):
            display = read_display((root / row.path).read_bytes())
            yield TrialImage(kind, row.path, _made_wrong(display, kind, number))


def _from_all_sources(
    rows: Sequence[ManifestRow], rng: np.random.Generator
) -> list[ManifestRow]:
    sources = sorted({row.dataset for row in rows})
    chosen: list[ManifestRow] = []
    for source in sources:
        mine = [row for row in rows if row.dataset == source]
        order = rng.permutation(len(mine))[: -(-MADE_WRONG_EACH // len(sources))]
        chosen.extend(mine[i] for i in order)
    return chosen


def _made_wrong(display: np.ndarray, kind: str, number: int) -> np.ndarray:
    height, width = display.shape
    if kind == "inverted":
        return cv2.bitwise_not(display)
    if kind == "turned by 180":
        return cv2.rotate(display, cv2.ROTATE_180)
    if kind == "turned by 90":
        turns = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_90_COUNTERCLOCKWISE)
        return cv2.rotate(display, turns[number % 2])
    halves = (
        display[:, : width // 2],
        display[:, width // 2 :],
        display[: height // 2],
        display[height // 2 :],
    )
    return np.ascontiguousarray(halves[number % 4])


def found_images(
    *, samples: Path | None = None, folders: Sequence[Path] = ()
) -> Iterator[TrialImage]:
    """Yield images that are drawn, installed or in folders, each once.

    Args:
        samples: A folder of DICOM objects; radiographs of chests are left out.
        folders: Folders of pictures and objects that show no image of the model.
    """
    # One image under two headers is an image all the same.
    known = {_key(image) for image in chest_samples(samples)}
    sources: tuple[Iterable[TrialImage], ...] = (
        _noise(),
        _blank(),
        _documents(),
        _photographs(),
        _objects(_package_folder(*OBJECTS)),
        *(_objects(folder) for folder in (samples, *folders)),
        *(_pictures(folder, folder.name) for folder in folders),
    )
    for images in sources:
        for picture in images:
            key = _key(picture)
            if key not in known:
                known.add(key)
                yield picture


def chest_samples(folder: Path | None) -> Iterator[TrialImage]:
    """Yield the chest images of a folder: its pictures, and radiographs of chests."""
    for path, dataset in _datasets(folder):
        part = str(dataset.get("BodyPartExamined") or "").upper()
        if dataset.get("Modality") in FRONTAL_MODALITIES and part in CHEST_PARTS:
            yield TrialImage("image", path.name, display_frame(dataset))
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.suffix.lower() in SUFFIXES:
            yield TrialImage("image", path.name, read_display(path.read_bytes()))


def _key(picture: TrialImage) -> tuple[str, bool]:
    pixels = np.ascontiguousarray(picture.display).tobytes()
    return hashlib.sha256(pixels).hexdigest(), picture.colour


def _noise() -> Iterator[TrialImage]:
    rng = np.random.default_rng(SEED)
    for number in range(DRAWN_EACH):
        side = int(rng.integers(200, 700))
        coarse = rng.normal(size=(side // (1 + number % 8 * 6), side))
        noise = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        if number % 3 == 0:
            noise = noise + np.linspace(-3, 3, side)[:, None]
        yield TrialImage("noise", f"noise {number}", _stretched(noise))


def _blank() -> Iterator[TrialImage]:
    rng = np.random.default_rng(SEED)
    for number in range(DRAWN_EACH // 2):
        image = np.full((400, 360), rng.uniform(0, WHITE))
        if number % 2:
            image += rng.normal(0, 400, image.shape)
        if number % 4 == 3:
            image += np.linspace(0, 1200 * number, image.shape[1])
        drawn = np.clip(image, 0, WHITE).astype(np.uint16)
        yield TrialImage("blank", f"blank {number}", drawn)


def _documents() -> Iterator[TrialImage]:
    """Draw the descriptions of installed packages as pages, forms and screens."""
    rng = np.random.default_rng(SEED)
    for number in range(DRAWN_EACH):
        page = np.full((1100, 800), 255, np.uint8)
        lines = _lines(DOCUMENTS_OF[number % len(DOCUMENTS_OF)], number)
        size = 0.5 + 0.25 * (number % 3)
        for place, line in enumerate(lines[: int(30 / size)]):
            at = (50, 70 + int(place * 48 * size))
            cv2.putText(page, line, at, number % 4, size, 0, 1 + number % 2)
        if number % 3 == 1:
            top, left = (int(x) for x in rng.integers(60, 500, 2))
            cv2.rectangle(page, (left % 300, top), (760, top + 400), 0, 2)
            cv2.line(page, (40, top + 200), (760, top + 200), 0, 2)
        if number % 5 == 4:
            page = 255 - page
        yield TrialImage("document", f"document {number}", page.astype(np.uint16) * 257)


def _lines(package: str, number: int) -> list[str]:
    try:
        about = metadata(package)
        text = str(about.json.get("description") or about)
    except PackageNotFoundError:
        text = __doc__ * 20
    lines = textwrap.wrap(text.encode("ascii", "ignore").decode(), 70)
    first = number * 17 % max(1, len(lines) - 60)
    return lines[first:]


def _photographs() -> Iterator[TrialImage]:
    """Yield pictures whole and in quarters, in grey; colour ones as they are, too."""
    yield from _pictures(_package_folder(*PICTURES), "photograph")


def _pictures(folder: Path | None, kind: str) -> Iterator[TrialImage]:
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            picture = read_picture(path.read_bytes())
        except MlError:
            continue
        pixels, grey = picture.pixels, picture_display(picture)
        if min(grey.shape) < SHORTEST_SIDE:
            continue
        if pixels.ndim == 3 and channels_differ(pixels, bits=picture.bits):
            yield TrialImage("colour", path.name, grey, colour=True)
        yield TrialImage(kind, path.name, grey)
        height, width = (length // 2 for length in grey.shape)
        if min(height, width) < 4 * SHORTEST_SIDE:
            continue
        for k in range(4):
            top, left = k // 2 * height, k % 2 * width
            part = np.ascontiguousarray(grey[top : top + height, left : left + width])
            yield TrialImage(kind, f"{path.name}, quarter {k + 1}", part)


def _objects(folder: Path | None) -> Iterator[TrialImage]:
    """Yield the first frames of DICOM objects, but no radiograph of a chest."""
    for path, dataset in _datasets(folder):
        modality = str(dataset.get("Modality") or "not given")
        part = str(dataset.get("BodyPartExamined") or "").upper()
        if modality in FRONTAL_MODALITIES and part in CHEST_PARTS:
            continue
        try:
            display, colour = _shown(dataset)
        except MlError:
            continue
        if min(display.shape) < SHORTEST_SIDE:
            continue
        kind = f"{modality} {part}".strip()
        if colour:
            yield TrialImage("colour", path.name, display, colour=True)
        yield TrialImage(kind, path.name, display)


def _shown(dataset: Dataset) -> tuple[np.ndarray, bool]:
    """Return the display values of an object, and whether it is in colour."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return display_frame(dataset), is_colour(dataset)


def _datasets(folder: Path | None) -> Iterator[tuple[Path, Dataset]]:
    """Yield the DICOM files of a folder that can be read."""
    for path in sorted(folder.rglob("*.dcm")) if folder else ():
        content = path.read_bytes()
        if content[PREAMBLE_LENGTH : PREAMBLE_LENGTH + 4] != b"DICM":
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = read_dataset(content)
        except MlError:
            continue
        yield path, dataset


def _package_folder(package: str, inside: str) -> Path | None:
    """Return a folder of an installed package; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (1, 99))
    scaled = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
    return (scaled * WHITE).astype(np.uint16)
