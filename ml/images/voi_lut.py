"""Display values of a grey frame: modality LUT, VOI LUT, presentation LUT, polarity.

PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT, windows), C.11.4 and C.11.6
(presentation LUT), C.7.6.3.1.2 (MONOCHROME1) and C.7.5.1.1.2 (pixel padding) are
applied once to every value that occurs; the frame is then looked up. So the same stored
values have the same display values, to the bit, however the frame was compressed.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from ml.errors import ImageAttributeError
from ml.images.attributes import decimal, has_value, integer
from ml.images.lookup_tables import LookupTable, read_table

WHITE = 65535.0
FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})
# A wider range of stored values than this (32-bit data) is sorted, not tabulated.
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
    if table := _lookup_table(dataset, "PresentationLUTSequence", frame, signed=False):
        # Its output are P-values: brighter where higher, whatever the pixels were.
        span = len(table.entries) - 1
        brightness = table.look_up(table.first + np.rint(brightness / WHITE * span))
        brightness *= WHITE / table.white
    elif is_inverse(dataset):
        brightness = WHITE - brightness
    brightness[padding] = 0.0
    lut = np.rint(np.clip(brightness, 0.0, WHITE)).astype(np.uint16)
    return lut[index]


def is_inverse(dataset: Dataset) -> bool:
    """Say whether low values are bright.

    MONOCHROME1 says so (PS3.3 C.7.6.3.1.2), and so does the shape INVERSE of the
    presentation LUT (C.11.6.1.2). Both together are one statement, not two inversions.
    """
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return interpretation == "MONOCHROME1" or shape == "INVERSE"


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
    """Return brightness 0..65535 of each value, before any inversion."""
    modality = _apply_modality_lut(dataset, values, frame)
    if table := _voi_table(dataset, modality, frame):
        return table.look_up(modality) * (WHITE / table.white)
    window = _first_window(dataset, frame)
    if window is not None:
        return _apply_window(modality, *window, _voi_lut_function(dataset, frame))
    low, high = _default_range(dataset, modality, padding, frame)
    if high <= low:
        return np.zeros(len(values))
    return (modality - low) / (high - low) * WHITE


def _apply_modality_lut(dataset: Dataset, values: np.ndarray, frame: int) -> np.ndarray:
    signed = is_signed(dataset)
    if table := _lookup_table(dataset, "ModalityLUTSequence", frame, signed=signed):
        return table.look_up(values)
    slope = _decimal(dataset, "RescaleSlope", frame)
    intercept = _decimal(dataset, "RescaleIntercept", frame)
    if slope == 0:
        raise _invalid("RescaleSlope")
    return values * (1.0 if slope is None else slope) + (intercept or 0.0)


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
    """Return the first window; None where the header has none.

    A width of 0 is what some devices write for no window.
    """
    centre = _decimal(dataset, "WindowCenter", frame)
    width = _decimal(dataset, "WindowWidth", frame)
    if width is not None and width < 0:
        raise _invalid("WindowWidth")
    return None if centre is None or not width else (centre, width)


def _voi_lut_function(dataset: Dataset, frame: int) -> str:
    """Return the function of the window, PS3.3 C.11.2.1.3."""
    holder = _holder(dataset, "VOILUTFunction", frame)
    function = str(holder.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in FUNCTIONS:
        raise ImageAttributeError(
            "The VOI LUT Function %(function)s is not one of the standard's.",
            params={"function": function[:16]},
        )
    return function


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
    bits = integer(dataset, "BitsStored") or 16
    if bits <= 8:
        signed = is_signed(dataset)
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
    """Read a padding value written unsigned for signed pixels, or the reverse."""
    bits = integer(dataset, "BitsAllocated") or 16
    wrapped = value & ((1 << bits) - 1)
    if is_signed(dataset) and wrapped >= 1 << (bits - 1):
        return wrapped - (1 << bits)
    return wrapped


def is_signed(dataset: Dataset) -> bool:
    """Say whether stored values are signed (Pixel Representation, PS3.3 C.7.6.3.1)."""
    return integer(dataset, "PixelRepresentation") == 1


def _voi_table(
    dataset: Dataset, modality: np.ndarray, frame: int
) -> LookupTable | None:
    """Return the first VOI LUT; its first value has the sign that fits its input.

    The input is the output of the modality LUT or rescale: it can be negative where
    the pixels are not, and the reverse. Where both signs fit alike, the pixels decide.
    """
    signed = is_signed(dataset)
    tables = [
        table
        for sign in (signed, not signed)
        if (table := _lookup_table(dataset, "VOILUTSequence", frame, signed=sign))
    ]
    return max(tables, key=lambda table: table.share_of(modality), default=None)


def _lookup_table(
    dataset: Dataset, keyword: str, frame: int, *, signed: bool
) -> LookupTable | None:
    """Return the first table of a sequence of the header, or None."""
    items = _holder(dataset, keyword, frame).get(keyword)
    if not items:
        return None
    meta = getattr(dataset, "file_meta", None)
    return read_table(
        items[0],
        signed=signed,
        little_endian=getattr(meta, "TransferSyntaxUID", None) != ExplicitVRBigEndian,
    )


def _decimal(dataset: Dataset, keyword: str, frame: int) -> float | None:
    return decimal(_holder(dataset, keyword, frame), keyword)


def _holder(dataset: Dataset, keyword: str, frame: int) -> Dataset:
    """Return the dataset that has an attribute: the header or a functional group.

    PS3.3 C.7.6.16: an enhanced multi-frame object has it there, per frame or shared.
    Where none has it, the header is returned.
    """
    if has_value(dataset, keyword):
        return dataset
    for group in _functional_groups(dataset, frame):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            items = group.get(macro)
            if items and has_value(items[0], keyword):
                return items[0]
    return dataset


def _functional_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    of_frame = [per_frame[frame]] if frame < len(per_frame) else []
    return [*of_frame, *shared[:1]]


def _invalid(keyword: str) -> ImageAttributeError:
    return ImageAttributeError(
        "The value of %(attribute)s has no meaning for an image.",
        params={"attribute": keyword},
    )
