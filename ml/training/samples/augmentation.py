"""Random variations of training images, against cues from outside the lungs.

Sources arrive squashed, cropped, masked and exposed in their own ways. Each variation
takes one of these ways of telling a source from an image away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ml.preprocessing import equalise, normalise, squash


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are varied; the defaults are those of the chest models.

    Attributes:
        mirror_probability: Only where either side may be left: a mirrored chest has
            its heart on the right.
        lung_crop_probability: How often an image is cut around its lungs, in place of
            a box of random area and place.
        lung_margin: How far such a cut stays outside the lungs, each side by itself,
            as shares of their width or height.
        lungs_only_probability: How often all but the lungs is one grey.
        mixing: Alpha of mixup (Zhang et al. 2018, arXiv:1710.09412); 0 is none.
            Images with the same known labels are mixed.
    """

    smallest_area: float = 0.55
    aspect_range: tuple[float, float] = (0.75, 1.35)
    rotation_degrees: float = 10.0
    mirror_probability: float = 0.0
    gamma_log_range: float = 0.35
    contrast_range: float = 0.25
    brightness_range: float = 0.10
    border_probability: float = 0.3
    largest_border: float = 0.18
    patch_probability: float = 0.3
    largest_patch: float = 0.25
    blur_probability: float = 0.2
    lung_crop_probability: float = 0.0
    lung_margin: tuple[float, float] = (-0.03, 0.20)
    lungs_only_probability: float = 0.0
    mixing: float = 0.0

    @property
    def looks_for_lungs(self) -> bool:
        """Whether the lungs of the images must be known."""
        return self.lung_crop_probability > 0 or self.lungs_only_probability > 0


def vary(
    image: np.ndarray,
    *,
    size: int,
    rng: np.random.Generator,
    strength: Augmentation,
    lungs: np.ndarray | None = None,
) -> np.ndarray:
    """Return a varied network input of a cropped image.

    Args:
        image: uint16 (height, width), cropped by the geometry of inference.
        size: Side of the square.
        rng: Decides every variation.
        strength: How strongly.
        lungs: bool mask of any size over the image; None or empty: not known.

    Returns:
        float32 (size, size, 1).
    """
    around = None
    if lungs is not None and lungs.any():
        if rng.random() < strength.lungs_only_probability:
            image = _only_lungs(image, lungs)
        if rng.random() < strength.lung_crop_probability:
            around = lungs
    view = _random_view(image, rng, strength, around=around)
    if rng.random() < strength.mirror_probability:
        view = view[:, ::-1]
    square = squash(np.ascontiguousarray(view), size=size)
    if rng.random() < strength.blur_probability:
        square = cv2.GaussianBlur(square, (3, 3), float(rng.uniform(0.3, 1.0)))
    values = _random_tone(equalise(square), rng, strength)
    _mask_borders(values, rng, strength)
    _mask_patch(values, rng, strength)
    return normalise(values)


def mix(
    inputs: np.ndarray, targets: np.ndarray, *, rng: np.random.Generator, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Blend each image of a batch with another, and their targets alike.

    Args:
        inputs: float32 (batch, size, size, channels).
        targets: float32 (batch, labels); -1 is unknown.
        rng: Decides pairs and shares.
        alpha: Of the Beta distribution that the shares come from.
    """
    others = np.arange(len(inputs))
    _, patterns = np.unique(targets >= 0, axis=0, return_inverse=True)
    for pattern in np.unique(patterns):
        alike = np.flatnonzero(patterns == pattern)
        others[alike] = rng.permutation(alike)
    share = rng.beta(alpha, alpha, len(inputs)).astype(np.float32)
    kept = share[:, None, None, None]
    blended = kept * inputs + (1 - kept) * inputs[others]
    wanted = share[:, None] * targets + (1 - share[:, None]) * targets[others]
    return blended, wanted


def _only_lungs(image: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Set everything outside the lungs to their median grey."""
    height, width = image.shape
    mask = cv2.resize(lungs.astype(np.float32), (width, height)) >= 0.5
    return np.where(mask, image, np.uint16(np.median(image[mask])))


def _random_view(
    image: np.ndarray,
    rng: np.random.Generator,
    strength: Augmentation,
    *,
    around: np.ndarray | None,
) -> np.ndarray:
    """Rotate a little, then crop a random box, around the lungs if given."""
    height, width = image.shape
    angle = float(rng.uniform(-1, 1)) * strength.rotation_degrees
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turned = cv2.warpAffine(
        image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    if around is None:
        return turned[_random_box(height, width, rng, strength)]
    return turned[_box_around(around, height, width, rng, strength)]


def _random_box(
    height: int, width: int, rng: np.random.Generator, strength: Augmentation
) -> tuple[slice, slice]:
    """Return a box of random area, place and aspect ratio."""
    area = float(rng.uniform(strength.smallest_area, 1.0))
    narrow, wide = (math.log(x) for x in strength.aspect_range)
    aspect = math.exp(float(rng.uniform(narrow, wide)))
    box_width = min(width, max(8, round(width * math.sqrt(area * aspect))))
    box_height = min(height, max(8, round(height * math.sqrt(area / aspect))))
    left = int(rng.integers(0, width - box_width + 1))
    top = int(rng.integers(0, height - box_height + 1))
    return slice(top, top + box_height), slice(left, left + box_width)


def _box_around(
    lungs: np.ndarray,
    height: int,
    width: int,
    rng: np.random.Generator,
    strength: Augmentation,
) -> tuple[slice, slice]:
    """Return the box of the lungs with a random margin at each side.

    The lungs are taken where they lay before the image was turned a little: the
    margins vary by more than that moves them.
    """
    box = []
    for axis, side in ((1, height), (0, width)):
        filled = np.flatnonzero(lungs.any(axis=axis)) / lungs.shape[1 - axis]
        first, last = float(filled[0]), float(filled[-1]) + 1 / lungs.shape[1 - axis]
        before, after = rng.uniform(*strength.lung_margin, 2) * (last - first)
        begin = min(max(0, round((first - before) * side)), side - 8)
        box.append(
            slice(begin, max(begin + 8, min(side, round((last + after) * side))))
        )
    return box[0], box[1]


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
