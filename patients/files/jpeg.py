"""The structure of a JPEG file (ITU-T T.81 annex B), without decoding."""

import re
import struct
from dataclasses import dataclass

from accounts.errors import InvalidInput
from patients import messages
from patients.files.mapped import Bytes

_FORMAT = {"format": "JPEG"}
SOI, EOI, SOS, APP1, APP2, APP14 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xEE
# SOF0 … SOF15 without DHT (C4), JPG (C8) and DAC (CC); SOF55 is JPEG-LS.
FRAME_MARKERS = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# The end of entropy-coded data: not a stuffed zero, a restart or a fill byte.
_NEXT_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_ANY_MARKER = re.compile(rb"\xff+[\x01-\xfe]")
_ORIENTATION = 0x0112
# Real files have far fewer; a hostile file of empty segments would take long.
_MAX_SEGMENTS = 20_000


@dataclass(frozen=True)
class JpegStructure:
    """What the segments of a complete JPEG file state.

    Attributes:
        process: n of SOFn: 0 baseline, 1 extended sequential, 2 progressive, …
        component_ids: One a component; 3 for YBR or RGB, 4 for CMYK.
        subsampled: Whether the chroma components are coarser than the first.
        adobe_transform: Of the APP14 segment, None without one.
        orientation: EXIF's, 1 where it says nothing.
        several_pictures: Whether other pictures follow (CIPA DC-007, MPF).
        length: Bytes from SOI to EOI; files may carry more behind them.
    """

    process: int
    bits: int
    rows: int
    columns: int
    component_ids: tuple[int, ...]
    subsampled: bool
    adobe_transform: int | None
    orientation: int
    several_pictures: bool
    length: int


def read_jpeg(data: Bytes) -> JpegStructure:
    """Read all segments and scans up to EOI.

    Raises:
        InvalidInput: truncated_file or damaged_file.
    """
    pos, frame, scans = 2, None, 0
    transform, orientation, several_pictures = None, 1, False
    for _ in range(_MAX_SEGMENTS):
        pos, marker = _marker_at(data, pos)
        if marker == EOI:
            break
        if marker in _STANDALONE:
            continue
        body = _segment(data, pos)
        pos += 2 + len(body)
        if marker in FRAME_MARKERS and frame is None:
            frame = (marker - 0xC0, body)
        elif marker == APP14 and body[:5] == b"Adobe" and len(body) >= 12:
            transform = body[11]
        elif marker == APP1 and body[:6] == b"Exif\0\0":
            orientation = exif_orientation(body[6:])
        elif marker == APP2 and body[:4] == b"MPF\0":
            several_pictures = True
        elif marker == SOS:
            scans += 1
            pos = _end_of_scan(data, pos)
    else:
        raise InvalidInput(messages.DAMAGED_TOO_MANY_PARTS, params=_FORMAT)
    if frame is None or scans == 0:
        raise InvalidInput(messages.DAMAGED_NO_PICTURE, params=_FORMAT)
    return _structure(
        *frame,
        transform=transform,
        orientation=orientation,
        several_pictures=several_pictures,
        length=pos,
    )


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation that EXIF data states, else 1 (EXIF 2.3, 4.6.4)."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    ifd = struct.unpack_from(f"{order}L", tiff, 4)[0]
    if ifd + 2 > len(tiff):
        return 1
    entries = struct.unpack_from(f"{order}H", tiff, ifd)[0]
    for at in range(ifd + 2, min(ifd + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        if tag == _ORIENTATION and kind == 3:
            value = struct.unpack_from(f"{order}H", tiff, at + 8)[0]
            return value if 1 <= value <= 8 else 1
    return 1


def _marker_at(data: Bytes, pos: int) -> tuple[int, int]:
    """Find a marker; return the position after it and its second byte.

    Stray bytes between segments are allowed, since decoders skip them.
    """
    marker = _ANY_MARKER.search(data, pos)
    if marker is None:
        raise InvalidInput(messages.TRUNCATED_PICTURE_END, params=_FORMAT)
    return marker.end(), data[marker.end() - 1]


def _segment(data: Bytes, pos: int) -> bytes:
    """Return the body of the segment whose length is at `pos`."""
    if pos + 2 > len(data):
        raise InvalidInput(messages.TRUNCATED_PICTURE_PART, params=_FORMAT)
    length = struct.unpack_from(">H", data, pos)[0]
    if length < 2:
        raise InvalidInput(messages.DAMAGED_SEGMENT, params=_FORMAT)
    if pos + length > len(data):
        raise InvalidInput(messages.TRUNCATED_PICTURE_PART, params=_FORMAT)
    return data[pos + 2 : pos + length]


def _end_of_scan(data: Bytes, pos: int) -> int:
    marker = _NEXT_MARKER.search(data, pos)
    if marker is None:
        raise InvalidInput(messages.TRUNCATED_PICTURE_END, params=_FORMAT)
    return marker.start()


def _structure(
    process: int,
    body: bytes,
    *,
    transform: int | None,
    orientation: int,
    several_pictures: bool,
    length: int,
) -> JpegStructure:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise InvalidInput(messages.DAMAGED_NO_SIZE, params=_FORMAT)
    bits, rows, columns, count = struct.unpack_from(">BHHB", body)
    components = [struct.unpack_from("BBB", body, 6 + 3 * i) for i in range(count)]
    return JpegStructure(
        process=process,
        bits=bits,
        rows=rows,
        columns=columns,
        component_ids=tuple(c[0] for c in components),
        subsampled=any(c[1] != components[0][1] for c in components),
        adobe_transform=transform,
        orientation=orientation,
        several_pictures=several_pictures,
        length=length,
    )
