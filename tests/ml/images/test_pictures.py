"""Pictures: depth, colour, orientation, damage."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_fragments

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


def test_equal_channels_become_one_channel() -> None:
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
    image = Image.fromarray(np.repeat(EIGHT_BITS[..., None], 3, axis=2))
    picture = read_picture(saved(image.convert("CMYK"), "JPEG", quality=95))
    shown = picture_display(picture) // 257
    assert np.abs(shown.astype(int) - EIGHT_BITS).max() < 16


def test_exif_orientation_is_applied() -> None:
    image = Image.fromarray(EIGHT_BITS)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture = read_picture(saved(image, "PNG", exif=exif))
    assert np.array_equal(picture.pixels, np.rot90(EIGHT_BITS, -1))


def test_alpha_and_palettes_are_resolved() -> None:
    grey = Image.fromarray(EIGHT_BITS)
    for image in (grey.convert("LA"), grey.convert("RGBA"), grey.convert("P")):
        picture = read_picture(saved(image, "PNG"))
        assert np.array_equal(picture.pixels, EIGHT_BITS)


def test_a_white_is_zero_tiff_is_inverted() -> None:
    data = saved(Image.fromarray(chest_like()), "TIFF", tiffinfo={262: 0})
    shown = picture_display(read_picture(data))
    assert np.array_equal(shown, 65535 - chest_like())


def test_a_floating_point_tiff_is_refused() -> None:
    data = saved(Image.fromarray(chest_like().astype(np.float32)), "TIFF")
    with pytest.raises(ImageError):
        read_picture(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_picture_is_an_error(kind: str, share: float) -> None:
    data = saved(Image.fromarray(EIGHT_BITS), kind)
    with pytest.raises(ImageError):
        read_picture(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<html>", b"PK\3\4zzzz", b"\x89PNG\r\n\x1a\n"]
)
def test_other_files_are_an_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_picture(data)


def test_an_unlisted_format_is_refused() -> None:
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


def tiff_of(*pages: Image.Image, subfile_types: Sequence[int] = ()) -> bytes:
    """Return a TIFF of these pages, each with its NewSubfileType."""
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file, new=True) as writer:
        for page, kind in zip(pages, subfile_types or [0] * len(pages), strict=True):
            page.save(writer, "TIFF", tiffinfo={254: kind})
            writer.newFrame()
    return file.getvalue()


def test_a_file_of_several_images_is_refused_with_their_number() -> None:
    page = Image.fromarray(np.zeros((8, 8), np.uint8))
    with pytest.raises(ImageError, match="3 images") as caught:
        read_picture(tiff_of(page, page, page))
    assert caught.value.reason_code == "several_images"


def test_reduced_pages_and_masks_are_ignored() -> None:
    thumbnail = Image.fromarray(np.zeros((4, 4), np.uint8))
    image = Image.fromarray(np.full((8, 8), 7, np.uint8))
    mask = Image.fromarray(np.full((8, 8), 255, np.uint8))
    picture = read_picture(tiff_of(thumbnail, image, mask, subfile_types=(1, 0, 4)))
    assert picture.pixels.shape == (8, 8)
    assert int(picture.pixels.max()) == 7


def test_an_animated_png_is_refused_with_the_number_of_its_images() -> None:
    file = io.BytesIO()
    frames = [Image.fromarray(np.full((8, 8), grey, np.uint8)) for grey in (0, 99)]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="2 images"):
        read_picture(file.getvalue())


def test_deep_values_in_a_small_part_of_their_range_are_stretched() -> None:
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    display = picture_display(read_picture(file.getvalue()))
    assert (int(display.min()), int(display.max())) == (0, 65535)


def test_deep_colours_in_a_small_part_of_their_range_are_stretched_equally() -> None:
    colours = np.zeros((8, 8, 3), np.uint16)
    colours[..., 0], colours[..., 1] = 1000, 500
    png = cv2.imencode(".png", colours[..., ::-1])[1].tobytes()
    pixels = read_picture(png).pixels
    assert (int(pixels[0, 0, 0]), int(pixels[0, 0, 1])) == (65535, 32768)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_byte_order_and_polarity_of_tiff_is_respected(
    order: str, white_is_zero: bool, bits: int
) -> None:
    values = np.array([[0, 1], [2, (1 << bits) - 1]]).astype(f"{order}u{bits // 8}")
    data = raw_tiff(values, order=order, white_is_zero=white_is_zero)
    expected = values.astype(np.int64)
    if white_is_zero:
        expected = (1 << bits) - 1 - expected
    assert read_picture(data).pixels.tolist() == expected.tolist()


def raw_tiff(values: np.ndarray, *, order: str, white_is_zero: bool) -> bytes:
    """Return an uncompressed TIFF of one strip (TIFF 6.0 section 2)."""
    rows, columns = values.shape
    strip = values.tobytes()
    tags = [
        *((256, 3, columns), (257, 3, rows), (258, 3, 8 * values.dtype.itemsize)),
        *((259, 3, 1), (262, 3, int(not white_is_zero)), (273, 4, 8), (277, 3, 1)),
        *((278, 3, rows), (279, 4, len(strip))),
    ]
    mark = b"II*\0" if order == "<" else b"MM\0*"
    start = 8 + len(strip)
    out = mark + struct.pack(f"{order}L", start) + strip
    out += struct.pack(f"{order}H", len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(
            f"{order}{'HH' if kind == 3 else 'L'}",
            *((value, 0) if kind == 3 else (value,)),
        )
        out += struct.pack(f"{order}HHL", tag, kind, 1) + packed
    return out + bytes(4)


def test_a_jpeg_of_twelve_bits_is_read() -> None:
    stream = twelve_bit_jpeg()
    picture = read_picture(stream)
    assert (picture.bits, picture.pixels.dtype) == (12, np.uint16)
    assert int(picture.pixels.max()) > 255


def twelve_bit_jpeg() -> bytes:
    """Return the frame of pydicom's own example of JPEG Extended."""
    dataset = dcmread(get_testdata_file("JPGExtended.dcm"))
    return b"".join(generate_fragments(dataset.PixelData[8:]))
