"""What kind of file it is, and whether all of it is there.

By structure alone, before a decoder is asked: several decoders read a file that
lacks its last bytes without a word.
"""

from enum import StrEnum
from typing import BinaryIO

from accounts.errors import InvalidInput


class Kind(StrEnum):
    """The containers that are read."""

    DICOM = "dicom"
    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    BMP = "bmp"


def sniff(file: BinaryIO) -> Kind:
    """Say what kind of file it is by its first bytes, whatever its name says.

    Raises:
        InvalidInput: empty_file or not_an_image.
    """
    raise InvalidInput("being written", reason_code="not_an_image")


def check_whole(file: BinaryIO, kind: Kind) -> None:
    """Refuse a file that ends before its own structure says that it does.

    Raises:
        InvalidInput: truncated_file, damaged_file (its parts contradict each other),
            too_many_pixels (before anything was decoded) or invalid_header.
    """
