"""Random variations of a film while training, against what is not in the lungs.

Sources arrive squashed, cropped, masked and exposed in their own ways. Each variation
takes one of these ways of telling a source from a film away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ml.preprocessing import equalise, normalise, squash


@dataclass(frozen=True)
class Augmentation:
    """How strongly films are varied; the defaults are those of the ChestX6 model."""

    smallest_area: float = 0.55
    aspect_range: tuple[float, float] = (0.75, 1.35)
    rotation_degrees: float = 10.0
    mirror_probability: float = 0.5
    gamma_log_range: float = 0.35
    contrast_range: float = 0.25
    brightness_range: float = 0.10
    border_probability: float = 0.3
    largest_border: float = 0.18
    patch_probability: float = 0.3
    largest_patch: float = 0.25
    blur_probability: float = 0.2


def vary(
    film: np.ndarray, *, size: int, rng: np.random.Generator, strength: Augmentation
) -> np.ndarray:
    """Return a varied network input of a cropped film.

    Args:
        film: uint16 (height, width), cropped by the geometry of inference.
        size: Side of the square.
        rng: Decides every variation.
        strength: How strongly.

    Returns:
        float32 (size, size, 1).
    """
    view = _random_view(film, rng, strength)
    if rng.random() < strength.mirror_probability:
        view = view[:, ::-1]
    square = squash(np.ascontiguousarray(view), size=size)
    if rng.random() < strength.blur_probability:
        square = cv2.GaussianBlur(square, (3, 3), float(rng.uniform(0.3, 1.0)))
    values = _random_tone(equalise(square), rng, strength)
    _mask_borders(values, rng, strength)
    _mask_patch(values, rng, strength)
    return normalise(values)


def _random_view(
    film: np.ndarray, rng: np.random.Generator, strength: Augmentation
) -> np.ndarray:
    """Rotate a little, then cut out a box of random area, place and aspect ratio."""
    height, width = film.shape
    angle = float(rng.uniform(-1, 1)) * strength.rotation_degrees
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turned = cv2.warpAffine(
        film, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    area = float(rng.uniform(strength.smallest_area, 1.0))
    narrow, wide = (math.log(x) for x in strength.aspect_range)
    aspect = math.exp(float(rng.uniform(narrow, wide)))
    box_width = min(width, max(8, round(width * math.sqrt(area * aspect))))
    box_height = min(height, max(8, round(height * math.sqrt(area / aspect))))
    left = int(rng.integers(0, width - box_width + 1))
    top = int(rng.integers(0, height - box_height + 1))
    return turned[top : top + box_height, left : left + box_width]


def _random_tone(
    values: np.ndarray, rng: np.random.Generator, strength: Augmentation
) -> np.ndarray:
    gamma = math.exp(float(rng.uniform(-1, 1)) * strength.gamma_log_range)
    contrast = 1.0 + float(rng.uniform(-1, 1)) * strength.contrast_range
    brightness = float(rng.uniform(-1, 1)) * strength.brightness_range
    toned = (np.power(values, gamma) - 0.5) * contrast + 0.5 + brightness
    return toned.astype(np.float32)


def _mask_borders(
    values: np.ndarray, rng: np.random.Generator, strength: Augmentation
) -> None:
    """Blacken, whiten or grey a strip at some sides, in place."""
    size = values.shape[0]
    for turns in range(4):
        if rng.random() < strength.border_probability / 2:
            depth = int(rng.integers(1, max(2, round(size * strength.largest_border))))
            np.rot90(values, turns)[:depth] = _flat_tone(rng)


def _mask_patch(
    values: np.ndarray, rng: np.random.Generator, strength: Augmentation
) -> None:
    """Cover a rectangle, as the masks in some sources do, in place."""
    if rng.random() >= strength.patch_probability:
        return
    size = values.shape[0]
    largest = max(3, round(size * strength.largest_patch))
    height, width = (int(x) for x in rng.integers(2, largest, 2))
    top = int(rng.integers(0, size - height + 1))
    left = int(rng.integers(0, size - width + 1))
    values[top : top + height, left : left + width] = _flat_tone(rng)


def _flat_tone(rng: np.random.Generator) -> float:
    return float(rng.choice((0.0, 1.0, rng.random())))
