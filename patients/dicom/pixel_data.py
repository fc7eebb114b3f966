"""Check that the pixel data of an object is complete (PS3.5 section 8 and A.4)."""

import struct
from dataclasses import dataclass, field

from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from accounts.errors import InvalidInput
from patients import messages
from patients.dicom.file import DicomBytes
from patients.dicom.structure import (
    PIXEL_DATA,
    PIXEL_DATA_TAGS,
    UNDEFINED,
    Part,
    PartKind,
    walk,
)

_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100
_SHAPE_TAGS = frozenset(
    {_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED}
)
# Bits of a sample for float (0008) and double float (0009) pixel data.
_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
_ENDING_IN_EOI = frozenset(
    (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
)
_FRAME_A_FRAGMENT = _ENDING_IN_EOI | {RLELossless}
# Padding after the end marker that real encoders leave.
_TAIL_BYTES = 64


@dataclass
class _PixelParts:
    """The parts that describe or hold the pixels of the object."""

    shape: dict[int, bytes] = field(default_factory=dict)
    pixels: Part | None = None
    fragments: list[Part] = field(default_factory=list)
    elements: int = 0


def check_dicom(dicom: DicomBytes) -> None:
    """Walk the dataset and compare the pixel data with the header.

    Raises:
        InvalidInput: truncated_file, damaged_file or invalid_header.
    """
    parts = _PixelParts()
    for part in walk(dicom):
        parts.elements += 1
        if part.depth:
            continue
        if part.kind is PartKind.FRAGMENT and part.tag == PIXEL_DATA:
            parts.fragments.append(part)
        elif part.tag in PIXEL_DATA_TAGS and part.kind in (
            PartKind.ELEMENT,
            PartKind.FRAGMENTS,
        ):
            parts.pixels = part
        elif part.tag in _SHAPE_TAGS and part.kind is PartKind.ELEMENT:
            parts.shape[part.tag] = dicom.value(part)
    if not parts.elements:
        raise InvalidInput(messages.TRUNCATED_NO_DATASET)
    if parts.pixels is not None:
        _check_pixels(dicom, parts)


def _check_pixels(dicom: DicomBytes, parts: _PixelParts) -> None:
    frames = _frames(parts.shape)
    if parts.pixels is not None and parts.pixels.length != UNDEFINED:
        need = _native_bytes(dicom, parts, frames)
        if parts.pixels.length < need:
            raise InvalidInput(messages.TRUNCATED_PIXELS)
        return
    # The first fragment is the offset table, empty or not (PS3.5 A.4).
    if len(parts.fragments) < 2:
        raise InvalidInput(messages.TRUNCATED_NO_FRAGMENTS)
    syntax = dicom.transfer_syntax_uid
    if syntax in _FRAME_A_FRAGMENT and len(parts.fragments) - 1 < frames:
        raise InvalidInput(messages.TRUNCATED_FRAMES)
    if syntax in _ENDING_IN_EOI:
        last = parts.fragments[-1]
        start = max(last.start, last.start + last.length - _TAIL_BYTES)
        if b"\xff\xd9" not in dicom.data[start : last.start + last.length]:
            raise InvalidInput(messages.TRUNCATED_LAST_FRAME)


def _native_bytes(dicom: DicomBytes, parts: _PixelParts, frames: int) -> int:
    """Return the size of uncompressed pixels in bytes; 0 where unknown."""

    def number(tag: int, default: int = 0) -> int:
        value = parts.shape.get(tag, b"")
        if len(value) < 2:
            return default
        return struct.unpack_from("<H" if dicom.little_endian else ">H", value)[0]

    samples = number(_SAMPLES, 1)
    bits = number(_BITS_ALLOCATED)
    if parts.pixels is not None:
        bits = _FLOAT_BITS.get(parts.pixels.tag, bits)
    cells = number(_ROWS) * number(_COLUMNS) * frames
    interpretation = parts.shape.get(_PHOTOMETRIC, b"").strip(b" \0")
    if interpretation == b"YBR_FULL_422" and samples == 3:
        samples = 2
    elif interpretation == b"YBR_PARTIAL_420" and samples == 3:
        return (cells * 3 // 2 * bits + 7) // 8
    return (cells * samples * bits + 7) // 8


def _frames(shape: dict[int, bytes]) -> int:
    text = shape.get(_FRAMES, b"").split(b"\\")[0].strip(b" \0")
    if not text:
        return 1
    try:
        return max(1, int(text))
    except ValueError as error:
        raise InvalidInput(messages.DAMAGED_FRAME_COUNT) from error
