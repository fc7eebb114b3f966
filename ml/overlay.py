"""Draw images and heat-map overlays as PNG. Depends on NumPy and OpenCV only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ml.errors import ImageError

# The opacity of a cell is its share of the strongest to this power.
OPACITY_EXPONENT = 0.8
# Contributions to the logit below these are not painted: a share of the strongest of
# the model's findings, and a value that changes no probability by more than 0.0125.
FLOOR_SHARE = 0.1
FLOOR_LOGIT = 0.05
# A probability below this is shown as 0.00, so its heat map paints nothing.
LEAST_PROBABILITY = 0.005


@dataclass(frozen=True)
class HeatScale:
    """The colour scale of all heat maps of one run of a model.

    `strongest` is the largest contribution to the logit of any cell for any finding.
    """

    strongest: float

    @property
    def floor(self) -> float:
        """Contributions below this are transparent."""
        return max(FLOOR_LOGIT, FLOOR_SHARE * self.strongest)

    def shares(self, contributions: np.ndarray) -> np.ndarray:
        """Return each contribution as a share of the strongest, 0 below the floor."""
        values = np.nan_to_num(contributions.astype(np.float32), posinf=0.0, neginf=0.0)
        if self.strongest < self.floor:
            return np.zeros_like(values)
        shown = np.where(values >= self.floor, values, 0.0)
        return np.clip(shown / self.strongest, 0.0, 1.0)


def heat_scale(findings: Iterable[tuple[float, float]]) -> HeatScale:
    """Return the colour scale of a run.

    Args:
        findings: The probability of each finding, and its largest contribution to the
            logit.
    """
    painted = (
        strongest
        for probability, strongest in findings
        if paints(probability) and np.isfinite(strongest)
    )
    return HeatScale(max(painted, default=0.0))


def paints(probability: float) -> bool:
    """Return whether the heat map of a finding is painted at all."""
    return probability >= LEAST_PROBABILITY


def heat_layer(
    contributions: np.ndarray,
    *,
    scale: HeatScale,
    geometry_json: Mapping[str, int],
    size: int | None = None,
    cells: bool = False,
) -> np.ndarray:
    """Draw a heat-map grid as a layer over its image.

    Args:
        contributions: float (rows, columns), what each cell adds to the logit.
        scale: The colour scale of the run.
        geometry_json: The result of `Geometry.to_json` for the image.
        size: Longest side of the result; without it, that of the image.
        cells: Draw flat cells, as they were computed, instead of interpolated values.

    Returns:
        RGBA uint8 (H, W, 4) in the geometry of the image. It is transparent below the
        floor of the scale, and outside the box that was the input of the network: no
        value is interpolated over the edge of the box.
    """
    box = {name: int(value) for name, value in geometry_json.items()}
    source = (box["source_height"], box["source_width"])
    height, width = _fitted(*source, size)
    layer = np.zeros((height, width, 4), np.uint8)
    rows = _inside(box["top"], box["height"], height / source[0])
    columns = _inside(box["left"], box["width"], width / source[1])
    part = layer[rows, columns]
    # Cubic, since linear interpolation of few cells would show stars and squares.
    heat = cv2.resize(
        np.clip(np.nan_to_num(contributions.astype(np.float32)), 0.0, None),
        (part.shape[1], part.shape[0]),
        interpolation=cv2.INTER_NEAREST if cells else cv2.INTER_CUBIC,
    )
    shares = scale.shares(heat)
    levels = np.rint(shares * 255).astype(np.uint8)
    part[..., :3] = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    part[..., 3] = np.rint(np.power(shares, OPACITY_EXPONENT) * 255).astype(np.uint8)
    layer[layer[..., 3] == 0] = 0
    return layer


def _inside(begin: int, length: int, share: float) -> slice:
    """Return the pixels that lie wholly in a span of the source, at least one."""
    first, last = math.ceil(begin * share), math.floor((begin + length) * share)
    return slice(first, last) if last > first else slice(first - 1, first)


def overlay_png(
    display: np.ndarray,
    contributions: np.ndarray,
    *,
    scale: HeatScale,
    geometry_json: Mapping[str, int],
    opacity: float = 0.5,
    size: int | None = None,
    cells: bool = False,
) -> bytes:
    """Return a PNG (RGB, 8 bits) of an image with a heat map over it.

    Args:
        display: uint16 (H, W), the image of the grid.
        contributions: float (rows, columns), what each cell adds to the logit.
        scale: The colour scale of the run.
        geometry_json: The result of `Geometry.to_json` for the image.
        opacity: Opacity of the strongest cell, 0 to 1.
        size: Longest side of the picture; without it, that of the image.
        cells: Draw flat cells.

    Raises:
        ImageError: The size of the image differs from that of the geometry.
    """
    expected = (geometry_json["source_height"], geometry_json["source_width"])
    if display.shape != tuple(expected):
        raise ImageError("The heat map belongs to an image of another size.")
    layer = heat_layer(
        contributions,
        scale=scale,
        geometry_json=geometry_json,
        size=size,
        cells=cells,
    )
    image = to_eight_bits(_resized(display, size))[..., None].astype(np.float32)
    share = layer[..., 3:].astype(np.float32) / 255.0 * float(np.clip(opacity, 0, 1))
    mixed = image * (1.0 - share) + layer[..., :3].astype(np.float32) * share
    return _png(np.rint(mixed).astype(np.uint8)[..., ::-1])


def display_png(
    display: np.ndarray, *, size: int | None = None, bits: int = 8
) -> bytes:
    """Return a grey PNG of an image, of 8 or 16 bits.

    Args:
        display: uint16 (H, W).
        size: Longest side of the picture; without it, that of the image.
        bits: 8 or 16.
    """
    image = _resized(display, size)
    return _png(image if bits == 16 else to_eight_bits(image))


def annotation_layer(mask: np.ndarray) -> np.ndarray:
    """Return annotations as a layer, uint8 (H, W, 4): yellow with a dark edge.

    Args:
        mask: bool (H, W), where they draw.
    """
    edge = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[edge] = (0, 0, 0, 160)
    layer[mask] = (255, 224, 102, 255)
    return layer


def layer_png(layer: np.ndarray) -> bytes:
    """Return a PNG of an RGBA layer, uint8 (H, W, 4)."""
    return _png(cv2.cvtColor(layer, cv2.COLOR_RGBA2BGRA))


def to_eight_bits(display: np.ndarray) -> np.ndarray:
    """Round display values, uint16, to uint8; the inverse of a product with 257."""
    return ((display.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _resized(display: np.ndarray, size: int | None) -> np.ndarray:
    height, width = _fitted(display.shape[0], display.shape[1], size)
    if (height, width) == display.shape:
        return display
    return cv2.resize(display, (width, height), interpolation=cv2.INTER_AREA)


def _fitted(height: int, width: int, size: int | None) -> tuple[int, int]:
    """Return the shape with the longest side at most `size`; never larger."""
    longest = max(height, width)
    if not size or size >= longest:
        return height, width
    share = size / longest
    return max(1, round(height * share)), max(1, round(width * share))


def _png(pixels: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise ImageError("The picture could not be encoded as PNG.")
    return encoded.tobytes()
