"""Hashes that show whether two files are the same object; the hash rule is versioned.

The rule: a dataset is written again in one canonical form, in the order of the file,
and hashed. Tag, VR and length as in Explicit VR Little Endian (lengths always of four
bytes, sequences and items with delimiters instead of lengths), where

- the VR is the dictionary's, not the file's (an Implicit VR copy has none), and where
  the dictionary leaves a choice, one fixed of them;
- private and unknown elements are written without a VR, private sequences left out
  (an Implicit VR copy cannot tell them from bytes);
- group lengths, Data Set Trailing Padding and the padding of texts are left out;
- the header hash leaves out the pixel data and what describes its encoding.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from patients.dicom import tags
from patients.dicom.file import DicomBytes, open_dicom
from patients.dicom.structure import (
    PIXEL_DATA,
    PIXEL_DATA_TAGS,
    Part,
    PartKind,
    public_vr,
    walk,
)
from patients.dicom.values import TEXT_VRS
from patients.files.temporary import sha256_of

HASH_RULE = 1

_CHUNK_BYTES = 1024 * 1024
_TRAILING_PADDING = 0xFFFCFFFC
_ITEM_STARTS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
# What describes how the pixels are encoded, not what they show: Planar Configuration,
# Lossy Image Compression with ratio and method, Extended Offset Tables and the length
# of encapsulated pixel data.
_ENCODING_TAGS = frozenset(
    {0x00280006, tags.LOSSY_IMAGE_COMPRESSION, 0x00282112, 0x00282114}
    | {0x7FE00001, 0x7FE00002, 0x7FE00003}
)
_COLOURS = frozenset(
    {b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_PARTIAL_422", b"YBR_PARTIAL_420"}
    | {b"YBR_ICT", b"YBR_RCT"}
)
# Bytes of one number where byte order matters (PS3.5 7.3).
_WIDTHS = {b"AT": 2, b"OW": 2, b"SS": 2, b"US": 2} | {
    b"FL": 4,
    b"OF": 4,
    b"OL": 4,
    b"SL": 4,
    b"UL": 4,
    b"FD": 8,
    b"OD": 8,
    b"OV": 8,
    b"SV": 8,
    b"UV": 8,
}


@dataclass(frozen=True)
class ObjectHashes:
    """SHA-256 in hexadecimal of the bytes, of the dataset, and of the header alone."""

    object_sha256: str
    dataset_sha256: str
    header_sha256: str
    rule: int = HASH_RULE


def hash_object(file: IO[bytes], *, object_sha256: str = "") -> ObjectHashes:
    """Hash a whole DICOM file in chunks (call `check_whole` before).

    Args:
        file: Open for reading.
        object_sha256: Of its bytes, if the caller has computed it.
    """
    dataset, header = hashlib.sha256(), hashlib.sha256()
    with open_dicom(file) as dicom:
        for part, chunk in _canonical(dicom):
            dataset.update(chunk)
            if not _encodes_pixels(part):
                header.update(_header_form(part, chunk))
    if not object_sha256:
        object_sha256 = sha256_of(file)
    return ObjectHashes(
        object_sha256=object_sha256,
        dataset_sha256=dataset.hexdigest(),
        header_sha256=header.hexdigest(),
    )


def _canonical(dicom: DicomBytes) -> Iterator[tuple[Part, bytes]]:
    """Yield the dataset in canonical form, in chunks, each with its part."""
    private_depth: int | None = None
    for part in walk(dicom):
        if private_depth is not None:
            if part.kind is PartKind.SEQUENCE_END and part.depth == private_depth:
                private_depth = None
            continue
        if _is_left_out(dicom, part):
            continue
        if part.kind is PartKind.SEQUENCE and part.tag >> 16 & 1:
            private_depth = part.depth
            continue
        for chunk in _part(dicom, part):
            yield part, chunk


def _is_left_out(dicom: DicomBytes, part: Part) -> bool:
    if part.kind is not PartKind.ELEMENT:
        return False
    if part.tag & 0xFFFF == 0 or part.tag == _TRAILING_PADDING:
        return True
    # A private sequence with a length, in Implicit VR, is told by its first item.
    private = part.tag >> 16 & 1
    return bool(private) and (
        dicom.data[part.start : part.start + 4] in _ITEM_STARTS and part.length >= 8
    )


def _part(dicom: DicomBytes, part: Part) -> Iterator[bytes]:
    tag = struct.pack("<HH", part.tag >> 16, part.tag & 0xFFFF)
    if part.kind is PartKind.ELEMENT:
        yield from _element(dicom, part, tag)
    elif part.kind is PartKind.SEQUENCE:
        yield tag + b"SQ\0\0\xff\xff\xff\xff"
    elif part.kind is PartKind.FRAGMENTS:
        yield tag + b"OB\0\0\xff\xff\xff\xff"
    elif part.kind is PartKind.FRAGMENT:
        yield b"\xfe\xff\x00\xe0" + struct.pack("<L", part.length)
        yield from _chunks(dicom, part)
    elif part.kind is PartKind.ITEM:
        yield b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    elif part.kind is PartKind.ITEM_END:
        yield b"\xfe\xff\x0d\xe0\0\0\0\0"
    else:
        yield b"\xfe\xff\xdd\xe0\0\0\0\0"


def _element(dicom: DicomBytes, part: Part, tag: bytes) -> Iterator[bytes]:
    # "US or SS", "OB or OW": the first of them, but words where bytes are one choice.
    vr = public_vr(part.tag).replace("OB or OW", "OW").partition(" ")[0]
    if vr in TEXT_VRS:
        value = dicom.value(part).rstrip(b" \0")
        yield tag + vr.encode() + b"\0\0" + struct.pack("<L", len(value)) + value
        return
    yield tag + vr.encode() + b"\0\0" + struct.pack("<L", part.length)
    yield from _chunks(dicom, part)


def _chunks(dicom: DicomBytes, part: Part) -> Iterator[bytes]:
    """Yield the bytes of a value in Little Endian order."""
    width = 1 if dicom.little_endian else _WIDTHS.get(part.vr, 1)
    if part.kind is PartKind.FRAGMENT:
        width = 1
    end = part.start + part.length
    for start in range(part.start, end, _CHUNK_BYTES):
        chunk = dicom.data[start : min(start + _CHUNK_BYTES, end)]
        if width > 1 and len(chunk) % width == 0:
            chunk = np.frombuffer(chunk, f"u{width}").byteswap().tobytes()
        yield chunk


def _encodes_pixels(part: Part) -> bool:
    """Return whether a part is pixel data or describes the pixel encoding."""
    if part.depth:
        return False
    fragments = part.kind in (PartKind.FRAGMENT, PartKind.FRAGMENTS_END)
    return (
        part.tag in PIXEL_DATA_TAGS
        or part.tag in _ENCODING_TAGS
        or (fragments and part.tag == PIXEL_DATA)
    )


def _header_form(part: Part, chunk: bytes) -> bytes:
    """Write every colour interpretation as RGB, since compression changes it."""
    if part.tag == tags.PHOTOMETRIC and part.depth == 0 and chunk[12:] in _COLOURS:
        return chunk[:8] + struct.pack("<L", 3) + b"RGB"
    return chunk
