"""The phantoms: synthetic, and marked so that nobody mistakes them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from ml.pixels import display_frame
from patients.containers import Kind, check_whole
from patients.dicom.header import read_header
from patients.phantom.dataset import phantom_dataset, write_phantom
from patients.phantom.drawing import MARK, draw_chest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return draw_chest(11, opacity=False)


def test_the_same_seed_draws_the_same_image(image: np.ndarray) -> None:
    np.testing.assert_array_equal(image, draw_chest(11, opacity=False))
    assert not np.array_equal(image, draw_chest(12, opacity=False))


def test_a_phantom_has_twelve_bits_and_a_chest(image: np.ndarray) -> None:
    """Lungs are darker than heart and belly; beside the body is air."""
    assert image.dtype == np.uint16
    assert image.shape == (1024, 1024)
    assert image.max() <= 4095
    lung = image[420:520, 250:330].mean()
    other_lung = image[420:520, 700:770].mean()
    heart, belly = image[620:680, 500:560].mean(), image[900:950, 300:700].mean()
    air = image[500:600, 5:25].mean()
    assert air < lung < heart
    assert air < other_lung < belly
    assert image[:, 300].std() > 100


def test_an_opacity_brightens_a_lung() -> None:
    clear, clouded = draw_chest(21, opacity=False), draw_chest(21, opacity=True)
    brighter = clouded.astype(int) - clear
    assert (brighter > 400).sum() > 2000


def test_the_word_synthetic_is_burnt_into_the_pixels(image: np.ndarray) -> None:
    """The letters are white upon black, at the top and the bottom of the image."""
    for rows, columns in (((25, 65), (30, 240)), ((960, 1005), (300, 740))):
        strip = image[slice(*rows), slice(*columns)]
        assert (strip == 4095).sum() > 500
        assert (strip < 20).sum() > 200


def test_the_header_contains_the_word_synthetic(tmp_path: Path) -> None:
    path = write_phantom(
        tmp_path / "phantom.dcm",
        3,
        patient_id="DEMO-1",
        patient_name="Phantom^Petra",
        study_date="20240105",
        accession_number="D1",
    )
    with path.open("rb") as file:
        check_whole(file, Kind.DICOM)
        header = read_header(file)
    assert header.patient.patient_id == "DEMO-1"
    assert (header.modality, header.view_position) == ("DX", "PA")
    assert header.body_part_examined == "CHEST"
    assert (header.bits_stored, header.photometric_interpretation) == (
        12,
        "MONOCHROME2",
    )
    dataset = dcmread(path)
    for text in (
        dataset.ImageComments,
        dataset.PatientComments,
        dataset.SeriesDescription,
        dataset.StudyDescription,
    ):
        assert MARK in text
    assert display_frame(dataset).max() == 65535


def test_the_same_arguments_give_the_same_bytes() -> None:
    def content(**arguments: str) -> bytes:
        out = io.BytesIO()
        phantom_dataset(5, size=256, **arguments).save_as(out, enforce_file_format=True)
        return out.getvalue()

    first = content(patient_id="A")
    assert first == content(patient_id="A")
    assert first != content(patient_id="B")


def test_phantoms_of_one_study_share_its_uid() -> None:
    first = phantom_dataset(5, size=128)
    second = phantom_dataset(6, size=128, study_uid=first.StudyInstanceUID)
    assert second.StudyInstanceUID == first.StudyInstanceUID
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID != first.SeriesInstanceUID


def test_a_phantom_can_be_drawn_larger() -> None:
    dataset = phantom_dataset(5, size=2000)
    assert (dataset.Rows, dataset.Columns) == (2000, 2000)
    assert len(dataset.PixelData) == 2000 * 2000 * 2
