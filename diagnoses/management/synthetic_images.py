"""Synthetic chest images for checks without patients' images."""

from __future__ import annotations

import numpy as np

from ml.pixels import display_frame
from patients.phantom.dataset import phantom_dataset

PHANTOMS = 4


def synthetic_images() -> dict[str, np.ndarray]:
    """Return a few synthetic chest images by name, display values uint16 (H, W)."""
    return {
        f"phantom {seed}": display_frame(phantom_dataset(seed))
        for seed in range(1, PHANTOMS + 1)
    }
