"""A TIFF of each depth, byte order, polarity and compression is one picture."""

import struct
import zlib
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from ml.errors import ImageError
from ml.pixels import read_display

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS_A_STRIP, BYTE_COUNTS = 273, 277, 278, 279
PLANES, PREDICTOR, SAMPLE_FORMAT = 284, 317, 339
SHORT, LONG = 3, 4
ORDERS = {"little": "<", "big": ">"}
POLARITIES = {"white is zero": 0, "black is zero": 1}
RAMP = np.linspace(0, 1, 40 * 24).reshape(40, 24)


def packed_bits(data: bytes) -> bytes:
    """Write literal runs (TIFF 6.0 section 9)."""
    pieces = (data[at : at + 128] for at in range(0, len(data), 128))
    return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)


def lzw(data: bytes) -> bytes:
    """Write literals of nine bits, clearing before ten are needed (section 13)."""
    codes = [256]
    for place, value in enumerate(data):
        if place and place % 200 == 0:
            codes.append(256)
        codes.append(value)
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits + "0" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")


COMPRESSIONS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (1, bytes),
    "deflate": (8, zlib.compress),
    "old deflate": (32946, zlib.compress),
    "packbits": (32773, packed_bits),
    "lzw": (5, lzw),
}


def sample_bytes(values: np.ndarray, bits: int, order: str) -> bytes:
    """Pack samples; those below 16 bits in the same way in both orders (section 8)."""
    if bits in (8, 16, 32):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    rows = []
    for row in values:
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


def tiff(data: bytes, order: str, tags: dict[int, int | tuple[int, ...]]) -> bytes:
    """Write a TIFF of one strip, or of the strips that `tags` name."""
    data += b"\0" * (len(data) % 2)
    fields = {
        WIDTH: RAMP.shape[1],
        LENGTH: RAMP.shape[0],
        OFFSETS: 8,
        SAMPLES: 1,
        ROWS_A_STRIP: RAMP.shape[0],
        BYTE_COUNTS: len(data),
        **tags,
    }
    start = 8 + len(data)
    behind, entries, end = b"", b"", start + 2 + 12 * len(fields) + 4
    for tag, value in sorted(fields.items()):
        values = value if isinstance(value, tuple) else (value,)
        kind, code = (LONG, "L") if tag in (OFFSETS, BYTE_COUNTS) else (SHORT, "H")
        packed = struct.pack(order + code * len(values), *values)
        if len(packed) > 4:
            place, behind = (
                end + len(behind),
                behind + packed + b"\0" * (len(packed) % 2),
            )
            packed = struct.pack(f"{order}L", place)
        entries += struct.pack(f"{order}HHL", tag, kind, len(values))
        entries += packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", start)
    count = struct.pack(f"{order}H", len(fields))
    return head + data + count + entries + b"\0\0\0\0" + behind


def shades(bits: int) -> np.ndarray:
    return np.rint(RAMP * ((1 << bits) - 1)).astype(np.int64)


def grey_tiff(bits: int, order: str, photometric: int, compression: str) -> bytes:
    number, compress = COMPRESSIONS[compression]
    values = shades(bits)
    stored = values if photometric == 1 else (1 << bits) - 1 - values
    return tiff(
        compress(sample_bytes(stored, bits, order)),
        order,
        {BITS: bits, COMPRESSION: number, PHOTOMETRIC: photometric},
    )


def wanted(bits: int) -> np.ndarray:
    """Return display values, as far as eight bits or the depth itself tell them."""
    return shades(bits) / ((1 << bits) - 1) * 65535


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("polarity", POLARITIES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_grey_tiff_of_each_form_is_one_picture(
    bits: int, order: str, polarity: str, compression: str
) -> None:
    content = grey_tiff(bits, ORDERS[order], POLARITIES[polarity], compression)
    assert np.abs(read_display(content) - wanted(bits)).max() <= 257


@pytest.mark.parametrize("bits", [10, 14, 32])
def test_depths_without_a_decoder_are_refused(bits: int) -> None:
    for order, photometric in product(ORDERS.values(), POLARITIES.values()):
        with pytest.raises(ImageError):
            read_display(grey_tiff(bits, order, photometric, "none"))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ORDERS.values())
@pytest.mark.parametrize("photometric", POLARITIES.values())
@pytest.mark.parametrize("compression", ["deflate", "lzw"])
def test_differences_between_neighbours_are_summed(
    bits: int, order: str, photometric: int, compression: str
) -> None:
    number, compress = COMPRESSIONS[compression]
    white = (1 << bits) - 1
    stored = shades(bits) if photometric == 1 else white - shades(bits)
    differences = np.diff(stored, axis=1, prepend=0) & white
    content = tiff(
        compress(sample_bytes(differences, bits, order)),
        order,
        {BITS: bits, COMPRESSION: number, PHOTOMETRIC: photometric, PREDICTOR: 2},
    )
    assert np.abs(read_display(content) - wanted(bits)).max() <= 257


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ORDERS.values())
def test_signed_samples_are_refused(bits: int, order: str) -> None:
    values = shades(bits) - (1 << (bits - 1))
    content = tiff(
        values.astype(f"{order}i{bits // 8}").tobytes(),
        order,
        {BITS: bits, COMPRESSION: 1, PHOTOMETRIC: 1, SAMPLE_FORMAT: 2},
    )
    with pytest.raises(ImageError):
        read_display(content)


@pytest.mark.parametrize("order", ORDERS.values())
def test_deep_channels_in_planes_of_their_own_are_refused(order: str) -> None:
    plane = sample_bytes(shades(16), 16, order)
    content = tiff(
        plane * 3,
        order,
        {
            BITS: (16, 16, 16),
            COMPRESSION: 1,
            PHOTOMETRIC: 2,
            SAMPLES: 3,
            PLANES: 2,
            OFFSETS: tuple(8 + len(plane) * number for number in range(3)),
            BYTE_COUNTS: (len(plane),) * 3,
        },
    )
    with pytest.raises(ImageError):
        read_display(content)
