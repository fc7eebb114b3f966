"""Estimate lung masks of a frontal chest image by fitting outlines to the contrast.

No network is used: a pair of lung outlines is tried at some thousand positions and
sizes, and placed where its inside is darkest against a ring around it. Then each lung
is moved and stretched alone, and its border follows the grey values within a narrow
band. An opaque lung keeps the border of the outline. The masks serve to measure what
lies outside the lungs, not the lungs themselves.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from ml.preprocessing import Geometry, crop, equalise, find_geometry

# Outlines of a lung from the midline (0) to the chest wall (1), and from the apex (-1)
# down to the costophrenic angle (1). Left is the patient's left, with the heart.
RIGHT_LUNG = (
    (0.32, -1.0), (0.50, -0.92), (0.68, -0.70), (0.84, -0.35), (0.95, 0.05),
    (1.0, 0.50), (1.0, 0.98), (0.86, 0.86), (0.62, 0.74), (0.38, 0.72),
    (0.22, 0.80), (0.24, 0.40), (0.26, 0.05), (0.20, -0.25), (0.17, -0.60),
    (0.20, -0.88),
)  # fmt: skip
LEFT_LUNG = (
    (0.32, -1.0), (0.50, -0.92), (0.68, -0.70), (0.84, -0.35), (0.95, 0.05),
    (1.0, 0.50), (1.0, 0.98), (0.90, 0.90), (0.72, 0.80), (0.60, 0.80),
    (0.56, 0.62), (0.46, 0.36), (0.32, 0.12), (0.22, -0.15), (0.20, -0.40),
    (0.17, -0.60), (0.20, -0.88),
)  # fmt: skip
INNERMOST = 0.17

# Sides of the squares for the search and for the refinement.
SEARCH_SIZE = 64
SIZE = 128
# Width of the ring around an outline, as a share of its half width; in pixels of SIZE.
RING_SHARE = 0.22
RING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
# How far the border may leave the outline, in pixels of SIZE.
OUTWARDS = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
INWARDS = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
HOLES = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
# Reference areas: without them small outlines win, since they are easily dark inside.
PAIR_SHARE = 0.25
LUNG_SHARE = 0.12
DRIFT_COST = 8.0
# The centre of an area of air lies within this share of the width from a side.
AIR_DEPTH = 0.16
# Equalised grey values of air are below this.
AIR_LEVEL = 0.15

# Below these contrasts, in local standard deviations, the estimate is rejected. Chosen
# by inspecting the worst of 700 images of five sources.
LEAST_PAIR_CONTRAST = 0.58
LEAST_LUNG_CONTRAST = 0.60
# The default then: (midline, half width, top, bottom) in the box of the network input,
# the mean over five sources of the medians of their accepted estimates.
DEFAULT_PLACE = (0.5, 0.44, 0.05, 0.94)


@dataclass(frozen=True)
class Lungs:
    """The lung fields of an image.

    `mask` is bool (height, width) in pixels of the image. If not `estimated`, the image
    is too opaque or too unlike a frontal chest, and `mask` is the default. `contrast`
    is that of the pair, in local standard deviations.
    """

    mask: np.ndarray
    estimated: bool
    contrast: float


def find_lungs(display: np.ndarray) -> Lungs:
    """Estimate the lung fields of a frontal image, uint16 (height, width)."""
    geometry = find_geometry(display, size=2 * SIZE)
    image = cv2.resize(
        crop(display, geometry), (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_AREA
    )
    image = _without_air(equalise(cv2.GaussianBlur(image, (0, 0), 1.5)))
    place, contrast = _search(_locally_normalised(image, SEARCH_SIZE))
    normalised = _locally_normalised(image, SIZE)
    midline, half_width, top, bottom = place
    mask = np.zeros((SIZE, SIZE), np.uint8)
    least = np.inf
    for outline, side in ((RIGHT_LUNG, -1), (LEFT_LUNG, 1)):
        inner = midline + side * INNERMOST * half_width
        outer = midline + side * half_width
        shape, contrast_here = _refined(
            normalised, outline, (inner, outer, top, bottom)
        )
        least = min(least, contrast_here)
        mask |= _followed(normalised, shape)
    estimated = contrast >= LEAST_PAIR_CONTRAST and least >= LEAST_LUNG_CONTRAST
    if not estimated:
        mask = _pair(SIZE, DEFAULT_PLACE)
    return Lungs(_in_image(mask, geometry), estimated, contrast)


def _without_air(image: np.ndarray) -> np.ndarray:
    """Replace the air beside the body, dark like lungs, by the grey of the body.

    Air is dark, touches the left or right side and stays near it. A lung that touches
    the side, because the image is cropped there, extends further inwards.
    """
    small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    dark: np.ndarray = (small < AIR_LEVEL).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, OUTWARDS)
    count, components, stats, centres = cv2.connectedComponentsWithStats(dark)
    air = np.zeros((SIZE, SIZE), np.uint8)
    for component in range(1, count):
        first, _, width = stats[component, : cv2.CC_STAT_HEIGHT]
        depth = min(centres[component, 0], SIZE - 1 - centres[component, 0])
        if (first == 0 or first + width == SIZE) and depth < AIR_DEPTH * SIZE:
            air |= (components == component).astype(np.uint8)
    if not air.any():
        return image
    is_air = (
        cv2.resize(cv2.dilate(air, OUTWARDS), image.shape, interpolation=cv2.INTER_AREA)
        > 0
    )
    body = image[~is_air & (image > 0.5)]
    return np.where(is_air, np.float32(np.median(body)), image) if body.size else image


def _locally_normalised(image: np.ndarray, size: int) -> np.ndarray:
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    deviation = size * 0.19
    centred = small - cv2.GaussianBlur(small, (0, 0), deviation)
    spread = np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), deviation)) + 0.05
    return centred / spread


def _search(image: np.ndarray) -> tuple[tuple[float, ...], float]:
    """Return the place where the pair of outlines fits best, and its contrast."""
    places, weights, areas = _shapes()
    contrasts = weights @ image.ravel()
    best = int(np.argmax(contrasts * np.sqrt(areas / PAIR_SHARE)))
    return places[best], float(contrasts[best])


@functools.lru_cache(maxsize=1)
def _shapes() -> tuple[list[tuple[float, ...]], np.ndarray, np.ndarray]:
    """Return all places, their weights, float32 (places, pixels), and their areas."""
    places: list[tuple[float, ...]] = [
        (midline, half_width, top, top + height)
        for midline in np.arange(0.38, 0.63, 0.04)
        for half_width in np.arange(0.26, 0.55, 0.04)
        for top in np.arange(-0.02, 0.36, 0.05)
        for height in np.arange(0.35, 1.06, 0.07)
        if 0.5 <= top + height <= 1.06 and 0.55 < height / (2 * half_width) < 1.6
    ]
    weights = np.empty((len(places), SEARCH_SIZE**2), np.float32)
    areas = np.empty(len(places))
    for number, place in enumerate(places):
        inside = _pair(SEARCH_SIZE, place)
        side = max(3, round(RING_SHARE * place[1] * SEARCH_SIZE) | 1)
        element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        ring = cv2.dilate(inside, element) - inside
        signed = ring / ring.sum() - inside / inside.sum()
        weights[number] = signed.ravel()
        areas[number] = inside.mean()
    return places, weights, areas


def _pair(size: int, place: tuple[float, ...]) -> np.ndarray:
    midline, half_width, top, bottom = place
    mask = np.zeros((size, size), np.uint8)
    for outline, side in ((RIGHT_LUNG, -1), (LEFT_LUNG, 1)):
        inner = midline + side * INNERMOST * half_width
        mask |= _drawn(size, outline, (inner, midline + side * half_width, top, bottom))
    return mask


def _drawn(
    size: int, outline: tuple[tuple[float, float], ...], box: tuple[float, ...]
) -> np.ndarray:
    """Draw one lung, uint8 (size, size), between inner, outer, top and bottom."""
    inner, outer, top, bottom = box
    points = np.array(outline)
    outwards = (points[:, 0] - INNERMOST) / (1.0 - INNERMOST)
    across = inner + outwards * (outer - inner)
    down = top + (points[:, 1] + 1.0) / 2.0 * (bottom - top)
    sixteenths = np.rint(np.stack([across, down], axis=1) * size * 16)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [sixteenths.astype(np.int32)], 1, shift=4)
    return mask


def _refined(
    image: np.ndarray,
    outline: tuple[tuple[float, float], ...],
    start: tuple[float, ...],
) -> tuple[np.ndarray, float]:
    """Move the four sides of one lung as long as its contrast increases."""

    def score(box: tuple[float, ...]) -> float:
        inner, outer, top, bottom = box
        if top < -0.04 or bottom > 1.05 or abs(outer - inner) < 0.12:
            return -np.inf
        shape = _drawn(SIZE, outline, box)
        drift = sum((a - b) ** 2 for a, b in zip(box, start, strict=True))
        gain = _contrast(image, shape) * np.sqrt(shape.mean() / LUNG_SHARE)
        return float(gain - DRIFT_COST * drift)

    box, best = start, score(start)
    for step in (0.04, 0.04, 0.02, 0.02, 0.01, 0.01):
        for side in range(4):
            for move in (-step, step):
                moved = (*box[:side], box[side] + move, *box[side + 1 :])
                value = score(moved)
                if value > best:
                    box, best = moved, value
    return _drawn(SIZE, outline, box), best


def _contrast(image: np.ndarray, shape: np.ndarray) -> float:
    inside = shape > 0
    ring = (cv2.dilate(shape, RING) > 0) & ~inside
    if not inside.any() or not ring.any():
        return -np.inf
    return float(image[ring].mean() - image[inside].mean())


def _followed(image: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Fit the border of one lung to the grey values near the outline."""
    core, wide = cv2.erode(shape, INWARDS), cv2.dilate(shape, OUTWARDS)
    around = (cv2.dilate(shape, INWARDS) > 0) & (shape == 0)
    if not core.any() or not around.any():
        return shape
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5)
    middle = (np.median(smooth[core > 0]) + np.median(smooth[around])) / 2.0
    mask = core | (wide & (smooth < middle).astype(np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, INWARDS)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, HOLES)
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return shape
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return (components == largest).astype(np.uint8)


def _in_image(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Map a mask of the box (SIZE, SIZE) to the image, as bool (height, width)."""
    full = np.zeros((geometry.source_height, geometry.source_width), bool)
    smooth = cv2.resize(
        mask.astype(np.float32),
        (geometry.width, geometry.height),
        interpolation=cv2.INTER_LINEAR,
    )
    crop(full, geometry)[:] = smooth >= 0.5
    return full
