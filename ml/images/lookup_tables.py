"""Lookup tables of a header (PS3.3 C.11.1, C.11.2, C.11.4, C.7.6.3.1.5, C.7.6.3.1.6).

Devices write descriptors and data in more ways than the standard has. What has one
meaning is read; the rest is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut
from pydicom.tag import Tag

from ml.errors import ImageAttributeError

WORD = 1 << 16
COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class LookupTable:
    """A table of a header.

    Attributes:
        first: The input value of the first entry.
        entries: int64 (entries,), 0 to 65535.
        bits: Bits of an entry: its greatest value is white.
    """

    first: int
    entries: np.ndarray
    bits: int

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Return the entries of values, float64; outside, the end entries hold."""
        index = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[index.astype(np.int64)].astype(np.float64)

    def share_of(self, values: np.ndarray) -> float:
        """Return the share of values that lie within the table."""
        inside = (values >= self.first) & (values < self.first + len(self.entries))
        return float(inside.mean())

    @property
    def white(self) -> int:
        """The greatest value that an entry can have."""
        return (1 << self.bits) - 1


def read_table(item: Dataset, *, signed: bool, little_endian: bool) -> LookupTable:
    """Read an item of a Modality, VOI or Presentation LUT Sequence.

    Args:
        item: Has LUT Descriptor and LUT Data.
        signed: Whether the input values can be negative: the first value of the
            descriptor is then signed, whatever representation it is written with.
        little_endian: The byte order of the file, for data in OW.

    Raises:
        ImageAttributeError: it is incomplete or contradicts itself.
    """
    return _table(
        item.get("LUTDescriptor"),
        item.get("LUTData"),
        signed=signed,
        little_endian=little_endian,
    )


def palette_colours(
    dataset: Dataset, stored: np.ndarray, *, little_endian: bool
) -> tuple[np.ndarray, int]:
    """Return the colours of PALETTE COLOR values (PS3.3 C.7.6.3.1.5).

    Returns:
        Integer (H, W, 3) and the bits of a channel.

    Raises:
        ImageAttributeError: A table contradicts itself.
    """
    if Tag("SegmentedRedPaletteColorLookupTableData") in dataset:
        colours = apply_color_lut(stored, dataset)[..., :3]
        return colours, 8 * colours.dtype.itemsize
    tables = [
        _table(
            dataset.get(f"{colour}PaletteColorLookupTableDescriptor"),
            dataset.get(f"{colour}PaletteColorLookupTableData"),
            signed=int(dataset.get("PixelRepresentation") or 0) == 1,
            little_endian=little_endian,
        )
        for colour in COLOURS
    ]
    bits = max(table.bits for table in tables)
    channels = [table.look_up(stored).astype(np.uint16) for table in tables]
    return np.stack(channels, axis=-1), bits


def _table(
    descriptor: Any, data: Any, *, signed: bool, little_endian: bool
) -> LookupTable:
    if descriptor is None or data is None or len(descriptor) != 3:
        raise _invalid()
    count, first, bits = (int(value) for value in descriptor)
    # An unsigned short: 0 stands for 65,536 (PS3.3 C.11.1.1), SS wraps it.
    count = count % WORD or WORD
    first %= WORD
    if signed and first >= WORD // 2:
        first -= WORD
    if not 1 <= bits <= 16:
        raise _invalid()
    entries = _entries(data, count, bits=bits, little_endian=little_endian)
    return LookupTable(first, entries, _bits_of(entries, bits))


def _bits_of(entries: np.ndarray, declared: int) -> int:
    """Return the bits that entries really have.

    Some CR devices declare 16 bits and fill 12, others declare fewer than they fill.
    Eight bits are never taken for fewer: such tables may be dark on purpose.
    """
    used = int(entries.max()).bit_length()
    if used > declared or declared > 8:
        return max(used, 8)
    return declared


def _entries(data: Any, count: int, *, bits: int, little_endian: bool) -> np.ndarray:
    """Return `count` entries, int64, however they are packed (PS3.3 C.11.1.1.1)."""
    words = _words(data, little_endian=little_endian)
    if len(words) == count:
        return words
    if len(words) == (count + 1) // 2:
        # Entries of eight bits, two in a word: the first in the lower half.
        return np.stack([words & 0xFF, words >> 8], axis=-1).ravel()[:count]
    if len(words) > count and bits > 8:
        return words[:count]
    raise _invalid()


def _words(data: Any, *, little_endian: bool) -> np.ndarray:
    if isinstance(data, bytes):
        if len(data) % 2:
            data += b"\0"
        return np.frombuffer(data, "<u2" if little_endian else ">u2").astype(np.int64)
    values = data if isinstance(data, MultiValue | Sequence) else [data]
    # A value of SS below zero is an unsigned entry.
    return np.array([int(value) % WORD for value in values], np.int64)


def _invalid() -> ImageAttributeError:
    return ImageAttributeError(
        "A lookup table of the image is incomplete or contradicts itself.",
        reason_code="invalid_lookup_table",
    )
