"""The one place that decodes pixels in web and ingest: in a child that may die of them.

A hostile file can make a decoder hang, eat memory or crash. So one long-lived child a
process decodes (`patients.decode_child`), under a memory and a time limit; it is made
when first needed, never inherited by a fork, and replaced when it dies.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class PixelFacts:
    """What is known of an object's pixels once they were decoded.

    pixel_sha256 (stored values, shape, dtype) is None where hashing all frames takes
    longer than its budget; `colour` says whether channels really differ.
    """

    pixel_sha256: str | None
    colour: bool | None
    rows: int
    columns: int
    frames: int


def warm_up() -> None:
    """Start the child now, so that the first upload does not wait for it."""


def pixel_facts(path: Path) -> PixelFacts:
    """Decode every frame of a DICOM file and hash it.

    Raises:
        InvalidInput: unreadable_pixels, too_many_pixels, no_pixels,
            unsupported_transfer_syntax or decoder_killed (it took too long, too much
            memory, or crashed).
        Unavailable: decoder_busy, with Retry-After.
    """
    raise NotImplementedError


def display(path: Path, frame: int = 0) -> np.ndarray:
    """Decode one frame to display values: uint16 (rows, columns), 0 black, 65535 white.

    Raises: as `pixel_facts`.
    """
    raise NotImplementedError


def greatest_difference(path_a: Path, path_b: Path) -> float:
    """Return how far two objects differ where they differ most, in grey levels of 255.

    Display values are compared, frame by frame; another shape is 255.

    Raises: as `pixel_facts`.
    """
    raise NotImplementedError
