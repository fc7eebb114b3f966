"""The directories, strips and tiles of a TIFF file, without decoding (TIFF 6.0)."""

import struct
from dataclasses import dataclass

from accounts.errors import InvalidInput
from patients import messages
from patients.files.mapped import Bytes

_FORMAT = {"format": "TIFF"}
# Bytes of a value by field type (TIFF 6.0 section 2; 16 … 18 are BigTIFF's).
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8} | {
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_UNSIGNED = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}
WIDTH, LENGTH, BITS, COMPRESSION, SAMPLES = 256, 257, 258, 259, 277
_STRIPS, _TILES = (273, 279), (324, 325)
_NEEDED = frozenset({WIDTH, LENGTH, BITS, COMPRESSION, SAMPLES, *_STRIPS, *_TILES})
_MAX_DIRECTORIES = 1024
_MAX_ENTRIES = 4096
_MAX_VALUES = 1_000_000


@dataclass(frozen=True)
class _Layout:
    """The layout of a directory: classic TIFF, or BigTIFF with wider numbers."""

    order: str
    count: str
    offset: str
    entry_bytes: int

    def size(self, code: str) -> int:
        return struct.calcsize("<" + code)


def read_tiff(data: Bytes) -> tuple[int, int]:
    """Check that everything the directories refer to is inside the file.

    Returns:
        (rows, columns) of the first page.

    Raises:
        InvalidInput: truncated_file or damaged_file.
    """
    layout, offset = _header(data)
    seen: set[int] = set()
    first: tuple[int, int] | None = None
    while offset:
        if offset in seen or len(seen) >= _MAX_DIRECTORIES:
            raise InvalidInput(messages.DAMAGED_DIRECTORIES, params=_FORMAT)
        seen.add(offset)
        entries, offset = _directory(data, layout, offset)
        size = _check_page(data, entries)
        first = first or size
    if first is None:
        raise InvalidInput(messages.DAMAGED_NO_PICTURE, params=_FORMAT)
    return first


def _header(data: Bytes) -> tuple[_Layout, int]:
    if len(data) < 16:
        raise InvalidInput(messages.TRUNCATED_PICTURE_HEADER, params=_FORMAT)
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", data, 2)[0] == 43:
        return _Layout(order, "Q", "Q", 20), struct.unpack_from(f"{order}Q", data, 8)[0]
    return _Layout(order, "H", "L", 12), struct.unpack_from(f"{order}L", data, 4)[0]


def _directory(
    data: Bytes, layout: _Layout, offset: int
) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the unsigned values of a directory, and the offset of the next."""
    count = _unpack(data, layout, layout.count, offset)
    if count > _MAX_ENTRIES:
        raise InvalidInput(messages.DAMAGED_TOO_MANY_PARTS, params=_FORMAT)
    start = offset + layout.size(layout.count)
    end = start + count * layout.entry_bytes
    following = _unpack(data, layout, layout.offset, end)
    entries = {}
    for at in range(start, end, layout.entry_bytes):
        tag, kind = struct.unpack_from(f"{layout.order}HH", data, at)
        values = _values(data, layout, at, kind)
        if tag in _NEEDED and values is not None:
            entries[tag] = struct.unpack_from(values[0], data, values[1])
    return entries, following


def _values(data: Bytes, layout: _Layout, at: int, kind: int) -> tuple[str, int] | None:
    """Check the place of an entry's values; return how to unpack unsigned ones."""
    if kind not in _TYPE_BYTES:
        return None  # readers skip fields of a type they do not know
    width = layout.size(layout.offset)
    count = struct.unpack_from(f"{layout.order}{layout.offset}", data, at + 4)[0]
    size, where = count * _TYPE_BYTES[kind], at + 4 + width
    if size > width:
        where = struct.unpack_from(f"{layout.order}{layout.offset}", data, where)[0]
        if where + size > len(data):
            raise InvalidInput(messages.TRUNCATED_PICTURE_DATA, params=_FORMAT)
    if kind not in _UNSIGNED or count > _MAX_VALUES:
        return None
    return f"{layout.order}{count}{_UNSIGNED[kind]}", where


def _unpack(data: Bytes, layout: _Layout, code: str, offset: int) -> int:
    if offset + layout.size(code) > len(data):
        raise InvalidInput(messages.TRUNCATED_PICTURE_DATA, params=_FORMAT)
    return struct.unpack_from(f"{layout.order}{code}", data, offset)[0]


def _check_page(
    data: Bytes, entries: dict[int, tuple[int, ...]]
) -> tuple[int, int] | None:
    if not entries.get(WIDTH) or not entries.get(LENGTH):
        return None
    rows, columns = entries[LENGTH][0], entries[WIDTH][0]
    offsets, counts = next(
        (
            (entries[a], entries.get(b, ()))
            for a, b in (_STRIPS, _TILES)
            if a in entries
        ),
        ((), ()),
    )
    if not offsets:
        raise InvalidInput(messages.DAMAGED_NO_PAGE_DATA, params=_FORMAT)
    if not counts and entries.get(COMPRESSION, (1,))[0] == 1:
        # Old writers leave the counts out of uncompressed pictures of one strip.
        depths, samples = entries.get(BITS, (1,)), entries.get(SAMPLES, (1,))[0]
        bits = sum(depths) if len(depths) == samples else depths[0] * samples
        counts = (rows * ((columns * bits + 7) // 8),) if len(offsets) == 1 else ()
    if len(counts) != len(offsets):
        raise InvalidInput(messages.DAMAGED_PAGE_LENGTHS, params=_FORMAT)
    if any(a + b > len(data) for a, b in zip(offsets, counts, strict=True)):
        raise InvalidInput(messages.TRUNCATED_PICTURE_DATA, params=_FORMAT)
    return rows, columns
