"""The kind of a file, and whether it is complete.

A file is checked by its structure before decoding, since some decoders accept files
without their last bytes.
"""

import struct
import zlib
from enum import StrEnum
from typing import IO

from accounts.errors import InvalidInput
from ml.errors import ImageError
from ml.pixels import check_pixel_count
from patients import messages
from patients.decoder.refusals import pixel_refusal
from patients.dicom.file import PREAMBLE_BYTES, open_dicom
from patients.dicom.pixel_data import check_dicom
from patients.files.jpeg import read_jpeg
from patients.files.mapped import Bytes, mapped
from patients.files.tiff import read_tiff

_PNG, _BMP = {"format": "PNG"}, {"format": "BMP"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ARCHIVES = {
    b"PK\x03\x04": "ZIP",
    b"PK\x05\x06": "ZIP",  # empty
    b"PK\x07\x08": "ZIP",  # in several pieces
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
# POSIX.1 ustar, and the volume descriptor of an ISO 9660 image of a disc.
_ARCHIVES_INSIDE = ((257, b"ustar", "tar"), (32769, b"CD001", "ISO"))
# BMP compressions whose size follows from width, height and depth (BI_RGB, BITFIELDS).
_BMP_UNCOMPRESSED = frozenset({0, 3, 6})


# Real files have far fewer; a hostile file of empty chunks would take long.
_MAX_PNG_CHUNKS = 200_000


class Kind(StrEnum):
    """The file formats that are read."""

    DICOM = "dicom"
    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    BMP = "bmp"


def sniff(file: IO[bytes]) -> Kind:
    """Return the kind of a file by its first bytes; its name does not count.

    Raises:
        InvalidInput: empty_file or not_an_image.
    """
    file.seek(0)
    start = file.read(PREAMBLE_BYTES + 4)
    file.seek(0)
    if not start:
        raise InvalidInput(messages.EMPTY_FILE)
    if start[PREAMBLE_BYTES:] == b"DICM":
        return Kind.DICOM
    if start.startswith(_PNG_SIGNATURE):
        return Kind.PNG
    if start.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if start.startswith(_TIFF_STARTS):
        return Kind.TIFF
    if start.startswith(b"BM"):
        return Kind.BMP
    if archive := _archive_format(file, start):
        raise InvalidInput(messages.ARCHIVE, params={"format": archive})
    raise InvalidInput(messages.NOT_AN_IMAGE)


def _archive_format(file: IO[bytes], start: bytes) -> str:
    """Return the name of the archive format, or "" for none."""
    for signature, name in _ARCHIVES.items():
        if start.startswith(signature):
            return name
    for place, signature, name in _ARCHIVES_INSIDE:
        file.seek(place)
        found = file.read(len(signature)) == signature
        file.seek(0)
        if found:
            return name
    return ""


def check_whole(file: IO[bytes], kind: Kind) -> None:
    """Refuse an incomplete file by its structure.

    Raises:
        InvalidInput: truncated_file, damaged_file (its parts contradict each other),
            too_many_pixels (before anything was decoded), no_pixels, not_dicom,
            too_large (a deflated dataset) or invalid_header (nested too deep, or too
            many elements).
    """
    if kind is Kind.DICOM:
        with open_dicom(file) as dicom:
            check_dicom(dicom)
        return
    with mapped(file) as data:
        rows, columns = _picture_size(data, kind)
    try:
        check_pixel_count(rows, columns)
    except ImageError as error:
        raise pixel_refusal(error.reason_code, error.params) from error


def _picture_size(data: Bytes, kind: Kind) -> tuple[int, int]:
    """Check that a picture is complete and return its rows and columns."""
    if kind is Kind.JPEG:
        jpeg = read_jpeg(data)
        return jpeg.rows, jpeg.columns
    if kind is Kind.PNG:
        return _read_png(data)
    if kind is Kind.TIFF:
        return read_tiff(data)
    return _read_bmp(data)


def _read_png(data: Bytes) -> tuple[int, int]:
    """Check every chunk and checksum up to IEND (PNG, 5.3)."""
    pos, kind, size, has_data = len(_PNG_SIGNATURE), b"", (0, 0), False
    for _ in range(_MAX_PNG_CHUNKS):
        if pos + 12 > len(data):
            raise InvalidInput(messages.TRUNCATED_PICTURE_END, params=_PNG)
        length, kind = struct.unpack_from(">L4s", data, pos)
        end = pos + 12 + length
        if end > len(data):
            raise InvalidInput(messages.TRUNCATED_PICTURE_PART, params=_PNG)
        body = data[pos + 4 : end - 4]
        if zlib.crc32(body) != struct.unpack_from(">L", data, end - 4)[0]:
            raise InvalidInput(messages.DAMAGED_CHECKSUM, params=_PNG)
        if kind == b"IHDR" and length >= 8:
            columns, rows = struct.unpack_from(">LL", body, 4)
            size = (rows, columns)
        has_data |= kind == b"IDAT"
        pos = end
        if kind == b"IEND":
            break
    else:
        raise InvalidInput(messages.DAMAGED_TOO_MANY_PARTS, params=_PNG)
    if not has_data:
        raise InvalidInput(messages.DAMAGED_NO_PICTURE, params=_PNG)
    return size


def _read_bmp(data: Bytes) -> tuple[int, int]:
    """Check that the pixels end inside the file (BITMAPFILEHEADER)."""
    if len(data) < 26:
        raise InvalidInput(messages.TRUNCATED_PICTURE_HEADER, params=_BMP)
    file_bytes, _, offset, header_bytes = struct.unpack_from("<LLLL", data, 2)
    if header_bytes == 12:
        columns, rows, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = image_bytes = 0
    else:
        if len(data) < 54:
            raise InvalidInput(messages.TRUNCATED_PICTURE_HEADER, params=_BMP)
        columns, rows, _, bits, compression, image_bytes = struct.unpack_from(
            "<llHHLL", data, 18
        )
    rows, columns = abs(rows), abs(columns)
    if compression in _BMP_UNCOMPRESSED:
        image_bytes = rows * ((columns * bits + 31) // 32 * 4)
    if max(offset + image_bytes, 0 if image_bytes else file_bytes) > len(data):
        raise InvalidInput(messages.TRUNCATED_PICTURE_DATA, params=_BMP)
    return rows, columns
