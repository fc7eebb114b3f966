"""Rows and columns from the header of a compressed frame, without decoding it."""

from __future__ import annotations

import struct

SIZE_MARKERS = frozenset(
    {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
    | {0xF7}  # JPEG-LS, ITU-T T.87 annex C.1.1
)
STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
JPEG2000_START = b"\xff\x4f\xff\x51"


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG or JPEG-LS frame (ITU-T T.81 annex B.2.2)."""
    if data[:2] != b"\xff\xd8":
        return None
    offset = 2
    while offset + 9 <= len(data):
        if data[offset] != 0xFF:
            return None
        marker = data[offset + 1]
        if marker == 0xFF:
            offset += 1
            continue
        if marker in STANDALONE_MARKERS:
            offset += 2
            continue
        if marker in SIZE_MARKERS:
            rows, columns = struct.unpack(">HH", data[offset + 5 : offset + 9])
            return rows, columns
        offset += 2 + struct.unpack(">H", data[offset + 2 : offset + 4])[0]
    return None


def jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG 2000 codestream (ITU-T T.800 annex A.5.1).

    Some devices wrap the codestream in a JP2 file, so its start is searched for in the
    first 8 kilobytes.
    """
    start = data[:8192].find(JPEG2000_START)
    if start < 0 or len(data) < start + 24:
        return None
    width, height, left, top = struct.unpack(">IIII", data[start + 8 : start + 24])
    return height - top, width - left
