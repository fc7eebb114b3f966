"""Changes that move a slice and leave all of it there: shifted, rotated, re-scaled.

They show what a metric depends on where slices of one patient look alike.
"""

from __future__ import annotations

import cv2
import numpy as np

SHIFT_SHARE = 0.08
ROTATION_DEGREES = 12.0
SCALE = 0.85


def shifted(display: np.ndarray) -> np.ndarray:
    """Move a picture down and to the right by a share of its sides."""
    height, width = display.shape
    move = np.array([[1, 0, SHIFT_SHARE * width], [0, 1, SHIFT_SHARE * height]])
    return _moved(display, move)


def rotated(display: np.ndarray, *, degrees: float = ROTATION_DEGREES) -> np.ndarray:
    """Turn a picture a little about its middle."""
    height, width = display.shape
    middle = (width / 2, height / 2)
    return _moved(display, cv2.getRotationMatrix2D(middle, degrees, 1.0))


def rescaled(display: np.ndarray) -> np.ndarray:
    """Make a picture smaller within its frame."""
    height, width = display.shape
    middle = (width / 2, height / 2)
    return _moved(display, cv2.getRotationMatrix2D(middle, 0.0, SCALE))


def _moved(display: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    height, width = display.shape
    ground = int(np.percentile(display, 1))
    return cv2.warpAffine(
        display,
        matrix.astype(np.float64),
        (width, height),
        flags=cv2.INTER_AREA,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=ground,
    )
