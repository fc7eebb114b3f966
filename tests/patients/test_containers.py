"""Kinds of files, and refusal of incomplete ones by their structure."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from accounts.errors import InvalidInput
from patients.containers import Kind, check_whole, sniff
from patients.dicom import file as dicom_file
from patients.dicom import structure as dicom_structure
from tests.dicom_factory import (
    encoded,
    grey_pixels,
    image,
    image_bytes,
    jpeg,
    png,
    written,
)


def checked(content: bytes) -> Kind:
    """Sniff and check a file; return its kind."""
    file = io.BytesIO(content)
    kind = sniff(file)
    check_whole(file, kind)
    return kind


def reason(content: bytes) -> str:
    """Return why a file is refused."""
    with pytest.raises(InvalidInput) as refused:
        checked(content)
    return refused.value.reason_code


def saved(form: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray((grey_pixels() >> 4).astype(np.uint8)).save(out, form, **options)
    return out.getvalue()


def with_sequences(*, undefined: bool) -> bytes:
    dataset = image()
    item, inner = Dataset(), Dataset()
    inner.CodeValue, inner.CodeMeaning = "T-D3000", "Chest"
    item.AnatomicRegionModifierSequence = Sequence([inner])
    item.CodeMeaning = "Chest"
    dataset.AnatomicRegionSequence = Sequence([item, Dataset()])
    for name in ("AnatomicRegionSequence",):
        dataset[name].is_undefined_length = undefined
        item.is_undefined_length_sequence_item = undefined
    return written(dataset)


def deflated() -> bytes:
    dataset = image()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return written(dataset)


def implicit() -> bytes:
    dataset = image()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return written(dataset)


WHOLE = {
    "explicit": image_bytes,
    "implicit": implicit,
    "deflated": deflated,
    "sequences": lambda: with_sequences(undefined=False),
    "undefined-length sequences": lambda: with_sequences(undefined=True),
    "rle": lambda: encoded(image(), RLELossless),
    "jpeg-ls": lambda: encoded(image(), JPEGLSLossless),
    "jpeg 2000": lambda: encoded(image(), JPEG2000Lossless),
    "png": png,
    "16-bit png": lambda: png(grey_pixels()),
    "jpeg": jpeg,
    "progressive jpeg": lambda: saved("JPEG", progressive=True),
    "jpeg with restarts": lambda: cv2.imencode(
        ".jpg",
        (grey_pixels() >> 4).astype(np.uint8),
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    )[1].tobytes(),
    "tiff": lambda: saved("TIFF"),
    "packed tiff": lambda: saved("TIFF", compression="tiff_lzw"),
    "bmp": lambda: saved("BMP"),
}


ENDS_TOO_EARLY = {"truncated_file", "empty_file", "not_an_image", "damaged_file"}


@pytest.mark.parametrize("name", WHOLE)
def test_a_complete_file_is_accepted(name: str) -> None:
    checked(WHOLE[name]())


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_is_refused(name: str) -> None:
    """At every byte of the start and the end, and at many between.

    What follows the last byte that means anything is no loss: BMP and deflate pad.
    A DICOM file cut between two elements before its pixels is refused by its header.
    """
    content = WHOLE[name]()
    rng = random.Random(name)
    end = len(content.rstrip(b"\0"))
    cuts = {*range(200), *range(end - 40, end), *rng.sample(range(end), 150)}
    boundaries = element_ends(content)
    for cut in sorted(cuts - boundaries):
        assert reason(content[:cut]) in ENDS_TOO_EARLY, f"{cut} of {len(content)}"


def element_ends(content: bytes) -> set[int]:
    """Return where top-level elements end: cut there, a dataset is only shorter."""
    file = io.BytesIO(content)
    if content[128:132] != b"DICM":
        return set()
    with dicom_file.open_dicom(file) as dicom:
        if dicom.start == 0:  # inflated: nothing of the packed file is a boundary
            return set()
        return {
            part.start + part.length
            for part in dicom_structure.walk(dicom)
            if part.depth == 0 and part.kind is dicom_structure.PartKind.ELEMENT
        } | {
            part.start
            for part in dicom_structure.walk(dicom)
            if part.depth == 0 and part.kind.value.endswith("end")
        }


@given(cut=st.integers(min_value=1, max_value=6143))
def test_truncated_pixels_are_refused(cut: int) -> None:
    assert reason(IMAGE[: len(IMAGE) - cut]) == "truncated_file"


IMAGE = image_bytes()


def test_pixels_shorter_than_the_header_says_are_refused() -> None:
    dataset = image()
    dataset.PixelData = dataset.PixelData[:-2]
    assert reason(written(dataset)) == "truncated_file"


def test_missing_frames_are_refused() -> None:
    dataset = image(NumberOfFrames=2)
    assert reason(written(dataset)) == "truncated_file"


def test_a_compressed_frame_without_its_end_marker_is_refused() -> None:
    content = encoded(image(), JPEGLSLossless)
    assert reason(content.replace(b"\xff\xd9", b"\xff\x00")) == "truncated_file"


def test_trailing_padding_is_accepted() -> None:
    for padding in (b"\0" * 512, b"\r\n", b" "):
        assert checked(image_bytes() + padding) is Kind.DICOM
    dataset = image()
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * 100)
    assert checked(written(dataset)) is Kind.DICOM
    assert checked(jpeg() + b"after the end") is Kind.JPEG
    assert checked(png() + b"\0\0") is Kind.PNG


def test_elements_behind_the_pixels_are_not_padding() -> None:
    assert reason(image_bytes() + b"\x08\0\x20\0DA\x08\0" + b"2024") == "truncated_file"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty_file"),
        (b"hello", "not_an_image"),
        (b"<html><script>1</script></html>", "not_an_image"),
        (b"PK\3\4" + b"z" * 200, "not_an_image"),
        (b"\x89PNG", "not_an_image"),
        (b"\0" * 128 + b"DICM", "truncated_file"),
        (b"\0" * 128 + b"DICM" + random.Random(1).randbytes(5000), "not_dicom"),
    ],
)
def test_files_that_are_not_images_are_refused(content: bytes, expected: str) -> None:
    assert reason(content) == expected


def test_a_chunk_that_does_not_fit_its_checksum_is_refused() -> None:
    content = bytearray(png())
    content[len(content) // 2] ^= 1
    assert reason(bytes(content)) == "damaged_file"


def test_decompression_bombs_are_refused_before_decoding() -> None:
    """A PNG, a TIFF, a BMP and a JPEG that claim 60,000 x 60,000 pixels."""
    header = struct.pack(">LLBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = png_of(header, zlib.compress(bytes(1000)))
    assert reason(bomb) == "too_many_pixels"
    tiff = saved("TIFF", compression="tiff_lzw")
    wide = struct.pack("<HHLHH", 256, 3, 1, 48, 0)
    tall = struct.pack("<HHLHH", 257, 3, 1, 64, 0)
    assert wide in tiff
    tiff = tiff.replace(wide, struct.pack("<HHLHH", 256, 3, 1, 60_000, 0))
    tiff = tiff.replace(tall, struct.pack("<HHLHH", 257, 3, 1, 60_000, 0))
    assert reason(tiff) == "too_many_pixels"
    picture = jpeg()
    at = picture.index(b"\xff\xc0") + 5
    picture = picture[:at] + struct.pack(">HH", 60_000, 60_000) + picture[at + 4 :]
    assert reason(picture) == "too_many_pixels"


def png_of(header: bytes, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", check)

    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("size_mb", [20, 600])
def test_a_deflated_dataset_larger_than_its_header_announces_is_refused(
    size_mb: int,
) -> None:
    """64 x 48 pixels by its header; zeros deflate to a thousandth."""
    dataset = image(pixels=grey_pixels())
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.DataSetTrailingPadding = bytes(size_mb * 1024 * 1024)
    content = written(dataset)
    assert len(content) < size_mb * 1024 * 1024 / 500
    assert reason(content) == "too_large"


def nested(depth: int, *, undefined: bool) -> bytes:
    """Write an image with a sequence in a sequence in a sequence …, by hand."""
    tag = b"\x08\0\x18\x22"
    if undefined:
        start = tag + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
        end = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
        inner = start * depth + end * depth
    else:
        inner = b""
        for _ in range(depth):
            inner = b"\xfe\xff\0\xe0" + struct.pack("<L", len(inner)) + inner
            inner = tag + b"SQ\0\0" + struct.pack("<L", len(inner)) + inner
    content = image_bytes()
    at = content.index(b"\x10\0\x10\0PN")
    return content[:at] + inner + content[at:]


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_nested_too_deeply_are_refused(undefined: bool) -> None:
    assert checked(nested(10, undefined=undefined)) is Kind.DICOM
    assert reason(nested(5000, undefined=undefined)) == "invalid_header"


def test_a_file_with_too_many_elements_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dicom_structure, "MAX_ELEMENTS", 10_000)
    assert reason(file_of(b"\x08\0\x18\0UI\0\0" * 10_001)) == "invalid_header"
    items = b"\xfe\xff\0\xe0\0\0\0\0" * 10_001
    sequence = b"\x08\0\x18\x22SQ\0\0\xff\xff\xff\xff" + items
    assert reason(file_of(sequence)) == "invalid_header"
    pixels = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + items
    assert reason(file_of(pixels)) == "invalid_header"


def file_of(elements: bytes) -> bytes:
    """Return a DICOM file, Explicit VR Little Endian, of these elements."""
    syntax = ExplicitVRLittleEndian.encode() + b"\0"
    meta = b"\x02\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    return b"\0" * 128 + b"DICM" + meta + elements


def test_tiff_directories_in_a_cycle_are_refused() -> None:
    content = bytearray(saved("TIFF"))
    first = struct.unpack_from("<L", content, 4)[0]
    count = struct.unpack_from("<H", content, first)[0]
    struct.pack_into("<L", content, first + 2 + 12 * count, first)
    assert reason(bytes(content)) == "damaged_file"


def test_items_longer_than_their_sequence_are_refused() -> None:
    item = b"\xfe\xff\0\xe0" + struct.pack("<L", 4000)
    sequence = b"\x08\0\x18\x22SQ\0\0" + struct.pack("<L", len(item)) + item
    content = image_bytes()
    at = content.index(b"\x10\0\x10\0PN")
    broken = content[:at] + sequence + content[at:]
    assert reason(broken) == "damaged_file"


def test_big_endian_is_read() -> None:
    dataset = image()
    out = io.BytesIO()
    plain = Dataset()
    plain.update(dataset)
    plain.PixelData = grey_pixels().astype(">u2").tobytes()
    from_memory = dicom_bytes_big_endian(plain, out)
    assert checked(from_memory) is Kind.DICOM
    assert reason(from_memory[:-10]) == "truncated_file"


def dicom_bytes_big_endian(dataset: Dataset, out: io.BytesIO) -> bytes:
    target = DicomIO(out)
    target.is_little_endian, target.is_implicit_VR = False, False
    write_dataset(target, dataset)
    syntax = b"1.2.840.10008.1.2.2\0"
    meta = b"\x02\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    return b"\0" * 128 + b"DICM" + meta + out.getvalue()


def test_real_files_are_complete(chestx_data: Path) -> None:
    samples = sorted((chestx_data / "samples").rglob("*.*"))
    images = sorted((chestx_data).rglob("*.jpg"))
    chosen = samples + random.Random(5).sample(images, min(300, len(images)))
    assert len(chosen) > 300
    for path in chosen:
        with path.open("rb") as file:
            check_whole(file, sniff(file))


@pytest.mark.slow
def test_truncated_real_files_are_refused(chestx_data: Path) -> None:
    rng = random.Random(6)
    for path in sorted((chestx_data / "samples").rglob("*.*")):
        content = path.read_bytes()
        boundaries = element_ends(content)
        for cut in rng.sample(range(len(content)), 25):
            if cut not in boundaries:
                reason(content[:cut])
