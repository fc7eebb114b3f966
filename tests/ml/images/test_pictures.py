"""Pictures: depth, colour, orientation, damage."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ml.errors import ImageError
from ml.images.pictures import channels_differ
from ml.pixels import picture_display, read_picture
from tests.ml.image_factory import chest_like, encoded

EIGHT_BITS = (chest_like() // 257).astype(np.uint8)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_pictures_keep_their_pixels(kind: str) -> None:
    picture = read_picture(saved(Image.fromarray(EIGHT_BITS), kind))
    assert np.array_equal(picture.pixels, EIGHT_BITS)
    assert (picture.bits, picture.format, picture.lossy) == (8, kind, False)
    assert np.array_equal(picture_display(picture), EIGHT_BITS.astype(np.uint16) * 257)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bits_stay_16_bits(extension: str) -> None:
    picture = read_picture(encoded(chest_like(), extension))
    assert picture.bits == 16
    assert np.array_equal(picture.pixels, chest_like())


def test_16_bit_colours_stay_16_bits() -> None:
    colours = np.stack([chest_like(seed=s) for s in (1, 2, 3)], axis=2)
    picture = read_picture(encoded(colours, ".png"))
    assert np.array_equal(picture.pixels, colours)


def test_equal_channels_become_one() -> None:
    grey = np.repeat(EIGHT_BITS[..., None], 3, axis=2)
    assert np.array_equal(read_picture(encoded(grey, ".png")).pixels, EIGHT_BITS)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_read_and_marked_lossy(progressive: bool) -> None:
    data = saved(
        Image.fromarray(EIGHT_BITS), "JPEG", quality=95, progressive=progressive
    )
    picture = read_picture(data)
    assert picture.lossy
    assert np.abs(picture.pixels.astype(int) - EIGHT_BITS).max() < 16


def test_cmyk_is_read_as_rgb() -> None:
    picture = Image.fromarray(np.repeat(EIGHT_BITS[..., None], 3, axis=2))
    picture = read_picture(saved(picture.convert("CMYK"), "JPEG", quality=95))
    shown = picture_display(picture) // 257
    assert np.abs(shown.astype(int) - EIGHT_BITS).max() < 16


def test_exif_orientation_is_applied() -> None:
    picture = Image.fromarray(EIGHT_BITS)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture = read_picture(saved(picture, "PNG", exif=exif))
    assert np.array_equal(picture.pixels, np.rot90(EIGHT_BITS, -1))


def test_alpha_and_palettes_are_undone() -> None:
    grey = Image.fromarray(EIGHT_BITS)
    for picture in (grey.convert("LA"), grey.convert("RGBA"), grey.convert("P")):
        picture = read_picture(saved(picture, "PNG"))
        assert np.array_equal(picture.pixels, EIGHT_BITS)


def test_a_white_is_zero_tiff_is_turned() -> None:
    data = saved(Image.fromarray(chest_like()), "TIFF", tiffinfo={262: 0})
    shown = picture_display(read_picture(data))
    assert np.array_equal(shown, 65535 - chest_like())


def test_a_floating_point_tiff_is_refused() -> None:
    data = saved(Image.fromarray(chest_like().astype(np.float32)), "TIFF")
    with pytest.raises(ImageError):
        read_picture(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_picture_is_an_image_error(kind: str, share: float) -> None:
    data = saved(Image.fromarray(EIGHT_BITS), kind)
    with pytest.raises(ImageError):
        read_picture(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<html>", b"PK\3\4zzzz", b"\x89PNG\r\n\x1a\n"]
)
def test_other_files_are_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_picture(data)


def test_a_format_that_is_not_listed_is_refused() -> None:
    with pytest.raises(ImageError):
        read_picture(saved(Image.fromarray(EIGHT_BITS), "GIF"))


@pytest.mark.parametrize("side", [9000, 60000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    with pytest.raises(ImageError) as caught:
        read_picture(data)
    assert caught.value.reason_code == "too_many_pixels"


def test_a_small_red_stamp_does_not_make_a_picture_coloured() -> None:
    image = np.repeat(EIGHT_BITS[..., None], 3, axis=2)
    image[:20, :20] = (255, 0, 0)
    assert not channels_differ(image)
    image[:100] = (255, 0, 0)
    assert channels_differ(image)
