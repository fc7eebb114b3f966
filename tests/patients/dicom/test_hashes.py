"""Hashes: equal for two files that differ only in encoding."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from patients import decode
from patients.dicom.hashes import HASH_RULE, ObjectHashes, hash_object
from tests.dicom_factory import encoded, grey_pixels, image, jpeg_image, written


def hashes_of(content: bytes) -> ObjectHashes:
    return hash_object(io.BytesIO(content))


def rich_image(**attributes: Any) -> FileDataset:
    """Return an image with sequences, numbers, private elements and other oddities."""
    dataset = image(
        WindowCenter="2000.5",
        LossyImageCompression="00",
        SmallestImagePixelValue=0,
        **attributes,
    )
    item, inner = Dataset(), Dataset()
    inner.CodeMeaning = "odd"
    item.AnatomicRegionModifierSequence = Sequence([inner])
    item.CodeMeaning = "Chest"
    dataset.AnatomicRegionSequence = Sequence([item, Dataset()])
    dataset.FrameIncrementPointer = [0x00181063]
    dataset.add_new(0x00281101, "US", [4096, 0, 16])
    dataset.add_new(0x00281201, "OW", struct.pack("<4H", 1, 2, 3, 0x1234))
    block = dataset.private_block(0x0029, "ACME", create=True)
    block.add_new(1, "LO", "secret")
    block.add_new(2, "OB", b"\1\2\3\4")
    return dataset


def as_syntax(dataset: FileDataset, syntax: str) -> bytes:
    copy = FileDataset(None, dataset, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    copy.file_meta.update(dataset.file_meta)
    copy.file_meta.TransferSyntaxUID = UID(syntax)
    return written(copy)


def big_endian(dataset: FileDataset) -> bytes:
    """Write a dataset as Explicit VR Big Endian (retired, PS3.5-2006)."""
    plain, out = Dataset(), io.BytesIO()
    plain.update(dataset)
    swapped = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    plain.add_new("PixelData", "OW", swapped)
    if 0x00281201 in plain:
        table = np.frombuffer(plain[0x00281201].value, "<u2").astype(">u2")
        plain.add_new(0x00281201, "OW", table.tobytes())
    target = DicomIO(out)
    target.is_little_endian, target.is_implicit_VR = False, False
    write_dataset(target, plain)
    syntax = ExplicitVRBigEndian.encode() + b"\0"
    meta = b"\x02\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    return b"\0" * 128 + b"DICM" + meta + out.getvalue()


def undefined_lengths(dataset: FileDataset) -> bytes:
    copy = FileDataset(None, dataset, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    copy.file_meta.update(dataset.file_meta)
    copy["AnatomicRegionSequence"].is_undefined_length = True
    for item in copy.AnatomicRegionSequence:
        item.is_undefined_length_sequence_item = True
    return written(copy)


def with_group_lengths(dataset: FileDataset) -> bytes:
    copy = FileDataset(None, dataset, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    copy.file_meta.update(dataset.file_meta)
    copy.add_new(0x00080000, "UL", 1234)
    copy.add_new(0xFFFCFFFC, "OB", bytes(256))
    copy.file_meta.ImplementationVersionName = "ANOTHER"
    return written(copy)


SAME_DATASET: dict[str, Callable[[FileDataset], bytes]] = {
    "implicit": lambda d: as_syntax(d, ImplicitVRLittleEndian),
    "explicit": lambda d: as_syntax(d, ExplicitVRLittleEndian),
    "big endian": big_endian,
    "undefined lengths": undefined_lengths,
    "group lengths and padding": with_group_lengths,
}


@pytest.mark.parametrize("how", SAME_DATASET)
def test_another_encoding_of_a_dataset_has_the_same_hashes(how: str) -> None:
    dataset = rich_image()
    expected = hashes_of(written(dataset))
    hashes = hashes_of(SAME_DATASET[how](dataset))
    assert hashes.dataset_sha256 == expected.dataset_sha256
    assert hashes.header_sha256 == expected.header_sha256


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compression_changes_the_dataset_not_the_header(syntax: str) -> None:
    dataset = rich_image()
    plain, packed = hashes_of(written(dataset)), hashes_of(encoded(dataset, syntax))
    assert packed.header_sha256 == plain.header_sha256
    assert packed.dataset_sha256 != plain.dataset_sha256


def test_attributes_of_lossy_compression_do_not_change_the_header_hash() -> None:
    eight = image(BitsAllocated=8, BitsStored=8, HighBit=7)
    eight.PixelData = eight.PixelData[: 64 * 48]
    lossy = dcmread(io.BytesIO(jpeg_image(eight)))
    lossy.LossyImageCompression = "01"
    lossy.LossyImageCompressionRatio = "7.5"
    lossy.LossyImageCompressionMethod = "ISO_10918_1"
    one, other = hashes_of(written(eight)), hashes_of(written(lossy))
    assert one.header_sha256 == other.header_sha256


@pytest.mark.parametrize(
    "change",
    [
        {"PatientName": "Doe^Jane"},
        {"PatientID": "P-2"},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"WindowWidth": "1"},
        {"StudyDescription": "corrected"},
        {"BitsStored": 11},
    ],
)
def test_each_header_value_changes_the_header_hash(change: dict[str, Any]) -> None:
    dataset = image()
    before = hashes_of(written(dataset))
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    after = hashes_of(written(dataset))
    assert after.header_sha256 != before.header_sha256
    assert after.dataset_sha256 != before.dataset_sha256


def test_different_pixels_change_the_dataset_hash_only() -> None:
    dataset = image()
    before = hashes_of(written(dataset))
    dataset.PixelData = grey_pixels(1).tobytes()
    after = hashes_of(written(dataset))
    assert after.header_sha256 == before.header_sha256
    assert after.dataset_sha256 != before.dataset_sha256


def test_values_in_a_sequence_change_the_header_hash() -> None:
    dataset = rich_image()
    before = hashes_of(written(dataset))
    dataset.AnatomicRegionSequence[0].CodeMeaning = "Neck"
    assert hashes_of(written(dataset)).header_sha256 != before.header_sha256


def test_the_end_of_a_sequence_changes_the_header_hash() -> None:
    """An element inside an item is not the same as the element behind it."""
    inside, outside, item = image(), image(), Dataset()
    for uid in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(outside, uid, getattr(inside, uid))
    item.CodeMeaning = "x"
    inside.AnatomicRegionSequence = Sequence([item])
    outside.AnatomicRegionSequence = Sequence([Dataset()])
    outside.CodeMeaning = "x"
    assert (
        hashes_of(written(inside)).header_sha256
        != hashes_of(written(outside)).header_sha256
    )


def test_private_values_change_the_hash_and_private_sequences_do_not() -> None:
    dataset = rich_image()
    before = hashes_of(written(dataset))
    block, item = dataset.private_block(0x0029, "ACME"), Dataset()
    item.CodeMeaning = "private"
    block.add_new(3, "SQ", Sequence([item]))
    with_sequence = hashes_of(written(dataset))
    assert with_sequence.header_sha256 == before.header_sha256
    implicit = hashes_of(as_syntax(dataset, ImplicitVRLittleEndian))
    assert implicit.dataset_sha256 == with_sequence.dataset_sha256
    block.add_new(1, "LO", "changed")
    assert hashes_of(written(dataset)).header_sha256 != before.header_sha256


def test_padding_of_texts_does_not_change_the_hashes() -> None:
    content = written(image(PatientID="P-1"))
    null_padded = content.replace(b"LO\x04\0P-1 ", b"LO\x04\0P-1\0")
    assert null_padded != content
    one, other = hashes_of(content), hashes_of(null_padded)
    assert one.dataset_sha256 == other.dataset_sha256
    assert one.object_sha256 != other.object_sha256


def test_the_object_hash_is_the_sha256_of_the_bytes() -> None:
    content = written(image())
    hashes = hashes_of(content)
    assert hashes.object_sha256 == hashlib.sha256(content).hexdigest()
    assert hashes.rule == HASH_RULE == 1
    given = hash_object(io.BytesIO(content), object_sha256="ab" * 32)
    assert given.object_sha256 == "ab" * 32


def test_large_values_are_hashed_in_chunks() -> None:
    """More than one chunk, in both byte orders, gives one hash."""
    pixels = grey_pixels(rows=1100, columns=1000)
    dataset = image(pixels=pixels)
    assert (
        hashes_of(written(dataset)).dataset_sha256
        == hashes_of(big_endian(dataset)).dataset_sha256
    )


def test_rgb_and_ycbcr_forms_have_the_same_header_hash() -> None:
    one = image(SamplesPerPixel=3, PhotometricInterpretation="RGB")
    before = hashes_of(written(one))
    one.PhotometricInterpretation = "YBR_RCT"
    assert hashes_of(written(one)).header_sha256 == before.header_sha256


def test_the_hash_rule_gives_the_stored_hashes() -> None:
    """Stored hashes stay comparable: another rule needs another HASH_RULE."""
    dataset = rich_image(
        SOPInstanceUID="1.2.3.1",
        StudyInstanceUID="1.2.3.2",
        SeriesInstanceUID="1.2.3.3",
    )
    hashes = hashes_of(written(dataset))
    assert (hashes.dataset_sha256[:16], hashes.header_sha256[:16]) == (
        "39d5dd19bd3ab4b3",
        "e66286e12335442c",
    )


def test_real_files_keep_header_and_pixels_when_they_are_re_encoded(
    chestx_data: Path, tmp_path: Path
) -> None:
    folder = chestx_data / "samples" / "dicom"
    for path in sorted(folder.glob("*.dcm")):
        dataset = dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            continue
        before = hashes_of(path.read_bytes())
        facts = decode.pixel_facts(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        again = tmp_path / path.name
        again.write_bytes(written(dataset))
        assert hashes_of(again.read_bytes()).header_sha256 == before.header_sha256
        assert decode.pixel_facts(again).pixel_sha256 == facts.pixel_sha256
