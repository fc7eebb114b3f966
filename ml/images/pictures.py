"""Decode pictures (PNG, JPEG, TIFF, BMP) as a viewer shows them.

Import these names from `ml.pixels`.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, MpoImagePlugin, TiffImagePlugin

from ml.errors import ImageError
from ml.images.codestreams import exif_segment, read_jpeg_header
from ml.images.jpeg_extended import decode_jpeg_extended

# 8192 x 8192: more than any X-ray detector has, less than a decompression bomb.
MAX_PIXELS_PER_FRAME = 8192 * 8192

PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
LOSSY_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp", "lerc"})

# TIFF 6.0 section 8: tags of a page, and what makes it no image of its own.
NEW_SUBFILE_TYPE, SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC = 254, 255, 258, 262
REDUCED_IMAGE, TRANSPARENCY_MASK, OLD_REDUCED_IMAGE = 1, 4, 2
PLANAR_CONFIGURATION, SEPARATE_PLANES = 284, 2
SAMPLE_FORMAT, SIGNED_SAMPLES = 339, 2
MPO_ENTRIES, MPO_THUMBNAIL = 0xB002, "Large Thumbnail"
ORIENTATION = 0x0112

# Deep grey TIFF that Pillow's decoders read, although its table lacks them: big-endian
# files of 12 bits (samples under 16 bits are packed alike in both orders, TIFF 6.0
# sections 2 and 8), and those that count from white, which `_pixels` inverts.
for _order, _photometric, _bits_a_sample, _mode, _raw_mode in (
    (TiffImagePlugin.MM, 0, 16, "I;16B", "I;16B"),
    (TiffImagePlugin.MM, 0, 12, "I;16", "I;12"),
    (TiffImagePlugin.MM, 1, 12, "I;16", "I;12"),
    (TiffImagePlugin.II, 0, 12, "I;16", "I;12"),
):
    TiffImagePlugin.OPEN_INFO.setdefault(
        (_order, _photometric, (1,), 1, (_bits_a_sample,), ()), (_mode, _raw_mode)
    )

# A deep picture that uses a smaller share of its range than this is stretched.
LEAST_SHARE_OF_RANGE = 0.25

# ITU-R BT.601, as PS3.3 C.7.6.3.1.2 has it for YBR_FULL; in thousandths, so exact.
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
    """A decoded picture.

    Attributes:
        pixels: uint8 or uint16, (H, W) or (H, W, 3) RGB, EXIF orientation applied.
        bits: Bits of a sample: white is its greatest value.
        format: PNG, JPEG, TIFF or BMP.
        lossy: Whether its compression loses information.
    """

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
        The one image of the file, EXIF orientation applied, alpha dropped, CMYK and
        palettes as RGB or grey. Reduced copies of it are passed over.

    Raises:
        ImageError: Not one of the formats, several images in one file, too large, or
            damaged.
    """
    try:
        if _is_deep_jpeg(data):
            return _deep_jpeg(data)
        with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as image:
            image.seek(_only_image(image))
            check_pixel_count(image.height, image.width)
            _check_samples(image)
            pixels, bits = _spread_colours(*_pixels(image, data))
            return Picture(
                pixels=np.ascontiguousarray(pixels),
                bits=bits,
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
    """Return display values, uint16 (H, W), 0 black to 65535 white."""
    if picture.pixels.ndim == 3:
        return luminance(picture.pixels, bits=picture.bits)
    low, high = display_range(picture.pixels, bits=picture.bits)
    if (low, high) == (0, (1 << picture.bits) - 1):
        return to_uint16(picture.pixels, bits=picture.bits)
    share = (picture.pixels.astype(np.float64) - low) / (high - low)
    return np.rint(np.clip(share, 0.0, 1.0) * 65535).astype(np.uint16)


def display_range(pixels: np.ndarray, *, bits: int) -> tuple[int, int]:
    """Return the values that are black and white in a grey picture (H, W).

    That is the whole range. A deep picture that uses a small part of it, as 12-bit
    values in a 16-bit file do, would be all black: its own range is shown instead.
    """
    white = (1 << bits) - 1
    low, high = int(pixels.min()), int(pixels.max())
    if bits > 8 and 0 < high - low < LEAST_SHARE_OF_RANGE * white:
        return low, high
    return 0, white


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


def _only_image(image: Image.Image) -> int:
    """Return the number of the one page that is an image.

    Raises:
        ImageError: several_images.
    """
    count = getattr(image, "n_frames", 1)
    if count == 1:
        return 0
    pages = [page for page in range(count) if _is_whole(image, page)]
    if len(pages) != 1:
        raise ImageError(
            "The file holds %(count)d images. Send each of them as a file of its own.",
            params={"count": len(pages)},
            reason_code="several_images",
        )
    return pages[0]


def _is_whole(image: Image.Image, page: int) -> bool:
    """Say whether a page is an image of its own: no reduced copy and no mask."""
    if isinstance(image, MpoImagePlugin.MpoImageFile):
        entries = (image.mpinfo or {}).get(MPO_ENTRIES) or []
        kind = entries[page]["Attribute"]["MPType"] if page < len(entries) else ""
        return not str(kind).startswith(MPO_THUMBNAIL)
    image.seek(page)
    tags = getattr(image, "tag_v2", {})
    kind = int(tags.get(NEW_SUBFILE_TYPE, 0))
    old_kind = int(tags.get(SUBFILE_TYPE, 0))
    is_part = kind & (REDUCED_IMAGE | TRANSPARENCY_MASK)
    return not is_part and old_kind != OLD_REDUCED_IMAGE


def _is_deep_jpeg(data: bytes) -> bool:
    """Say whether the file is a JPEG of 12 bits, which Pillow does not read."""
    header = read_jpeg_header(data)
    return header is not None and header.precision == 12


def _deep_jpeg(data: bytes) -> Picture:
    header = read_jpeg_header(data)
    if header is not None:
        check_pixel_count(header.rows, header.columns)
    pixels = decode_jpeg_extended(data)
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif.load(exif_segment(data))
    upright.getexif()[ORIENTATION] = exif.get(ORIENTATION, 1)
    return Picture(
        pixels=np.asarray(ImageOps.exif_transpose(upright)).astype(np.uint16),
        bits=12,
        format="JPEG",
        lossy=True,
    )


def _pixels(image: Image.Image, data: bytes) -> tuple[np.ndarray, int]:
    """Return the samples of a picture, and their bits."""
    if _is_deep_colour(image, data):
        return _deep_colour(data), 16
    upright = ImageOps.exif_transpose(image)
    bits = _bits(image)
    if upright.mode.startswith("I;16"):
        grey = np.asarray(upright).astype(np.uint16)
        white = np.uint16((1 << bits) - 1)
        return (white - grey if _white_is_zero(image) else grey), bits
    if upright.mode == "I":
        if _white_is_zero(image):
            raise ValueError("nobody knows what is white in 32 bits")
        return _from_wide(np.asarray(upright)), 16
    if upright.mode in ("L", "1", "LA"):
        return np.asarray(upright.convert("L")), 8
    if upright.mode == "F":
        raise ValueError("floating point pixels have no display range")
    return _grey_if_equal(np.asarray(upright.convert("RGB"))), 8


def _check_samples(image: Image.Image) -> None:
    """Refuse the forms of TIFF that Pillow opens and reads wrongly (TIFF 6.0).

    It takes signed samples of 8 bits as unsigned, and channels of 16 bits that lie one
    after the other as 8 bits. No display range says what is black in signed samples.

    Raises:
        ValueError: The form is not read.
    """
    tags = getattr(image, "tag_v2", {})
    if SIGNED_SAMPLES in _listed(tags.get(SAMPLE_FORMAT)):
        raise ValueError("signed samples have no display range")
    deep = any(bits > 8 for bits in _listed(tags.get(BITS_PER_SAMPLE)))
    if deep and tags.get(PLANAR_CONFIGURATION) == SEPARATE_PLANES:
        raise ValueError("deep channels in planes of their own")


def _listed(value: Any) -> tuple[int, ...]:
    """Return the values of a tag; it has one, several or none."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, tuple) else (value,)


def _bits(image: Image.Image) -> int:
    """Return the bits of a deep grey picture (TIFF tag BitsPerSample)."""
    stated = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, 16)
    bits = int(stated[0] if isinstance(stated, tuple) else stated)
    return bits if 8 < bits < 16 else 16


def _spread_colours(pixels: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Spread deep colours that use a small part of their range, all channels alike."""
    if pixels.ndim == 2 or bits <= 8:
        return pixels, bits
    greatest = int(pixels.max())
    if not 0 < greatest < LEAST_SHARE_OF_RANGE * ((1 << bits) - 1):
        return pixels, bits
    factor = ((1 << bits) - 1) / greatest
    return np.rint(pixels * factor).astype(np.uint16), bits


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
    """Say whether a TIFF counts from white (TIFF 6.0 section 4)."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(PHOTOMETRIC) == 0


def _is_lossy(image: Image.Image) -> bool:
    if image.format in LOSSY_FORMATS:
        return True
    return image.format == "TIFF" and image.info.get("compression") in LOSSY_TIFF
