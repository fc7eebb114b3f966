"""Changes to an image that leave the disease there, to see what a metric rests on.

Some take away what is not in the lungs; others are what devices and archives do.

Each takes and returns display values, uint16 (height, width).
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from ml.evaluation.scoring import Change, unchanged
from ml.evaluation.shortcuts.moves import rescaled, rotated, shifted
from ml.images.lungs import Lungs, find_lungs

# The outer share of each side that is cut off, as in the data's own measurements.
BORDER_SHARE = 0.08
TENTH = 0.10
# Side of the squares masked in the corners: letters, markers and names stand there.
CORNER_SHARE = 0.20
# As a patient may stand.
SMALL_ROTATION_DEGREES = 5.0
JPEG_QUALITY = 50
# Standard deviation, as a share of the range of grey.
NOISE_SHARE = 0.02


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


def compressed(display: np.ndarray) -> np.ndarray:
    """Store an image as an 8-bit JPEG of low quality, and read it again."""
    eight_bits = (display // 257).astype(np.uint8)
    _, data = cv2.imencode(
        ".jpg", eight_bits, [int(cv2.IMWRITE_JPEG_QUALITY), JPEG_QUALITY]
    )
    read = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    return np.asarray(read).astype(np.uint16) * np.uint16(257)


def with_noise(display: np.ndarray) -> np.ndarray:
    """Add normal noise to each pixel, the same to the same image."""
    rng = np.random.default_rng(int(display.sum()))
    noise = rng.normal(0.0, NOISE_SHARE * 65535.0, display.shape)
    return np.clip(display + noise, 0, 65535).astype(np.uint16)


CHANGES: dict[str, Change] = {
    "none": unchanged,
    "crop-equalise": crop_and_equalise,
    "crop-tenth": crop_tenth,
    "corners-masked": mask_corners,
    "lungs-only": keep_lungs,
    "shifted": shifted,
    "rotated": rotated,
    "rotated-5": partial(rotated, degrees=SMALL_ROTATION_DEGREES),
    "jpeg-50": compressed,
    "noise": with_noise,
    "rescaled": rescaled,
}
