"""Images for benchmarks: drawn ones, and real samples if available."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from django.conf import settings
from pydicom import dcmread
from pydicom.uid import generate_uid

from patients.phantom.dataset import phantom_dataset
from patients.phantom.drawing import BITS, draw_chest

DRAWN_SIDE = 2000
_JPEG_2000_SAMPLE = "cr_chest_pa_monochrome1_16bit_jpeg2000.dcm"


def drawn_images(count: int) -> Iterator[bytes]:
    """Yield uncompressed synthetic images, 2000 x 2000, 16 bits, all different.

    It is one drawing, shifted by a pixel for each image, because drawing takes longer
    than the measured upload.
    """
    dataset = phantom_dataset(1, size=DRAWN_SIDE, patient_id="BENCH-DRAWN")
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(DRAWN_SIDE, DRAWN_SIDE)
    pixels = pixels << (16 - BITS)
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.WindowCenter, dataset.WindowWidth = 1 << 15, 1 << 16
    for number in range(count):
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
            generate_uid(),
            generate_uid(),
        )
        dataset.PixelData = np.roll(pixels, number, axis=0).tobytes()
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        yield out.getvalue()


def jpeg_2000_images(count: int) -> Iterator[bytes]:
    """Yield the JPEG 2000 sample, if available, with new UIDs each time."""
    path = Path(settings.CHESTX_DATA) / "samples" / "dicom" / _JPEG_2000_SAMPLE
    if not path.is_file():
        return
    dataset = dcmread(path)
    for _ in range(count):
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        out = io.BytesIO()
        dataset.save_as(out)
        yield out.getvalue()


def jpeg_pictures() -> tuple[str, list[bytes]]:
    """Return the source and contents of JPEG images: samples, else drawn ones."""
    folder = Path(settings.CHESTX_DATA) / "samples" / "images"
    paths = sorted(p for p in folder.glob("*") if p.suffix in (".jpg", ".jpeg"))
    if paths:
        return "samples", [path.read_bytes() for path in paths]
    drawn = [(draw_chest(seed) >> (BITS - 8)).astype(np.uint8) for seed in range(6)]
    return "drawn", [cv2.imencode(".jpg", image)[1].tobytes() for image in drawn]
