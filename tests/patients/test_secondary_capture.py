"""Pictures become Secondary Captures with the same content."""

from __future__ import annotations

import io
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
from django.conf import settings
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
)
from pytest_django import Settings

from accounts.errors import InvalidInput, TooLarge
from ml.pixels import display_frame, picture_display, read_picture
from patients.containers import Kind, check_whole, sniff
from patients.dicom.header import PatientIdentity, PersonName, read_header
from patients.secondary_capture import wrap_picture
from tests.dicom_factory import grey_pixels, jpeg, png

NOBODY = PatientIdentity()
EIGHT = (grey_pixels() >> 4).astype(np.uint8)
COLOURS = np.dstack([EIGHT, np.roll(EIGHT, 5, 0), 255 - EIGHT])
_RAMP = np.linspace(60, 180, 64 * 48).reshape(64, 48).astype(np.uint8)
SMOOTH_COLOURS = np.dstack([_RAMP, _RAMP[::-1], _RAMP + 30])


def wrapped(
    content: bytes, identity: PatientIdentity = NOBODY, accession_number: str = ""
) -> FileDataset:
    """Wrap a picture and read what came out, having checked it as any file."""
    return dcmread(io.BytesIO(wrapped_bytes(content, identity, accession_number)))


def wrapped_bytes(
    content: bytes, identity: PatientIdentity = NOBODY, accession_number: str = ""
) -> bytes:
    file = io.BytesIO(content)
    kind = sniff(file)
    check_whole(file, kind)
    with wrap_picture(
        file, kind, identity=identity, accession_number=accession_number
    ) as out:
        assert Path(out.name).is_file()
        check_whole(out, Kind.DICOM)
        read_header(out)
        out.seek(0)
        return out.read()


def pillow(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def rotated_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    return pillow(Image.fromarray(EIGHT), "JPEG", exif=exif, quality=95)


PICTURES = {
    "grey png": png,
    "16-bit png": lambda: png(grey_pixels() << 4),
    "colour png": lambda: png(COLOURS),
    "odd size": lambda: png(EIGHT[:33, :31]),
    "palette": lambda: pillow(Image.fromarray(COLOURS).quantize(32), "PNG"),
    "alpha": lambda: pillow(Image.fromarray(EIGHT).convert("LA"), "PNG"),
    "one bit": lambda: pillow(Image.fromarray(EIGHT).convert("1"), "PNG"),
    "grey jpeg": jpeg,
    "colour jpeg": lambda: jpeg(SMOOTH_COLOURS),
    "progressive jpeg": lambda: pillow(
        Image.fromarray(EIGHT), "JPEG", progressive=True
    ),
    "cmyk jpeg": lambda: pillow(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
    "exif-rotated jpeg": rotated_jpeg,
    "tiff": lambda: pillow(Image.fromarray(EIGHT), "TIFF", compression="tiff_lzw"),
    "16-bit tiff": lambda: pillow(Image.fromarray(grey_pixels()), "TIFF"),
    "bmp": lambda: pillow(Image.fromarray(COLOURS), "BMP"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_object_shows_what_the_picture_shows(name: str) -> None:
    content = PICTURES[name]()
    shown = display_frame(wrapped(content))
    expected = picture_display(read_picture(content))
    if name == "colour jpeg":
        # Luma is read off a YBR image, weighed together from an RGB picture.
        assert np.abs(shown.astype(int) - expected).max() <= 2 * 257
    else:
        np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("name", ["grey jpeg", "colour jpeg"])
def test_a_baseline_jpeg_is_kept_as_it_is(name: str) -> None:
    content = PICTURES[name]()
    dataset = wrapped(content + b"what cameras leave behind")
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert get_frame(dataset.PixelData, 0).rstrip(b"\0") == content.rstrip(b"\0")
    assert dataset.LossyImageCompression == "01"
    assert dataset.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(dataset.LossyImageCompressionRatio) > 1
    expected = "MONOCHROME2" if name == "grey jpeg" else "YBR_FULL_422"
    assert dataset.PhotometricInterpretation == expected


@pytest.mark.parametrize("name", ["progressive jpeg", "cmyk jpeg", "exif-rotated jpeg"])
def test_other_jpegs_are_decoded_and_stay_lossy(name: str) -> None:
    dataset = wrapped(PICTURES[name]())
    assert dataset.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert dataset.LossyImageCompression == "01"


def test_a_large_uniform_picture_stays_small() -> None:
    """A bomb in storage: 32 MB of pixels in a PNG of 33 kB."""
    content = png(np.zeros((4096, 4096), np.uint16))
    stored = wrapped_bytes(content, NOBODY, "")
    assert len(content) < 100_000
    assert len(stored) < 100_000


def test_an_object_over_the_limit_of_a_file_is_refused(settings: Settings) -> None:
    settings.MAX_FILE_BYTES = 2000
    with pytest.raises(TooLarge) as refused:
        wrapped(png())
    assert refused.value.reason_code == "file_too_large"


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (3, 5, 3), (90, 70)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_of_every_shape_are_kept_without_loss(
    shape: tuple[int, ...], dtype: type
) -> None:
    values = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape)
    pixels: np.ndarray = values.astype(dtype)
    dataset = wrapped(png(pixels))
    assert dataset.pixel_array.dtype == dtype
    shown = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    np.testing.assert_array_equal(dataset.pixel_array.reshape(shape), shown)


def test_a_rotated_picture_is_turned_upright() -> None:
    dataset = wrapped(rotated_jpeg())
    assert (dataset.Rows, dataset.Columns) == (48, 64)
    assert b"Exif" not in dataset.PixelData


def test_an_rgb_jpeg_is_not_taken_for_ycbcr() -> None:
    """Adobe's transform 0: the three components are red, green and blue."""
    content = pillow(Image.fromarray(COLOURS), "JPEG", keep_rgb=True, quality=95)
    dataset = wrapped(content)
    assert dataset.PhotometricInterpretation == "RGB"
    assert dataset.file_meta.TransferSyntaxUID == JPEGLSLossless


def test_sixteen_bit_pictures_keep_their_depth() -> None:
    pixels = grey_pixels() << 4
    dataset = wrapped(png(pixels))
    assert (dataset.BitsStored, dataset.WindowCenter) == (16, 32768)
    assert dataset.WindowWidth == 65536
    np.testing.assert_array_equal(dataset.pixel_array, pixels)
    assert dataset.LossyImageCompression == "00"


def test_the_same_picture_of_the_same_patient_is_the_same_object() -> None:
    someone = PatientIdentity(patient_id="P-1", issuer="A")
    renamed = PatientIdentity(
        patient_id="P-1", issuer="A", name=PersonName("Doe"), sex="M"
    )
    first = wrapped_bytes(png(), someone, "ACC")
    assert wrapped_bytes(png(), someone, "ACC") == first
    assert wrapped_bytes(png(), renamed, "ACC") == first


def test_uids_are_derived_from_file_and_identity() -> None:
    one = PatientIdentity(patient_id="P-1", issuer="A")
    objects = {
        "first": wrapped(png(), one, "ACC"),
        "other file": wrapped(png(255 - EIGHT), one, "ACC"),
        "other patient": wrapped(png(), PatientIdentity("P-2", "A"), "ACC"),
        "other issuer": wrapped(png(), PatientIdentity("P-1", "B"), "ACC"),
        "other accession": wrapped(png(), one, "ACC2"),
        "no accession": wrapped(png(), one),
        "shifted": wrapped(png(), PatientIdentity("P-1A", "A"), "CC"),
    }
    assert len({d.SOPInstanceUID for d in objects.values()}) == len(objects)
    assert len({d.SeriesInstanceUID for d in objects.values()}) == len(objects)
    studies = {name: d.StudyInstanceUID for name, d in objects.items()}
    assert studies["first"] == studies["other file"]
    assert len(set(studies.values())) == len(objects) - 1


def test_uids_have_the_uuid_form() -> None:
    """PS3.5 B.2: the decimal of a UUID, without leading zeros."""
    dataset = wrapped(png())
    for uid in (
        dataset.SOPInstanceUID,
        dataset.SeriesInstanceUID,
        dataset.StudyInstanceUID,
    ):
        root, number = uid.rsplit(".", 1)
        assert root == "2.25"
        assert str(int(number)) == number
        made = uuid.UUID(int=int(number))
        assert (made.version, made.variant) == (8, uuid.RFC_4122)


def test_the_header_contains_the_identity_behind_the_uids() -> None:
    dataset = wrapped(png(), PatientIdentity(patient_id="P-1"), "ACC-77")
    assert dataset.PatientID == "P-1"
    assert dataset.IssuerOfPatientID == settings.DEFAULT_ISSUER
    assert dataset.AccessionNumber == "ACC-77"
    assert dataset.PatientName == ""
    assert dataset.SOPClassUID == SecondaryCaptureImageStorage
    nameless = wrapped(png())
    assert nameless.PatientID == ""
    assert "IssuerOfPatientID" not in nameless


def test_a_long_accession_number_is_kept_whole() -> None:
    """SH has 16 characters, the record's column 64."""
    content = wrapped_bytes(png(), NOBODY, "A" * 64)
    assert read_header(io.BytesIO(content)).accession_number == "A" * 64


def test_an_identifier_that_no_header_holds_is_refused() -> None:
    for identifier in ("7" * 65, "a\\b", "a\nb"):
        with pytest.raises(InvalidInput) as refused:
            wrapped(png(), PatientIdentity(patient_id=identifier))
        assert refused.value.reason_code == "invalid_header"


def test_pixels_that_cannot_be_read_are_refused() -> None:
    content = pillow(Image.fromarray(EIGHT), "TIFF", compression="tiff_lzw")
    at = content.index(EIGHT.shape[1].to_bytes(2, "little"))
    assert at
    damaged = content[:8] + b"\xff" * 600 + content[608:]
    with pytest.raises(InvalidInput) as refused:
        wrapped(damaged)
    assert refused.value.reason_code == "unreadable_pixels"


@pytest.mark.slow
def test_real_pictures_become_readable_objects(chestx_data: Path) -> None:
    for path in sorted((chestx_data / "samples" / "images").iterdir()):
        content = path.read_bytes()
        dataset = wrapped(content)
        shown, expected = display_frame(dataset), picture_display(read_picture(content))
        assert cv2.absdiff(shown, expected).max() <= 2 * 257, path.name
