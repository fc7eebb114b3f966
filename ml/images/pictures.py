"""Decode pictures (PNG, JPEG, TIFF, BMP) as a viewer shows them.

Import these names from `ml.pixels`.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

from ml.errors import ImageError

# 8192 x 8192: more than any X-ray detector has, less than a decompression bomb.
MAX_PIXELS_PER_FRAME = 8192 * 8192

# MPO, written by some cameras, begins with a JPEG and is opened as such.
PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
LOSSY_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp", "lerc"})

# ITU-R BT.601, as in PS3.3 C.7.6.3.1.2 for YBR_FULL; in thousandths, so exact.
LUMINANCE_THOUSANDTHS = (299, 587, 114)

# A pixel is coloured if its channels differ by more than this (of 255).
COLOUR_DISTANCE = 24
# A picture is in colour if more than this share of its pixels is coloured, so that a
# small red stamp does not count.
COLOURED_SHARE = 0.05

DECODER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    cv2.error,
)


@dataclass(frozen=True)
class Picture:
    """A decoded picture: uint8 or uint16, (H, W) or (H, W, 3) RGB, EXIF applied."""

    pixels: np.ndarray
    bits: int
    format: str
    lossy: bool


def check_pixel_count(rows: int, columns: int) -> None:
    """Check the size of a frame before it is decoded.

    Raises:
        ImageError: no_pixels or too_many_pixels.
    """
    if rows <= 0 or columns <= 0:
        raise ImageError("The image has no rows or columns.", reason_code="no_pixels")
    if rows * columns > MAX_PIXELS_PER_FRAME:
        raise ImageError(
            "The image has %(columns)d x %(rows)d pixels. At most %(limit)d million "
            "pixels are allowed.",
            params={
                "columns": columns,
                "rows": rows,
                "limit": MAX_PIXELS_PER_FRAME // 10**6,
            },
            reason_code="too_many_pixels",
        )


def read_picture(data: bytes) -> Picture:
    """Decode a picture.

    Args:
        data: The file's bytes.

    Returns:
        The first page, with EXIF orientation applied and alpha dropped; CMYK and
        palettes as RGB or grey.

    Raises:
        ImageError: The file has another format, is too large, or is damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as image:
            check_pixel_count(image.height, image.width)
            pixels = _pixels(image, data)
            return Picture(
                pixels=np.ascontiguousarray(pixels),
                bits=8 * pixels.dtype.itemsize,
                format="JPEG" if image.format == "MPO" else str(image.format),
                lossy=_is_lossy(image),
            )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            "The picture decompresses to more pixels than are allowed.",
            reason_code="too_many_pixels",
        ) from error
    except DECODER_ERRORS as error:
        raise ImageError(
            "The file cannot be read as a PNG, JPEG, TIFF or BMP picture. It may be "
            "damaged or have another format."
        ) from error


def picture_display(picture: Picture) -> np.ndarray:
    """Return display values, uint16 (H, W): 8 bits times 257, 16 bits unchanged."""
    if picture.pixels.ndim == 3:
        return luminance(picture.pixels, bits=picture.bits)
    return to_uint16(picture.pixels, bits=picture.bits)


def to_uint16(values: np.ndarray, *, bits: int) -> np.ndarray:
    """Scale unsigned values of `bits` bits to 0..65535, uint16."""
    if bits == 16:
        return values.astype(np.uint16)
    if bits == 8:
        return values.astype(np.uint16) * np.uint16(257)
    largest = (1 << bits) - 1
    scaled = np.rint(values.astype(np.float64) * (65535.0 / largest))
    return np.clip(scaled, 0, 65535).astype(np.uint16)


def luminance(colours: np.ndarray, *, bits: int) -> np.ndarray:
    """Convert RGB (H, W, 3) of `bits` bits to grey display values, uint16 (H, W)."""
    red, green, blue = LUMINANCE_THOUSANDTHS
    wide = colours.astype(np.uint32)
    total = red * wide[..., 0] + green * wide[..., 1] + blue * wide[..., 2]
    if bits == 8:
        return ((total * 257 + 500) // 1000).astype(np.uint16)
    largest = (1 << bits) - 1
    return np.rint(total / 1000.0 * (65535.0 / largest)).astype(np.uint16)


def channels_differ(colours: np.ndarray, *, bits: int = 8) -> bool:
    """Tell whether RGB pixels (H, W, 3) show colour, beyond noise and a small stamp."""
    # Every fourth row and column is enough, and sixteen times faster.
    sample = colours[::4, ::4].astype(np.int32)
    difference = sample.max(axis=2) - sample.min(axis=2)
    limit = COLOUR_DISTANCE * ((1 << bits) - 1) / 255
    return bool((difference > limit).mean() > COLOURED_SHARE)


def _pixels(image: Image.Image, data: bytes) -> np.ndarray:
    if _is_deep_colour(image, data):
        return _deep_colour(data)
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        grey = np.asarray(upright).astype(np.uint16)
        return np.uint16(65535) - grey if _white_is_zero(image) else grey
    if upright.mode == "I":
        return _from_wide(np.asarray(upright))
    if upright.mode in ("L", "1", "LA"):
        return np.asarray(upright.convert("L"))
    if upright.mode == "F":
        raise ValueError("floating point pixels have no display range")
    return _grey_if_equal(np.asarray(upright.convert("RGB")))


def _is_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Tell whether Pillow would reduce 16-bit PNG channels to 8 (RFC 2083 4.1.1)."""
    return image.format == "PNG" and data[24] == 16 and data[25] in (2, 4, 6)


def _deep_colour(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("damaged picture")
    if pixels.ndim == 2:
        return pixels
    return _grey_if_equal(np.ascontiguousarray(pixels[..., 2::-1]))


def _grey_if_equal(colours: np.ndarray) -> np.ndarray:
    """Return one channel if all three are equal, else the colours."""
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    is_grey = np.array_equal(red, green) and np.array_equal(red, blue)
    return red if is_grey else colours


def _from_wide(values: np.ndarray) -> np.ndarray:
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError("more than 16 bits")
    return values.astype(np.uint16)


def _white_is_zero(image: Image.Image) -> bool:
    """Tell whether a TIFF is WhiteIsZero (tag 262, TIFF 6.0 section 4)."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(262) == 0


def _is_lossy(image: Image.Image) -> bool:
    if image.format in LOSSY_FORMATS:
        return True
    return image.format == "TIFF" and image.info.get("compression") in LOSSY_TIFF
