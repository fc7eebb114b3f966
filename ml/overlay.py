"""Draw images and heat-map overlays as PNG. Depends on NumPy and OpenCV only."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from ml.errors import ImageError

# The opacity of a cell is its value to this power, so that weak cells are transparent.
OPACITY_EXPONENT = 0.8


def heat_layer(
    grid: np.ndarray, *, geometry_json: Mapping[str, int], size: int | None = None
) -> np.ndarray:
    """Draw a heat-map grid as a layer over its image.

    Args:
        grid: float (rows, columns), 0 to at most 1.
        geometry_json: The result of `Geometry.to_json` for the image.
        size: Longest side of the result; without it, that of the image.

    Returns:
        RGBA uint8 (H, W, 4) in the geometry of the image, transparent outside the box
        that was the input of the network.
    """
    box = {name: int(value) for name, value in geometry_json.items()}
    source = (box["source_height"], box["source_width"])
    height, width = _fitted(*source, size)
    down, across = height / source[0], width / source[1]
    top, left = round(box["top"] * down), round(box["left"] * across)
    bottom = max(top + 1, round((box["top"] + box["height"]) * down))
    right = max(left + 1, round((box["left"] + box["width"]) * across))
    values = np.clip(np.nan_to_num(grid.astype(np.float32)), 0.0, 1.0)
    # Cubic, since linear interpolation of few cells would show stars and squares.
    heat = cv2.resize(
        values, (right - left, bottom - top), interpolation=cv2.INTER_CUBIC
    )
    levels = np.rint(np.clip(heat, 0.0, 1.0) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    layer = np.zeros((height, width, 4), np.uint8)
    part = layer[top:bottom, left:right]
    rows, columns = part.shape[:2]
    part[..., :3] = colours[:rows, :columns, ::-1]
    opacity = np.power(levels / 255.0, OPACITY_EXPONENT) * 255
    part[..., 3] = np.rint(opacity[:rows, :columns]).astype(np.uint8)
    return layer


def overlay_png(
    display: np.ndarray,
    grid: np.ndarray,
    *,
    geometry_json: Mapping[str, int],
    opacity: float = 0.5,
    size: int | None = None,
) -> bytes:
    """Return a PNG (RGB, 8 bits) of an image with a heat map over it.

    Args:
        display: uint16 (H, W), the image of the grid.
        grid: float (rows, columns), 0 to at most 1.
        geometry_json: The result of `Geometry.to_json` for the image.
        opacity: Opacity of the hottest cell, 0 to 1.
        size: Longest side of the picture; without it, that of the image.

    Raises:
        ImageError: The size of the image differs from that of the geometry.
    """
    expected = (geometry_json["source_height"], geometry_json["source_width"])
    if display.shape != tuple(expected):
        raise ImageError("The heat map belongs to an image of another size.")
    layer = heat_layer(grid, geometry_json=geometry_json, size=size)
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
