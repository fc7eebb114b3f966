"""The hashes that say whether two files are the same object; their rule has a version."""

from dataclasses import dataclass
from typing import BinaryIO

HASH_RULE = 1


@dataclass(frozen=True)
class ObjectHashes:
    """sha256 in hexadecimal of the bytes, of the dataset, and of the header alone."""

    object_sha256: str
    dataset_sha256: str
    header_sha256: str
    rule: int = HASH_RULE


def hash_object(file: BinaryIO, *, object_sha256: str = "") -> ObjectHashes:
    """Hash a whole DICOM file, streaming (`check_whole` came before).

    Args:
        file: Read from its start.
        object_sha256: Of its bytes, where the caller has computed it.
    """
    raise NotImplementedError
