"""From a stored value to what is shown: one curve for all pixels of a frame.

PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT, windows), C.7.6.3.1.2 (MONOCHROME1) and
C.7.5.1.1.2 (pixel padding) are applied to every value that occurs, once; the frame is
then looked up. So the same stored values are the same display values, to the bit, in
whatever form they were compressed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ml.errors import ImageError

WHITE = 65535.0
# A wider range of stored values than this (32-bit data) is sorted, not tabulated.
LARGEST_TABLE = 1 << 20


def display_curve(dataset: Dataset, stored: np.ndarray, *, frame: int) -> np.ndarray:
    """Map a grey frame to display values.

    Args:
        dataset: The header.
        stored: Integer (H, W), the frame's stored values.
        frame: Which frame, for headers that say it frame by frame.

    Returns:
        uint16 (H, W), 0 black to 65535 white; padding is black.
    """
    values, index = _occurring_values(stored)
    padding = _padding(dataset, values)
    shown = _shown(dataset, values, padding, frame)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = WHITE - shown
    shown[padding] = 0.0
    curve = np.rint(np.clip(shown, 0.0, WHITE)).astype(np.uint16)
    return curve[index]


def _occurring_values(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that occur, int64 and rising, and each pixel's place there."""
    lowest, highest = int(stored.min()), int(stored.max())
    if highest - lowest >= LARGEST_TABLE:
        values, index = np.unique(stored, return_inverse=True)
        return values.astype(np.int64), index.reshape(stored.shape)
    shifted = stored.astype(np.int64) - lowest
    occurs = np.bincount(shifted.ravel(), minlength=highest - lowest + 1) > 0
    place = np.cumsum(occurs) - 1
    return np.flatnonzero(occurs) + lowest, place[shifted]


def _shown(
    dataset: Dataset,
    values: np.ndarray,
    padding: np.ndarray,
    frame: int,
) -> np.ndarray:
    """Return brightness 0..65535 of each value, before any inversion."""
    modality = _modality(dataset, values, frame)
    table = _first_item(dataset, "VOILUTSequence", frame)
    if table is not None:
        return _look_up(table, modality, scaled=True)
    window = _window(dataset, frame)
    if window is not None:
        return _windowed(modality, *window, _function(dataset, frame))
    low, high = _whole_range(dataset, modality, padding, frame)
    if high <= low:
        return np.zeros(len(values))
    return (modality - low) / (high - low) * WHITE


def _modality(dataset: Dataset, values: np.ndarray, frame: int) -> np.ndarray:
    table = _first_item(dataset, "ModalityLUTSequence", frame)
    if table is not None:
        return _look_up(table, values.astype(np.float64), scaled=False)
    slope = _number(_attribute(dataset, "RescaleSlope", frame), default=1.0)
    intercept = _number(_attribute(dataset, "RescaleIntercept", frame), default=0.0)
    return values * (slope or 1.0) + intercept


def _windowed(
    values: np.ndarray, centre: float, width: float, function: str
) -> np.ndarray:
    """Apply a window, PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - centre) / width, -700, 700)
        return WHITE / (1.0 + np.exp(exponent))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0.0, 1.0) * WHITE
    if width <= 1.0:
        return np.where(values > centre - 0.5, WHITE, 0.0)
    share = (values - (centre - 0.5)) / (width - 1.0) + 0.5
    return np.clip(share, 0.0, 1.0) * WHITE


def _window(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    """Return the first window, or None where there is none that can be used."""
    centre = _number(_attribute(dataset, "WindowCenter", frame), default=math.nan)
    width = _number(_attribute(dataset, "WindowWidth", frame), default=math.nan)
    if math.isfinite(centre) and math.isfinite(width) and width > 0:
        return centre, width
    return None


def _function(dataset: Dataset, frame: int) -> str:
    return str(_attribute(dataset, "VOILUTFunction", frame) or "LINEAR").upper()


def _whole_range(
    dataset: Dataset,
    modality: np.ndarray,
    padding: np.ndarray,
    frame: int,
) -> tuple[float, float]:
    """Return what is black and white where no window says so.

    Eight bits are shown over their full range, as a picture would be; deeper data
    from the frame's lowest to its highest value, without the padding.
    """
    bits = int(dataset.get("BitsStored", 16) or 16)
    if bits <= 8:
        signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
        first = -(1 << (bits - 1)) if signed else 0
        ends = np.array([first, first + (1 << bits) - 1], np.int64)
        low, high = sorted(float(x) for x in _modality(dataset, ends, frame))
        return low, high
    used = modality[~padding]
    return (float(used.min()), float(used.max())) if used.size else (0.0, 0.0)


def _padding(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """Say which values are padding, PS3.3 C.7.5.1.1.2."""
    first = dataset.get("PixelPaddingValue")
    if first is None or not isinstance(first, int):
        return np.zeros(len(values), bool)
    last = dataset.get("PixelPaddingRangeLimit")
    last = last if isinstance(last, int) else first
    ends = sorted(_as_stored(dataset, end) for end in (first, last))
    return (values >= ends[0]) & (values <= ends[1])


def _as_stored(dataset: Dataset, value: int) -> int:
    """Read a padding value written unsigned for signed pixels, or the reverse."""
    bits = int(dataset.get("BitsAllocated", 16) or 16)
    signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
    wrapped = value & ((1 << bits) - 1)
    if signed and wrapped >= 1 << (bits - 1):
        return wrapped - (1 << bits)
    return wrapped


def _look_up(table: Dataset, values: np.ndarray, *, scaled: bool) -> np.ndarray:
    """Apply a LUT item, PS3.3 C.11.1.1: outside it, its first or last entry holds."""
    descriptor = table.get("LUTDescriptor")
    entries = _entries(table.get("LUTData"))
    if descriptor is None or len(descriptor) != 3 or entries.size == 0:
        raise ImageError("A lookup table of the image is incomplete.")
    count, first, bits = (int(x) for x in descriptor)
    entries = entries[: count or 65536]
    index = np.clip(np.floor(values) - first, 0, len(entries) - 1).astype(np.int64)
    found = entries[index].astype(np.float64)
    return found * (WHITE / ((1 << bits) - 1)) if scaled and bits > 0 else found


def _entries(data: Any) -> np.ndarray:
    if data is None:
        return np.zeros(0)
    if isinstance(data, bytes):
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2")
    if isinstance(data, (MultiValue, Sequence)):
        return np.array([int(x) for x in data])
    return np.array([int(data)])


def _attribute(dataset: Dataset, keyword: str, frame: int) -> Any:
    """Return an attribute from the header or the frame's functional groups.

    PS3.3 C.7.6.16: an enhanced multi-frame object says it there, per frame or shared.
    """
    value = dataset.get(keyword)
    if value is not None:
        return value
    for group in _groups(dataset, frame):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            items = group.get(macro)
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
    return None


def _groups(dataset: Dataset, frame: int) -> list[Dataset]:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    own = [per_frame[frame]] if frame < len(per_frame) else []
    return [*own, *shared[:1]]


def _first_item(dataset: Dataset, keyword: str, frame: int) -> Dataset | None:
    items = _attribute(dataset, keyword, frame)
    return items[0] if items else None


def _number(value: Any, *, default: float) -> float:
    if isinstance(value, (MultiValue, list, tuple)):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) else default
