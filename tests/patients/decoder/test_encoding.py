"""Pictures are stored without loss, in the transfer syntax that is smallest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless

from ml.pixels import read_stored_frame
from patients.decoder import child

SHAPES = [(64, 48), (64, 48, 3)]


def described(pixels: np.ndarray) -> dict[str, Any]:
    return {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples": 3 if pixels.ndim == 3 else 1,
        "bits": pixels.dtype.itemsize * 8,
    }


def decoded(syntax: UID, data: bytes, pixels: np.ndarray) -> np.ndarray:
    """Decode as the workers and the web process do."""
    head, dataset = described(pixels), Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.Rows, dataset.Columns = head["rows"], head["columns"]
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = head["samples"], 0
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = head["bits"]
    dataset.HighBit, dataset.PixelRepresentation = head["bits"] - 1, 0
    dataset.PixelData = encapsulate([bytes(data)])
    return read_stored_frame(dataset)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_come_back_without_loss(shape: tuple[int, ...], dtype: type) -> None:
    pixels: np.ndarray = (
        (np.arange(np.prod(shape)) // 200 * 77).astype(dtype).reshape(shape)
    )
    chosen, data = child._smallest(pixels.tobytes(), described(pixels))
    assert chosen == JPEGLSLossless
    assert len(data) < pixels.nbytes
    np.testing.assert_array_equal(decoded(chosen, data, pixels), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 48), (64, 48, 3)])
def test_noise_stays_native(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    chosen, data = child._smallest(pixels.tobytes(), described(pixels))
    assert chosen == ExplicitVRLittleEndian
    assert data == pixels.tobytes()
