"""Apply modality LUT, VOI LUT or window to the stored values of a frame.

PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT, windows), C.7.6.3.1.2 (MONOCHROME1) and
C.7.5.1.1.2 (pixel padding) are applied once to every value that occurs; the pixels are
then looked up in this table. So equal stored values give equal display values, to the
bit, whatever the transfer syntax.
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
# Stored values with a wider range than this (32-bit data) are sorted, not counted.
LARGEST_TABLE = 1 << 20


def apply_voi_lut(dataset: Dataset, stored: np.ndarray, *, frame: int) -> np.ndarray:
    """Map the stored values of a grey frame to display values.

    Args:
        dataset: The header.
        stored: Integer (H, W), the frame's stored values.
        frame: Index of the frame, for headers with per-frame functional groups.

    Returns:
        uint16 (H, W), 0 black to 65535 white; padding is black.
    """
    values, index = _occurring_values(stored)
    padding = _is_padding(dataset, values)
    brightness = _brightness(dataset, values, padding, frame)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        brightness = WHITE - brightness
    brightness[padding] = 0.0
    lut = np.rint(np.clip(brightness, 0.0, WHITE)).astype(np.uint16)
    return lut[index]


def _occurring_values(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that occur, int64 ascending, and each pixel's index there."""
    lowest, highest = int(stored.min()), int(stored.max())
    if highest - lowest >= LARGEST_TABLE:
        values, index = np.unique(stored, return_inverse=True)
        return values.astype(np.int64), index.reshape(stored.shape)
    shifted = stored.astype(np.int64) - lowest
    occurs = np.bincount(shifted.ravel(), minlength=highest - lowest + 1) > 0
    place = np.cumsum(occurs) - 1
    return np.flatnonzero(occurs) + lowest, place[shifted]


def _brightness(
    dataset: Dataset,
    values: np.ndarray,
    padding: np.ndarray,
    frame: int,
) -> np.ndarray:
    """Return the brightness 0..65535 of each stored value, before any inversion."""
    modality = _apply_modality_lut(dataset, values, frame)
    voi_lut = _first_item(dataset, "VOILUTSequence", frame)
    if voi_lut is not None:
        return _look_up(voi_lut, modality, scaled=True)
    window = _first_window(dataset, frame)
    if window is not None:
        return _apply_window(modality, *window, _voi_lut_function(dataset, frame))
    low, high = _default_range(dataset, modality, padding, frame)
    if high <= low:
        return np.zeros(len(values))
    return (modality - low) / (high - low) * WHITE


def _apply_modality_lut(dataset: Dataset, values: np.ndarray, frame: int) -> np.ndarray:
    """Apply the modality LUT, or rescale slope and intercept (PS3.3 C.11.1)."""
    modality_lut = _first_item(dataset, "ModalityLUTSequence", frame)
    if modality_lut is not None:
        return _look_up(modality_lut, values.astype(np.float64), scaled=False)
    slope = _number(_attribute(dataset, "RescaleSlope", frame), default=1.0)
    intercept = _number(_attribute(dataset, "RescaleIntercept", frame), default=0.0)
    return values * (slope or 1.0) + intercept


def _apply_window(
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


def _first_window(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    """Return centre and width of the first window, None without a usable one."""
    centre = _number(_attribute(dataset, "WindowCenter", frame), default=math.nan)
    width = _number(_attribute(dataset, "WindowWidth", frame), default=math.nan)
    if math.isfinite(centre) and math.isfinite(width) and width > 0:
        return centre, width
    return None


def _voi_lut_function(dataset: Dataset, frame: int) -> str:
    return str(_attribute(dataset, "VOILUTFunction", frame) or "LINEAR").upper()


def _default_range(
    dataset: Dataset,
    modality: np.ndarray,
    padding: np.ndarray,
    frame: int,
) -> tuple[float, float]:
    """Return the modality values of black and white for a frame without a window.

    Data of up to eight bits has its full range, like a picture; deeper data the range
    from the lowest to the highest value of the frame, without padding.
    """
    bits = int(dataset.get("BitsStored", 16) or 16)
    if bits <= 8:
        signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
        first = -(1 << (bits - 1)) if signed else 0
        ends = np.array([first, first + (1 << bits) - 1], np.int64)
        limits = _apply_modality_lut(dataset, ends, frame)
        low, high = sorted(float(limit) for limit in limits)
        return low, high
    used = modality[~padding]
    return (float(used.min()), float(used.max())) if used.size else (0.0, 0.0)


def _is_padding(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """Return bool (values,), whether each value is padding (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first is None or not isinstance(first, int):
        return np.zeros(len(values), bool)
    last = dataset.get("PixelPaddingRangeLimit")
    last = last if isinstance(last, int) else first
    ends = sorted(_as_stored(dataset, end) for end in (first, last))
    return (values >= ends[0]) & (values <= ends[1])


def _as_stored(dataset: Dataset, value: int) -> int:
    """Reinterpret a padding value written unsigned for signed pixels, or vice versa."""
    bits = int(dataset.get("BitsAllocated", 16) or 16)
    signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
    wrapped = value & ((1 << bits) - 1)
    if signed and wrapped >= 1 << (bits - 1):
        return wrapped - (1 << bits)
    return wrapped


def _look_up(table: Dataset, values: np.ndarray, *, scaled: bool) -> np.ndarray:
    """Apply a LUT item; values outside it get its first or last entry (C.11.1.1)."""
    descriptor = table.get("LUTDescriptor")
    entries = _lut_entries(table.get("LUTData"))
    if descriptor is None or len(descriptor) != 3 or entries.size == 0:
        raise ImageError("A lookup table (LUT) of the image is incomplete.")
    count, first, bits = (int(x) for x in descriptor)
    entries = entries[: count or 65536]
    index = np.clip(np.floor(values) - first, 0, len(entries) - 1).astype(np.int64)
    output = entries[index].astype(np.float64)
    return output * (WHITE / ((1 << bits) - 1)) if scaled and bits > 0 else output


def _lut_entries(data: Any) -> np.ndarray:
    if data is None:
        return np.zeros(0)
    if isinstance(data, bytes):
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2")
    if isinstance(data, (MultiValue, Sequence)):
        return np.array([int(x) for x in data])
    return np.array([int(data)])


def _attribute(dataset: Dataset, keyword: str, frame: int) -> Any:
    """Return an attribute from the header or the frame's functional groups.

    Enhanced multi-frame objects have it there, per frame or shared (PS3.3 C.7.6.16).
    """
    value = dataset.get(keyword)
    if value is not None:
        return value
    for group in _functional_groups(dataset, frame):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            items = group.get(macro)
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
    return None


def _functional_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    of_frame = [per_frame[frame]] if frame < len(per_frame) else []
    return [*of_frame, *shared[:1]]


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
