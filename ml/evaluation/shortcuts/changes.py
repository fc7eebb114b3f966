"""Changes to an image that take away what is not in the lungs, to see what is left.

Each takes and returns display values, uint16 (height, width).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ml.evaluation.shortcuts.moves import rescaled, rotated, shifted
from ml.images.lungs import Lungs, find_lungs

# The outer share of each side that is cut off, as in the data's own measurements.
BORDER_SHARE = 0.08
TENTH = 0.10
# Side of the squares masked in the corners: letters, markers and names stand there.
CORNER_SHARE = 0.20

Change = Callable[[np.ndarray], np.ndarray]


def unchanged(display: np.ndarray) -> np.ndarray:
    """Return the image as it is."""
    return display


def crop_and_equalise(
    display: np.ndarray, *, border: float = BORDER_SHARE
) -> np.ndarray:
    """Cut a share of each side off an image and equalise its whole histogram."""
    rows, columns = (round(side * border) for side in display.shape)
    inner = display[rows : display.shape[0] - rows, columns : -columns or None]
    eight_bits = np.ascontiguousarray((inner // 257).astype(np.uint8))
    return cv2.equalizeHist(eight_bits).astype(np.uint16) * np.uint16(257)


def crop_tenth(display: np.ndarray) -> np.ndarray:
    """Cut the outer tenth off each side of an image and equalise its histogram."""
    return crop_and_equalise(display, border=TENTH)


def mask_corners(display: np.ndarray) -> np.ndarray:
    """Give the four corners of an image its median grey."""
    rows, columns = (max(1, round(side * CORNER_SHARE)) for side in display.shape)
    masked = display.copy()
    grey = np.uint16(np.median(display))
    for down in (slice(None, rows), slice(-rows, None)):
        for across in (slice(None, columns), slice(-columns, None)):
            masked[down, across] = grey
    return masked


def keep_lungs(display: np.ndarray, *, lungs: Lungs | None = None) -> np.ndarray:
    """Give everything outside the lungs their median grey.

    Where the lungs of an image cannot be found, the default place is kept. Their
    outline stays visible, and so does an opaque lung's shape.
    """
    mask = (lungs or find_lungs(display)).mask
    if not mask.any():
        return display
    return np.where(mask, display, np.uint16(np.median(display[mask])))


CHANGES: dict[str, Change] = {
    "none": unchanged,
    "crop-equalise": crop_and_equalise,
    "crop-tenth": crop_tenth,
    "corners-masked": mask_corners,
    "lungs-only": keep_lungs,
    "shifted": shifted,
    "rotated": rotated,
    "rescaled": rescaled,
}
