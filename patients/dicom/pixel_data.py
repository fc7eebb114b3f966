"""Whether a DICOM object's pixel data is all there (PS3.5 section 8 and annex A.4)."""

import struct
from dataclasses import dataclass, field

from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from patients.dicom.file import DicomBytes, damaged, truncated
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
    """What a walk found of the pixels of the object itself."""

    shape: dict[int, bytes] = field(default_factory=dict)
    pixels: Part | None = None
    fragments: list[Part] = field(default_factory=list)
    elements: int = 0


def check_dicom(dicom: DicomBytes) -> None:
    """Walk the whole dataset and compare the pixel data with what the header announces.

    Raises:
        InvalidInput: truncated_file, damaged_file or invalid_header.
    """
    found = _PixelParts()
    for part in walk(dicom):
        found.elements += 1
        if part.depth:
            continue
        if part.kind is PartKind.FRAGMENT and part.tag == PIXEL_DATA:
            found.fragments.append(part)
        elif part.tag in PIXEL_DATA_TAGS and part.kind in (
            PartKind.ELEMENT,
            PartKind.FRAGMENTS,
        ):
            found.pixels = part
        elif part.tag in _SHAPE_TAGS and part.kind is PartKind.ELEMENT:
            found.shape[part.tag] = dicom.value(part)
    if not found.elements:
        truncated("nothing follows its file meta information")
    if found.pixels is not None:
        _check_pixels(dicom, found)


def _check_pixels(dicom: DicomBytes, found: _PixelParts) -> None:
    frames = _frames(found.shape)
    if found.pixels is not None and found.pixels.length != UNDEFINED:
        need = _native_bytes(dicom, found, frames)
        if found.pixels.length < need:
            truncated("it has fewer pixels than its header says")
        return
    # The first fragment is the offset table, empty or not (PS3.5 A.4).
    if len(found.fragments) < 2:
        truncated("its compressed pixels are missing")
    syntax = dicom.transfer_syntax_uid
    if syntax in _FRAME_A_FRAGMENT and len(found.fragments) - 1 < frames:
        truncated("it has fewer frames than its header says")
    if syntax in _ENDING_IN_EOI:
        last = found.fragments[-1]
        start = max(last.start, last.start + last.length - _TAIL_BYTES)
        if b"\xff\xd9" not in dicom.data[start : last.start + last.length]:
            truncated("its last compressed frame has no end marker")


def _native_bytes(dicom: DicomBytes, found: _PixelParts, frames: int) -> int:
    """Return how many bytes uncompressed pixels must have; 0 where nothing says so."""

    def number(tag: int, default: int = 0) -> int:
        value = found.shape.get(tag, b"")
        if len(value) < 2:
            return default
        return struct.unpack_from("<H" if dicom.little_endian else ">H", value)[0]

    samples = number(_SAMPLES, 1)
    bits = number(_BITS_ALLOCATED)
    if found.pixels is not None:
        bits = _FLOAT_BITS.get(found.pixels.tag, bits)
    cells = number(_ROWS) * number(_COLUMNS) * frames
    interpretation = found.shape.get(_PHOTOMETRIC, b"").strip(b" \0")
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
    except ValueError:
        damaged("its number of frames is no number")
