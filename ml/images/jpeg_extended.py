"""Extended sequential JPEG of 12 bits (ITU-T T.81 process 4), decoded by GDCM.

pydicom's plugins refuse it. GDCM's reader takes a file only, so the frame is written
as one; that costs a few milliseconds for each of these rare images.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEGExtended12Bit,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from ml.errors import ImageError
from ml.images.codestreams import read_jpeg_header


def decode_jpeg_extended(stream: bytes) -> np.ndarray:
    """Decode a grey JPEG frame of 12 bits.

    Returns:
        uint16 (H, W), 0 to 4095.

    Raises:
        ImageError: The stream is damaged, or has more than one component.
    """
    header = read_jpeg_header(stream)
    if header is None or header.components != 1:
        raise ImageError("The pixels cannot be decoded; the file may be damaged.")
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = header.rows, header.columns
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        dataset.save_as(path, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        if not reader.Read():
            raise ImageError("The pixels cannot be decoded; the file may be damaged.")
        # GDCM returns char* as str.
        pixels = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(pixels, "<u2").reshape(header.rows, header.columns)
