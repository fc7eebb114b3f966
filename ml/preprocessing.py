"""Preprocess display values to the input of a network.

Training, evaluation and inference use the same steps: uniform borders (collimation,
masks, scanner bars) are trimmed, a fixed share of the rest is cropped on each side,
the crop is resized to a square with area interpolation and blurred slightly, and the
histogram is equalised with a limited slope. Cropping and equalisation remove some of
the cues that identify a source without the lungs. Every step is continuous in the pixel
values, so that an 8-bit or JPEG copy of an image is nearly the same input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import cv2
import numpy as np

# Version 3 halves large images first. Smaller ones, such as all training images, have
# the same input as in version 2, to the bit.
PREPROCESSING_VERSION = "3"

# An image is halved as long as its shorter side stays at least this long. Halving is
# one vectorised pass, and all later steps then have a few percent of the pixels.
REDUCED_SIDE = 480

# Borders are found on a thumbnail, without single pixels and compression noise.
THUMBNAIL_SIZE = 128
# A row is border if 80 % of its pixels lie within this share of the image's contrast.
UNIFORM_SHARE = 0.08
# At most this share of the image is trimmed on each side.
LARGEST_TRIM = 0.30
# Cropped on each side afterwards: letters, markers and corners of the collimator.
MARGIN_SHARE = 0.04

# Standard deviation of the blur, in pixels of the square; compression noise is finer.
# Chosen on training patients held out from fitting, by their likelihood and by the
# difference between JPEG copies of an image; training varies it.
SOFTENING_DEVIATION = 0.5

HISTOGRAM_BINS = 256
# Largest slope of the equalisation, so that noise in a flat image stays small.
EQUALISATION_SLOPE = 3.0
INPUT_MEAN = 0.5
INPUT_STANDARD_DEVIATION = 0.25

OUR_SCALING = "ours"
# Means and standard deviations of ImageNet's channels, for networks trained on it.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
# Means of the Caffe convention: 0 to 255, BGR, without division.
CAFFE_MEAN = (103.939, 116.779, 123.68)
# From values in 0..1, float (size, size, channels), to the range that a network was
# trained with. In `keras.applications`, Xception uses -1-1, ResNet50 and VGG use caffe,
# DenseNet uses imagenet.
SCALINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "0-1": lambda image: image,
    "0-255": lambda image: image * 255.0,
    "-1-1": lambda image: image * 2.0 - 1.0,
    "imagenet": lambda image: (
        (image - _of_channels(IMAGENET_MEAN, image))
        / _of_channels(IMAGENET_STANDARD_DEVIATION, image)
    ),
    "caffe": lambda image: image * 255.0 - _of_channels(CAFFE_MEAN, image),
}


def _of_channels(values: tuple[float, ...], image: np.ndarray) -> np.ndarray:
    """Return one value per channel of an image; a grey image gets their mean."""
    array = np.array(values, np.float32)
    return array if image.shape[-1] == len(values) else array.mean(keepdims=True)


@dataclass(frozen=True)
class Geometry:
    """The box of an image that is the network's input, in pixels of the image.

    `top`, `left`, `height`, `width` is the box that is resized to a square of `size` by
    `size`; `source_height` and `source_width` are those of the image.
    """

    source_height: int
    source_width: int
    top: int
    left: int
    height: int
    width: int
    size: int

    def to_json(self) -> dict[str, int]:
        """Return the geometry as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, int]) -> Geometry:
        """Build a geometry from the result of `to_json`."""
        return cls(**{name: int(values[name]) for name in cls.__dataclass_fields__})

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the square (x, y in 0..size) to pixels of the image."""
        return (
            self.left + x * self.width / self.size,
            self.top + y * self.height / self.size,
        )


def preprocess(
    display: np.ndarray, *, size: int, channels: int = 1, scaling: str = OUR_SCALING
) -> tuple[np.ndarray, Geometry]:
    """Convert an image to the network's input.

    Args:
        display: uint16 (height, width), 0 black to 65535 white.
        size: Side of the square.
        channels: Number of equal channels.
        scaling: "ours", or a name in `SCALINGS` for an imported network: then the whole
            image is resized, and only its values are scaled.

    Returns:
        float32 (size, size, channels), with our scaling about -2 to 2, and the
        geometry.
    """
    if scaling != OUR_SCALING:
        return _scaled(display, size=size, channels=channels, scaling=scaling)
    small, factor = reduce(display)
    small_geometry = find_geometry(small, size=size)
    square = soften(squash(crop(small, small_geometry), size=size))
    geometry = _in_source(small_geometry, display, factor)
    return normalise(equalise(square), channels=channels), geometry


def _scaled(
    display: np.ndarray, *, size: int, channels: int, scaling: str
) -> tuple[np.ndarray, Geometry]:
    height, width = display.shape
    square = squash(display.astype(np.float32), size=size) / 65535.0
    image = SCALINGS[scaling](np.repeat(square[..., None], channels, axis=2))
    whole = Geometry(height, width, 0, 0, height, width, size)
    return np.ascontiguousarray(image, np.float32), whole


def reduce(display: np.ndarray, *, side: int = REDUCED_SIDE) -> tuple[np.ndarray, int]:
    """Halve a large image, uint16 (height, width), by means of 2 x 2 pixels.

    Returns:
        The image, at least `side` pixels high and wide unless it was smaller before,
        and the factor by which each side was reduced. An odd last row or column is
        dropped.
    """
    factor = 1
    while min(display.shape) // 2 >= side:
        height, width = (length // 2 for length in display.shape)
        even = display[: 2 * height, : 2 * width]
        display = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
        factor *= 2
    return display, factor


def _in_source(reduced: Geometry, display: np.ndarray, factor: int) -> Geometry:
    """Convert the geometry of a reduced image to that of the original image."""
    height, width = display.shape
    return Geometry(
        source_height=height,
        source_width=width,
        top=reduced.top * factor,
        left=reduced.left * factor,
        height=reduced.height * factor,
        width=reduced.width * factor,
        size=reduced.size,
    )


def find_geometry(display: np.ndarray, *, size: int) -> Geometry:
    """Find the box of an image, uint16 (height, width), without borders and margin."""
    height, width = display.shape
    shape = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    thumbnail = cv2.resize(display, shape, interpolation=cv2.INTER_AREA)
    thumbnail = thumbnail.astype(np.float32)
    low, high = percentiles(thumbnail.ravel(), (0.5, 99.5))
    limit = UNIFORM_SHARE * float(high - low)
    top, bottom = _trimmed(_spread(thumbnail, axis=1), limit)
    left, right = _trimmed(_spread(thumbnail, axis=0), limit)
    first_row, last_row = _with_margin(top, bottom, height)
    first_column, last_column = _with_margin(left, right, width)
    return Geometry(
        source_height=height,
        source_width=width,
        top=first_row,
        left=first_column,
        height=last_row - first_row,
        width=last_column - first_column,
        size=size,
    )


def _spread(thumbnail: np.ndarray, *, axis: int) -> np.ndarray:
    low, high = percentiles(np.moveaxis(thumbnail, axis, 0), (10.0, 90.0))
    return high - low


def percentiles(values: np.ndarray, percents: tuple[float, ...]) -> np.ndarray:
    """Return percentiles along the first axis, equal to `np.percentile` to the bit.

    Sorting float32 is vectorised, and much faster than NumPy's partitions.

    Args:
        values: float32 (count, …).
        percents: Percents, 0 to 100.
    """
    ordered = np.sort(values, axis=0)
    place = (len(ordered) - 1) * np.true_divide(percents, np.float32(100))
    below = np.floor(place).astype(np.intp)
    before, after = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)]
    share = (place - below).reshape(-1, *[1] * (values.ndim - 1))
    step = after - before
    return np.where(share >= 0.5, after - step * (1 - share), before + step * share)


def _trimmed(spread: np.ndarray, limit: float) -> tuple[float, float]:
    """Return begin and end of the image along one axis, as shares of its length."""
    begin = _border(spread, limit)
    end = 1.0 - _border(spread[::-1], limit)
    return begin, end


def _border(spread: np.ndarray, limit: float) -> float:
    inside = np.flatnonzero(spread >= limit)
    # An image without contrast has no border.
    if limit <= 0 or len(inside) == 0 or inside[0] == 0:
        return 0.0
    first = int(inside[0])
    before, after = float(spread[first - 1]), float(spread[first])
    # Interpolated between two rows, so that noise moves the edge only a little.
    position = first - 1 + (limit - before) / max(after - before, 1e-6)
    return min((position + 0.5) / len(spread), LARGEST_TRIM)


def _with_margin(begin: float, end: float, length: int) -> tuple[int, int]:
    margin = MARGIN_SHARE * (end - begin)
    first = round((begin + margin) * length)
    last = round((end - margin) * length)
    first = min(first, length - 1)
    return first, max(last, first + 1)


def crop(display: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Crop an image to the box of `geometry`."""
    rows = slice(geometry.top, geometry.top + geometry.height)
    columns = slice(geometry.left, geometry.left + geometry.width)
    return display[rows, columns]


def squash(image: np.ndarray, *, size: int) -> np.ndarray:
    """Resize to a square by area interpolation, without keeping the aspect ratio."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def soften(square: np.ndarray) -> np.ndarray:
    """Blur a square slightly, so that a compressed copy is nearly the same input."""
    return cv2.GaussianBlur(square, (3, 3), SOFTENING_DEVIATION)


def equalise(square: np.ndarray) -> np.ndarray:
    """Equalise the histogram with a limited slope.

    Args:
        square: Any real dtype (height, width).

    Returns:
        float32 (height, width) in 0..1; 0.5 for an image without contrast.
    """
    values = square.astype(np.float32)
    low, high = (float(x) for x in percentiles(values.ravel(), (0.5, 99.5)))
    if high <= low:
        return np.full(values.shape, 0.5, np.float32)
    counts, _ = np.histogram(values, bins=HISTOGRAM_BINS, range=(low, high))
    density = counts / counts.sum() * HISTOGRAM_BINS
    limited = np.minimum(density, EQUALISATION_SLOPE)
    limited += (1.0 - limited.mean()) * np.ones_like(limited)
    curve = np.concatenate(([0.0], np.cumsum(limited) / HISTOGRAM_BINS))
    # The bins have equal width, so that the index on the curve needs no search.
    place = np.clip((values - low) * (HISTOGRAM_BINS / (high - low)), 0, HISTOGRAM_BINS)
    below = np.minimum(place.astype(np.int32), HISTOGRAM_BINS - 1)
    slope = np.take(np.diff(curve), below)
    risen = np.take(curve, below) + (place - below) * slope
    return risen.astype(np.float32)


def normalise(equalised: np.ndarray, *, channels: int = 1) -> np.ndarray:
    """Standardise values in 0..1 for the network; float32 (height, width, channels)."""
    centred = (equalised - INPUT_MEAN) / INPUT_STANDARD_DEVIATION
    return np.repeat(centred[..., None], channels, axis=2).astype(np.float32)
