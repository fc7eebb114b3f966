"""An open DICOM file: the start and the encoding of its dataset (PS3.10)."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from accounts.errors import InvalidInput
from patients import decode, messages
from patients.files.mapped import Bytes, mapped
from patients.files.temporary import new_temporary_file, on_disk

PREAMBLE_BYTES = 128
MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
TRANSFER_SYNTAX_UID = 0x00020010
# VRs whose explicit length has four bytes (PS3.5 table 7.1-1).
LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN"}
    | {b"UR", b"UT", b"UV"}
)


class _Extent(Protocol):
    """Start and length in the file, as of a `structure.Part`."""

    @property
    def start(self) -> int: ...

    @property
    def length(self) -> int: ...


@dataclass(frozen=True)
class DicomBytes:
    """The bytes of a dataset, from `start` on, and its encoding.

    Of a deflated file they are the inflated dataset.
    """

    data: Bytes
    start: int
    implicit: bool
    little_endian: bool
    transfer_syntax_uid: str

    def value(self, part: "_Extent") -> bytes:
        """Return the bytes of a value as in the file."""
        return self.data[part.start : part.start + part.length]


@contextmanager
def open_dicom(file: IO[bytes]) -> Iterator[DicomBytes]:
    """Open a DICOM file (PS3.10 section 7); a deflated dataset is inflated to disk.

    Raises:
        InvalidInput: not_dicom, or for a deflated dataset truncated_file, too_large or
            decoder_killed.
        Unavailable: The decoder, which inflates, is busy for too long.
    """
    with mapped(file) as data:
        syntax, _sop_class, start = _read_file_meta(data)
        if syntax == DeflatedExplicitVRLittleEndian:
            with on_disk(file) as path, new_temporary_file() as inflated:
                decode.inflate(path, Path(inflated.name), start=start)
                with mapped(inflated) as dataset:
                    yield DicomBytes(dataset, 0, False, True, syntax)
            return
        little = syntax != ExplicitVRBigEndian
        yield DicomBytes(data, start, syntax == ImplicitVRLittleEndian, little, syntax)


def is_media_directory(file: IO[bytes]) -> bool:
    """Return whether a DICOM file is a DICOMDIR (PS3.10 8.6), by its SOP class.

    Raises:
        InvalidInput: not_dicom or truncated_file.
    """
    with mapped(file) as data:
        _syntax, sop_class, _start = _read_file_meta(data)
    return sop_class == MediaStorageDirectoryStorage


def _read_file_meta(data: Bytes) -> tuple[str, str, int]:
    """Return the transfer syntax, the SOP class and where the dataset starts."""
    pos, uids = PREAMBLE_BYTES + 4, {MEDIA_STORAGE_SOP_CLASS_UID: ""}
    if data[PREAMBLE_BYTES:pos] != b"DICM":
        raise InvalidInput(messages.NOT_DICOM)
    while True:
        header = data[pos : pos + 12]
        if len(header) < 8:
            raise InvalidInput(messages.TRUNCATED_FILE_META)
        group, element, vr, length = struct.unpack_from("<HH2sH", header)
        if group != 2:
            break
        value = pos + 8
        if vr in LONG_VRS:
            if len(header) < 12:
                raise InvalidInput(messages.TRUNCATED_FILE_META)
            length, value = struct.unpack_from("<L", header, 8)[0], pos + 12
        if value + length > len(data):
            raise InvalidInput(messages.TRUNCATED_FILE_META)
        tag = group << 16 | element
        if tag in (TRANSFER_SYNTAX_UID, MEDIA_STORAGE_SOP_CLASS_UID):
            uid = data[value : value + length].rstrip(b"\0 ")
            uids[tag] = uid.decode("ascii", "replace")
        pos = value + length
    if not uids.get(TRANSFER_SYNTAX_UID):
        raise InvalidInput(messages.NO_TRANSFER_SYNTAX)
    return uids[TRANSFER_SYNTAX_UID], uids[MEDIA_STORAGE_SOP_CLASS_UID], pos
