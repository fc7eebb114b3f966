"""Inflate a deflated dataset (PS3.5 A.5), at most to the size its header announces."""

import io
import warnings
import zlib
from typing import IO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from ml.errors import ImageError

# Beside its pixels, a dataset has no more than this.
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_INFLATED_BYTES = 512 * 1024 * 1024
# The attributes that announce the size of the pixels stand in its beginning.
_BEGINNING_BYTES = 1024 * 1024
_STEP_BYTES = 256 * 1024
_BITS_ALLOCATED = 0x00280100


def inflate(deflated: IO[bytes], out: IO[bytes]) -> None:
    """Write the dataset that begins where the file stands.

    Raises:
        ImageError: damaged_deflated, truncated_deflated or inflated_too_large.
    """
    unpacker, written, limit = zlib.decompressobj(-zlib.MAX_WBITS), 0, None
    beginning = bytearray()
    try:
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or deflated.read(_STEP_BYTES)
            chunk = unpacker.decompress(packed, _STEP_BYTES)
            if not packed and not chunk:
                raise ImageError(
                    "The deflated dataset is incomplete.",
                    reason_code="truncated_deflated",
                )
            written += len(chunk)
            out.write(chunk)
            if limit is None:
                beginning += chunk
                if unpacker.eof or len(beginning) >= _BEGINNING_BYTES:
                    limit = _announced_bytes(bytes(beginning))
            if limit is not None and written > limit:
                raise ImageError(
                    "The deflated dataset is larger than its header announces.",
                    reason_code="inflated_too_large",
                    params={"limit_mb": limit // (1024 * 1024)},
                )
    except zlib.error as error:
        raise ImageError(
            "The deflated dataset is damaged.", reason_code="damaged_deflated"
        ) from error


def _announced_bytes(beginning: bytes) -> int:
    """Return how large a dataset may be, by the size of its pixels."""

    def behind_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag > _BITS_ALLOCATED

    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = read_dataset(
                io.BytesIO(beginning), False, True, stop_when=behind_pixels
            )
        pixels = _native_bytes(dataset)
    except (EOFError, ValueError, TypeError, KeyError, NotImplementedError):
        # Whoever reads it says what is wrong with it.
        pixels = 0
    return min(MAX_HEADER_BYTES + pixels, MAX_INFLATED_BYTES)


def _native_bytes(dataset: Dataset) -> int:
    """Return the size of the pixels; a deflated dataset has no other compression."""
    cells = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = int(dataset.get("BitsAllocated") or 16)
    return cells * samples * int(dataset.get("NumberOfFrames") or 1) * bits // 8
