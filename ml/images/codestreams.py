"""The header of a compressed frame: size, precision and colour space."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIZE_MARKERS = frozenset(
    {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
    | {0xF7}  # JPEG-LS, ITU-T T.87 annex C.1.1
)
STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
JPEG2000_START = b"\xff\x4f\xff\x51"


# Adobe's APP14 segment says how colours are transformed (ITU-T T.872 6.5.3).
ADOBE = b"Adobe"
ADOBE_RGB = 0
RGB_COMPONENTS = b"RGB"


@dataclass(frozen=True)
class Codestream:
    """The header of a compressed frame.

    Attributes:
        rows, columns: The size of the frame.
        precision: Bits of a sample.
        components: Samples of a pixel.
        colour_space: RGB or YBR_FULL as the stream itself declares it, else "".
        signed: Whether samples are signed; None where the stream does not say.
    """

    rows: int
    columns: int
    precision: int
    components: int
    colour_space: str = ""
    signed: bool | None = None


def read_jpeg_header(data: bytes) -> Codestream | None:
    """Return the header of a JPEG or JPEG-LS frame (ITU-T T.81 annex B.2.2).

    JFIF is always YCbCr (ITU-T T.871 6.2); Adobe's transform 0 is RGB, and so are
    components that are called R, G and B.
    """
    declared = ""
    for marker, segment in _segments(data):
        if marker == 0xE0 and segment[:5] == b"JFIF\0":
            declared = "YBR_FULL"
        elif marker == 0xEE and segment[:5] == ADOBE and len(segment) >= 12:
            declared = "RGB" if segment[11] == ADOBE_RGB else "YBR_FULL"
        elif marker in SIZE_MARKERS and len(segment) >= 6:
            precision, rows, columns, components = struct.unpack(">BHHB", segment[:6])
            if segment[6 : 6 + 3 * components : 3] == RGB_COMPONENTS:
                declared = declared or "RGB"
            return Codestream(
                rows,
                columns,
                precision,
                components,
                declared if components == 3 else "",
            )
    return None


def exif_segment(data: bytes) -> bytes:
    """Return the EXIF segment of a JPEG, or an empty one."""
    for marker, segment in _segments(data):
        if marker == 0xE1 and segment[:6] == b"Exif\0\0":
            return segment
    return b""


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker segments up to the first scan (ITU-T T.81 annex B.1.1)."""
    if data[:2] != b"\xff\xd8":
        return
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in STANDALONE_MARKERS:
            at += 2
        else:
            length = struct.unpack(">H", data[at + 2 : at + 4])[0]
            yield marker, data[at + 4 : at + 2 + length]
            at += 2 + length


def read_jpeg2000_header(data: bytes) -> Codestream | None:
    """Return the header of a JPEG 2000 codestream (ITU-T T.800 annexes A.5.1, A.6.1).

    Some devices wrap the codestream in a JP2 file; the stream is searched for in the
    first kilobytes. Where it has a component transform, decoders return RGB.
    """
    start = data[:8192].find(JPEG2000_START)
    size = data[start + 4 :]
    if start < 0 or len(size) < 40:
        return None
    width, height, left, top = struct.unpack(">IIII", size[4:20])
    components = struct.unpack(">H", size[36:38])[0]
    precision = (size[38] & 0x7F) + 1
    coding = data[start : start + 8192].find(b"\xff\x52")
    transformed = coding >= 0 and data[start + coding + 8 : start + coding + 9] == b"\1"
    return Codestream(
        height - top,
        width - left,
        precision,
        components,
        "RGB" if transformed and components == 3 else "",
        signed=bool(size[38] & 0x80),
    )
