"""A chest that nobody has: drawn, marked SYNTHETIC in the picture and in the header."""

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset


def draw_chest(seed: int, *, size: int = 1024, opacity: bool | None = None) -> np.ndarray:
    """Draw a PA chest film: uint16 (size, size), 12 bit, 0 black .. 4095 white.

    Args:
        seed: The same seed gives the same film.
        size: Pixels of a side.
        opacity: Whether a lung holds an opacity; None leaves it to the seed.
    """
    raise NotImplementedError


def phantom_dataset(
    seed: int,
    *,
    patient_id: str = "",
    patient_name: str = "",
    birth_date: str = "",
    sex: str = "",
    study_date: str = "",
    accession_number: str = "",
    study_uid: str = "",
    size: int = 1024,
    opacity: bool | None = None,
) -> FileDataset:
    """Return the film as a DX dataset (Explicit VR Little Endian, MONOCHROME2)."""
    raise NotImplementedError


def write_phantom(path: Path, seed: int, **identity: str) -> Path:
    """Write the film as a DICOM file (arguments as `phantom_dataset`)."""
    raise NotImplementedError
