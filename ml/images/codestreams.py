"""What a compressed frame says of its own size, read without decoding it."""

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
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in STANDALONE_MARKERS:
            at += 2
            continue
        if marker in SIZE_MARKERS:
            rows, columns = struct.unpack(">HH", data[at + 5 : at + 9])
            return rows, columns
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG 2000 codestream (ITU-T T.800 annex A.5.1).

    Some devices wrap the codestream in a JP2 file; the stream is searched for in the
    first few kilobytes.
    """
    start = data[:8192].find(JPEG2000_START)
    if start < 0 or len(data) < start + 24:
        return None
    width, height, left, top = struct.unpack(">IIII", data[start + 8 : start + 24])
    return height - top, width - left
