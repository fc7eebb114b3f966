"""Cache of cropped images in one memory-mapped file, for training and evaluation.

Images of more than 8 bits are stored in 16: reduced to 8 bits, CR images of 10 to 15
bits keep about 200 grey levels, and the network's input changes by 0.003 (at most 0.04)
of its standard deviation. Images of 8 bits are stored in 8 bits and widened on access.
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

# Longest side of a cached image: more than twice the largest network input.
PACKED_SIDE = 384
# Images decoded by threads at the same time (decoders release the GIL). More would only
# take memory.
IMAGES_AT_ONCE = 64
# Display values of 8-bit images are multiples of this.
EIGHT_BIT_STEP = 257


@dataclass(frozen=True)
class PackedImages:
    """Cropped images in one memory-mapped file of bytes.

    `shapes` is int64 (images, 3): height, width, bytes per pixel. `offsets` is the
    start of each image in `values`, uint8. `key` is a hash of the paths, file sizes,
    modification times and the preprocessing version.
    """

    values: np.ndarray
    offsets: np.ndarray
    shapes: np.ndarray
    key: str

    def __len__(self) -> int:
        return len(self.shapes)

    def image(self, index: int) -> np.ndarray:
        """Return image `index`, uint8 or uint16 (height, width), not yet resized."""
        height, width, depth = (int(x) for x in self.shapes[index])
        start = int(self.offsets[index])
        content = self.values[start : start + height * width * depth]
        return content.view(f"u{depth}").reshape(height, width)

    def deep_image(self, index: int) -> np.ndarray:
        """Return image `index` as display values, uint16 (height, width)."""
        image = self.image(index)
        if image.dtype == np.uint16:
            return image
        return image.astype(np.uint16) * np.uint16(EIGHT_BIT_STEP)


def pack_images(paths: Sequence[str], *, root: Path, cache_dir: Path) -> PackedImages:
    """Crop images as inference does, and cache them in one file.

    The file name is a hash of the images and the preprocessing version. The file is
    written under a temporary name first, so an interrupted run leaves no partial cache.

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
    settings = f"{PREPROCESSING_VERSION} {PACKED_SIDE} 16 {root.resolve()}"
    digest = hashlib.sha256(settings.encode())
    for path in paths:
        try:
            stat = (root / path).stat()
        except OSError as error:
            raise TrainingError(
                "The image %(path)s is not in %(folder)s.",
                params={"path": path, "folder": str(root)},
            ) from error
        # A corrected uncompressed image may have the same size, but not the same time.
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:24]


def _write_cache(
    paths: Sequence[str], root: Path, values_path: Path, index_path: Path
) -> None:
    shapes: list[tuple[int, ...]] = []
    temporary = values_path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), IMAGES_AT_ONCE):
            batch = paths[start : start + IMAGES_AT_ONCE]
            for image in pool.map(lambda path: _packed_file(root, path), batch):
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
        raise TrainingError(
            "%(path)s: %(reason)s", params={"path": path, "reason": error.message}
        ) from error


def _padded(sizes: np.ndarray) -> np.ndarray:
    """Round sizes in bytes up to even, so that 16-bit images are aligned."""
    return sizes + sizes % 2


def packed_image(display: np.ndarray) -> np.ndarray:
    """Crop a uint16 image and shrink it to at most PACKED_SIDE on each side.

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
