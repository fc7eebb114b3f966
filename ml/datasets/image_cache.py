"""The image cache: cropped images in one memory-mapped file, read once and then fast.

An image that has more than 8 bits keeps 16: of CR images of 10 and 15 bits, 8 bits
leave some 200 grey levels and move the network's input by 0.003 (at most 0.04) of its
standard deviation. An image of 8 bits is kept in 8, and widened when it is taken out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ml.errors import ImageError, TrainingError
from ml.pixels import read_display
from ml.preprocessing import PREPROCESSING_VERSION, crop, find_geometry

# Longest side of a packed image: twice the largest input and more.
PACKED_SIDE = 384
# Read by threads (decoders let go of the interpreter); more would wait in memory.
IMAGES_AT_ONCE = 64
# A display value of an 8-bit image is a multiple of it.
EIGHT_BIT_STEP = 257


@dataclass(frozen=True)
class PackedImages:
    """Cropped images in one memory-mapped file of bytes.

    `shapes` is int64 (images, 3): height, width, bytes a pixel; `offsets` says where in
    `values`, uint8, each begins. `key` names the images: paths, sizes, times and the
    preprocessing.
    """

    values: np.ndarray
    offsets: np.ndarray
    shapes: np.ndarray
    key: str

    def __len__(self) -> int:
        return len(self.shapes)

    def image(self, index: int) -> np.ndarray:
        """Return image `index`, uint8 or uint16 (height, width), not yet squashed."""
        height, width, depth = (int(x) for x in self.shapes[index])
        start = int(self.offsets[index])
        own = self.values[start : start + height * width * depth]
        return own.view(f"u{depth}").reshape(height, width)

    def deep_image(self, index: int) -> np.ndarray:
        """Return image `index` in display values, uint16 (height, width)."""
        image = self.image(index)
        if image.dtype == np.uint16:
            return image
        return image.astype(np.uint16) * np.uint16(EIGHT_BIT_STEP)


def pack_images(paths: Sequence[str], *, root: Path, cache_dir: Path) -> PackedImages:
    """Crop images once, by the geometry of inference, into a small cache.

    The cache is named after the paths, their sizes and the preprocessing version, and
    is written to a temporary name first: an interrupted run leaves nothing half-made.

    Raises:
        TrainingError: An image is missing or cannot be read.
    """
    key = _cache_key(paths, root)
    values_path = cache_dir / f"images-{key}.bin"
    index_path = cache_dir / f"images-{key}.json"
    if not index_path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        _write_cache(paths, root, values_path, index_path)
    shapes = np.array(json.loads(index_path.read_text()), np.int64).reshape(-1, 3)
    sizes = _padded(shapes.prod(axis=1))
    offsets = np.concatenate(([0], np.cumsum(sizes)[:-1])) if len(sizes) else sizes
    # An empty file cannot be mapped.
    empty = np.zeros(0, np.uint8)
    values = np.memmap(values_path, np.uint8, "r") if len(sizes) else empty
    return PackedImages(values, offsets, shapes, key)


def _cache_key(paths: Sequence[str], root: Path) -> str:
    told = f"{PREPROCESSING_VERSION} {PACKED_SIDE} 16 {root.resolve()}"
    digest = hashlib.sha256(told.encode())
    for path in paths:
        try:
            facts = (root / path).stat()
        except OSError as error:
            raise TrainingError(f"The image {path} is not in {root}.") from error
        # Uncompressed images are all of one size: a corrected one tells by its time.
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:24]


def _write_cache(
    paths: Sequence[str], root: Path, values_path: Path, index_path: Path
) -> None:
    shapes: list[tuple[int, ...]] = []
    temporary = values_path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), IMAGES_AT_ONCE):
            some = paths[start : start + IMAGES_AT_ONCE]
            for image in pool.map(lambda path: _packed_file(root, path), some):
                shapes.append((*image.shape, image.itemsize))
                out.write(image.tobytes())
                out.write(b"\0" * (image.nbytes % 2))
    temporary.replace(values_path)
    temporary_index = index_path.with_suffix(f".{os.getpid()}.tmp")
    temporary_index.write_text(json.dumps(shapes))
    temporary_index.replace(index_path)


def _packed_file(root: Path, path: str) -> np.ndarray:
    try:
        return packed_image(read_display((root / path).read_bytes()))
    except ImageError as error:
        raise TrainingError(f"{path}: {error.message}") from error


def _padded(sizes: np.ndarray) -> np.ndarray:
    """Return sizes in bytes rounded up to even: 16-bit values lie at even places."""
    return sizes + sizes % 2


def packed_image(display: np.ndarray) -> np.ndarray:
    """Crop a uint16 image and bring it to at most PACKED_SIDE a side.

    Returns:
        uint8 where the display values come from 8 bits, else uint16.
    """
    shallow = not (display % EIGHT_BIT_STEP).any()
    image = crop(display, find_geometry(display, size=PACKED_SIDE))
    longest = max(image.shape)
    if longest > PACKED_SIDE:
        share = PACKED_SIDE / longest
        height, width = (max(1, round(side * share)) for side in image.shape)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if shallow:
        image = (image // EIGHT_BIT_STEP).astype(np.uint8)
    return np.ascontiguousarray(image)
