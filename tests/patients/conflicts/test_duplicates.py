"""Duplicates: which files are the same object."""

import io
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from patients import decode
from patients.containers import Kind
from patients.dicom.header import PatientIdentity
from patients.models import Instance, Upload
from patients.secondary_capture import wrap_picture
from tests.dicom_factory import (
    encoded,
    grey_pixels,
    image,
    image_bytes,
    jpeg_image,
    png,
    written,
)
from tests.patients.sending import send

pytestmark = pytest.mark.django_db
Outcome = Upload.Outcome
NOBODY = PatientIdentity()
UIDS = {
    "SOPInstanceUID": "1.2.3.1",
    "StudyInstanceUID": "1.2.3.2",
    "SeriesInstanceUID": "1.2.3.3",
}


def test_another_header_under_the_same_uid_is_a_conflict() -> None:
    first = send(image_bytes(**UIDS))
    second = send(image_bytes(**UIDS, BodyPartExamined="RIBCAGE"))
    assert (second.outcome, second.reason_code) == (Outcome.CONFLICT, "conflict_header")
    assert Instance.objects.get() == first.instance
    assert second.upload.conflicts_with == first.instance


def test_other_pixels_under_the_same_header_are_a_conflict() -> None:
    send(image_bytes(**UIDS))
    pixels = grey_pixels()
    pixels[3, 4] ^= 1
    second = send(image_bytes(**UIDS, pixels=pixels))
    assert (second.outcome, second.reason_code) == (Outcome.CONFLICT, "conflict_pixels")


def test_an_implicit_copy_with_other_padding_is_the_same_image() -> None:
    dataset = image(**UIDS)
    dataset.add_new(0x00091001, "LO", "private")
    dataset.add_new(0x00090010, "LO", "OURS")
    send(written(dataset))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.DataSetTrailingPadding = b"\0" * 64
    assert send(written(dataset)).outcome == Outcome.DUPLICATE


def eight_bit(**attributes: Any) -> Any:
    dataset = image(**UIDS, **attributes)
    dataset.PixelData = (grey_pixels() >> 4).astype(np.uint8).tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.LossyImageCompression = "01"
    return dataset


def test_a_lossy_copy_within_two_grey_levels_is_the_same_image() -> None:
    dataset = eight_bit()
    send(written(dataset))
    again = send(encoded(dataset, JPEG2000, j2k_psnr=[60]))
    assert (again.outcome, again.reason_code) == (Outcome.DUPLICATE, "lossy_reencoded")
    assert again.reason


def test_a_lossy_copy_that_differs_more_is_a_conflict() -> None:
    dataset = eight_bit()
    send(written(dataset))
    again = send(encoded(dataset, JPEG2000, j2k_psnr=[20]))
    assert (again.outcome, again.reason_code) == (Outcome.CONFLICT, "conflict_pixels")


@pytest.mark.parametrize(
    ("difference", "outcome"), [(2.0, Outcome.DUPLICATE), (2.1, Outcome.CONFLICT)]
)
def test_the_limit_of_lossy_copies_is_two_of_255_grey_levels(
    monkeypatch: pytest.MonkeyPatch, difference: float, outcome: str
) -> None:
    dataset = eight_bit()
    send(written(dataset))
    monkeypatch.setattr(decode, "greatest_difference", lambda *_: difference)
    assert send(encoded(dataset, JPEG2000, j2k_psnr=[20])).outcome == outcome


def test_lossless_copies_are_never_compared_by_grey_levels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send(image_bytes(**UIDS))
    monkeypatch.setattr(decode, "greatest_difference", lambda *_: 0.0)
    other = send(image_bytes(**UIDS, pixels=grey_pixels(9)))
    assert other.reason_code == "conflict_pixels"


def test_without_a_pixel_hash_the_dataset_hash_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = image_bytes(**UIDS)
    first = send(content)
    Instance.objects.filter(pk=first.instance.pk).update(pixel_sha256=None)
    dataset = image(**UIDS)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert send(written(dataset)).outcome == Outcome.DUPLICATE


def test_a_picture_changed_by_one_pixel_is_another_image() -> None:
    pixels = (grey_pixels() >> 4).astype(np.uint8)
    one = send(png(pixels), patient_id="1")
    pixels[0, 0] ^= 1
    two = send(png(pixels), patient_id="1")
    assert one.instance != two.instance


def test_a_jpeg_with_one_flipped_bit_is_a_conflict() -> None:
    dataset = eight_bit()
    compressed = bytearray(jpeg_image(dataset))
    send(bytes(compressed))
    compressed[compressed.rfind(b"\xff\xd9") - 40] ^= 1
    assert send(bytes(compressed)).outcome == Outcome.CONFLICT


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colours", [False, True])
def test_a_picture_stored_uncompressed_is_known_again(
    dtype: type, colours: bool
) -> None:
    """As a former version stored it: Explicit VR Little Endian, the same UIDs."""
    shape = (40, 30, 3) if colours else (40, 30)
    picture = png(np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    with wrap_picture(io.BytesIO(picture), Kind.PNG, identity=NOBODY) as wrapped:
        former = dcmread(wrapped)
    assert former.file_meta.TransferSyntaxUID == JPEGLSLossless
    former.decompress(generate_instance_uid=False)
    first = send(written(former))
    assert first.instance.transfer_syntax_uid == ExplicitVRLittleEndian
    second = send(picture, name="a.png")
    assert (second.outcome, second.reason_code) == (Outcome.DUPLICATE, "")
    assert second.instance == first.instance
