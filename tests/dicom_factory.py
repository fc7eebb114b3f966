"""DICOM objects and pictures for tests, built in memory."""

from io import BytesIO
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    generate_uid,
)


def grey_pixels(seed: int = 0, *, rows: int = 64, columns: int = 48) -> np.ndarray:
    """Return a noisy 12-bit picture: uint16 (rows, columns), 0..4095."""
    slope = np.linspace(500, 3500, rows * columns).reshape(rows, columns)
    noise = np.random.default_rng(seed).integers(-400, 400, (rows, columns))
    return (slope + noise).clip(0, 4095).astype(np.uint16)


def image(*, pixels: np.ndarray | None = None, **attributes: Any) -> FileDataset:
    """Return a DX image, Explicit VR Little Endian, 12 bit.

    Args:
        pixels: uint16 (rows, columns); default: `grey_pixels()`.
        attributes: By DICOM keyword; None leaves the attribute out.
    """
    pixels = grey_pixels() if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientID": "P-1",
        "PatientName": "Doe^John",
        "PatientBirthDate": "19700131",
        "PatientSex": "M",
        "StudyDate": "20240229",
        "StudyTime": "101500",
        "AccessionNumber": "",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        **attributes,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", UID("1.2.3"))
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", UID("1.2.3"))
    return dataset


def written(dataset: Dataset) -> bytes:
    """Return the object as the bytes of a DICOM file."""
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def image_bytes(**attributes: Any) -> bytes:
    """Return a DX image as a file; arguments as `image`."""
    return written(image(**attributes))


def encoded(dataset: FileDataset, transfer_syntax: UID, **options: Any) -> bytes:
    """Return the same object in a compressed transfer syntax, as a file."""
    copy = FileDataset(None, dataset, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    copy.file_meta.update(dataset.file_meta)
    copy.compress(transfer_syntax, generate_instance_uid=False, **options)
    return written(copy)


def jpeg_image(dataset: FileDataset) -> bytes:
    """Return an 8-bit object in JPEG baseline, as a file."""
    pixels = np.frombuffer(dataset.PixelData, np.uint8)
    stream = jpeg(pixels[: dataset.Rows * dataset.Columns].reshape(dataset.Rows, -1))
    copy = FileDataset(None, dataset, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    copy.file_meta.update(dataset.file_meta)
    copy.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    copy.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    copy["PixelData"].VR = "OB"
    copy["PixelData"].is_undefined_length = True
    return written(copy)


def png(pixels: np.ndarray | None = None) -> bytes:
    """Return a picture as PNG; default: 8 bit grey."""
    if pixels is None:
        pixels = (grey_pixels() >> 4).astype(np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def jpeg(pixels: np.ndarray | None = None, *, quality: int = 95) -> bytes:
    """Return a picture as JPEG; default: 8 bit grey."""
    if pixels is None:
        pixels = (grey_pixels() >> 4).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", pixels, options)[1].tobytes()
