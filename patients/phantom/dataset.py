"""A synthetic chest image as a DICOM object, marked in pixels and header."""

import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from patients.phantom.drawing import BITS, MARK, draw_chest

__all__ = ["draw_chest", "phantom_dataset", "write_phantom"]

# The size of the field of view.
_IMAGE_MM = 360.0


def phantom_dataset(
    seed: int,
    *,
    patient_id: str = "",
    patient_name: str = "",
    birth_date: str = "",
    sex: str = "",
    study_date: str = "",
    study_time: str = "",
    accession_number: str = "",
    study_uid: str = "",
    size: int = 1024,
    opacity: bool | None = None,
) -> FileDataset:
    """Return the image as a DX dataset (PS3.3 A.26), Explicit VR Little Endian.

    The same arguments give the same UIDs and bytes. `study_uid` puts several images
    into one study; dates are DICOM's (YYYYMMDD).
    """
    pixels = draw_chest(seed, size=size, opacity=opacity)
    identity = f"{seed}|{size}|{opacity}|{patient_id}|{accession_number}|{study_uid}"
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = _uid(f"image|{identity}")
    dataset.StudyInstanceUID = study_uid or _uid(f"study|{identity}")
    dataset.SeriesInstanceUID = _uid(f"series|{identity}")
    dataset.PatientID, dataset.PatientName = patient_id, patient_name
    dataset.PatientBirthDate, dataset.PatientSex = birth_date, sex
    dataset.PatientComments = f"{MARK}: drawn by a program, no person"
    dataset.StudyDate, dataset.StudyTime = study_date, study_time
    dataset.AccessionNumber = accession_number
    dataset.StudyDescription = f"Chest PA ({MARK})"
    dataset.SeriesDescription = f"Chest PA ({MARK})"
    dataset.ImageComments = f"{MARK}: drawn by a program, seed {seed}"
    dataset.ReferringPhysicianName, dataset.StudyID = "", ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    _describe_acquisition(dataset, size)
    _describe_pixels(dataset, pixels)
    return _as_file(dataset)


def write_phantom(path: Path, seed: int, **identity: Any) -> Path:
    """Write the image as a DICOM file (arguments as `phantom_dataset`)."""
    with path.open("wb") as file:
        dcmwrite(file, phantom_dataset(seed, **identity), enforce_file_format=True)
    return path


def _describe_acquisition(dataset: Dataset, size: int) -> None:
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.ImageLaterality = "U"
    dataset.PatientOrientation = ["L", "F"]
    dataset.Manufacturer = "ChestX phantom"
    dataset.BurnedInAnnotation = "YES"
    spacing = f"{_IMAGE_MM / size:.6g}"
    dataset.ImagerPixelSpacing = [spacing, spacing]


def _describe_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS, BITS - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.WindowCenter, dataset.WindowWidth = 1 << (BITS - 1), 1 << BITS
    dataset.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())


def _as_file(dataset: Dataset) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.268110932044218253026216823110398476853")
    return FileDataset("", dataset, preamble=b"\0" * 128, file_meta=meta)


def _uid(text: str) -> str:
    """Return a UID made from a text by way of a UUID (PS3.5 B.2)."""
    high, low = struct.unpack(">QQ", sha256(f"phantom|{text}".encode()).digest()[:16])
    high = high & ~0xF000 | 0x8000
    low = low & ~(0b11 << 62) | 0b10 << 62
    return f"2.25.{high << 64 | low}"
