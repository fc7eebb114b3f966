"""Overlay planes (PS3.3 C.9.2): annotations of one bit a pixel, never in the picture.

Planes in unused bits of the pixel data (Overlay Bits Allocated 16, retired) are not
drawn; those bits are cut off where pixels are read.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from ml.errors import ImageAttributeError

# Groups 6000 to 601E, even numbers only.
GROUPS = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _FRAME_ORIGIN = 0x10, 0x11, 0x15, 0x50, 0x51
_DATA = 0x3000
_LARGEST_SIDE = 65_535


def overlay_mask(dataset: Dataset, frame: int = 0) -> np.ndarray:
    """Return where any overlay plane of a frame draws: bool (rows, columns).

    Args:
        dataset: As `read_dataset` returns it.
        frame: Index of the frame, from 0.

    Raises:
        ImageAttributeError: A plane is described wrongly or is shorter than described.
    """
    mask = np.zeros((int(dataset.Rows), int(dataset.Columns)), bool)
    for group in GROUPS:
        if (group, _DATA) in dataset:
            _draw(mask, dataset, group, frame)
    return mask


def _draw(mask: np.ndarray, dataset: Dataset, group: int, frame: int) -> None:
    """Draw one plane where it covers the image; its origin counts from 1."""
    rows, columns = _number(dataset, group, _ROWS), _number(dataset, group, _COLUMNS)
    first = _number(dataset, group, _FRAME_ORIGIN, 1)
    index = frame + 1 - first if _number(dataset, group, _FRAMES, 0) else 0
    frames = max(1, _number(dataset, group, _FRAMES, 1))
    if not 0 <= index < frames:
        return
    bits = _bits(dataset, group, start=index * rows * columns, count=rows * columns)
    top, left = (value - 1 for value in _origin(dataset, group))
    shown = mask[max(top, 0) : top + rows, max(left, 0) : left + columns]
    plane = bits.reshape(rows, columns)[max(-top, 0) :, max(-left, 0) :]
    shown |= plane[: shown.shape[0], : shown.shape[1]]


def _bits(dataset: Dataset, group: int, *, start: int, count: int) -> np.ndarray:
    """Return bits of the plane: the first is the lowest of a byte (PS3.5 8.1.2)."""
    data = np.frombuffer(bytes(dataset[group, _DATA].value or b""), np.uint8)
    element_is_words = dataset[group, _DATA].VR != "OB"
    if _is_big_endian(dataset) and element_is_words and len(data) % 2 == 0:
        data = data.view(">u2").astype("<u2").view(np.uint8)
    if len(data) * 8 < start + count:
        raise _invalid(group, _DATA)
    first = start // 8
    bits = np.unpackbits(data[first : -(-(start + count) // 8)], bitorder="little")
    return bits[start - first * 8 :][:count].astype(bool)


def _number(
    dataset: Dataset, group: int, element: int, default: int | None = None
) -> int:
    """Return a positive number of the plane, or the default where it is absent."""
    if default is not None and (group, element) not in dataset:
        return default
    try:
        value = int(dataset[group, element].value)
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(group, element) from error
    if not 1 <= value <= _LARGEST_SIDE:
        raise _invalid(group, element)
    return value


def _origin(dataset: Dataset, group: int) -> tuple[int, int]:
    """Return row and column of the plane's first pixel in the image, (1, 1) if absent.

    They may be less than 1: then the plane begins outside of the image.
    """
    if (group, _ORIGIN) not in dataset:
        return 1, 1
    try:
        row, column = (int(value) for value in dataset[group, _ORIGIN].value)
    except (TypeError, ValueError) as error:
        raise _invalid(group, _ORIGIN) from error
    return row, column


def _is_big_endian(dataset: Dataset) -> bool:
    return bool(dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian)


def _invalid(group: int, element: int) -> ImageAttributeError:
    return ImageAttributeError(
        "The overlay plane has an invalid value in %(attribute)s.",
        params={"attribute": f"({group:04X},{element:04X})"},
    )
