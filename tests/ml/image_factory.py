"""Images built in memory: pictures, datasets and whole data sets for a tiny network."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)


def chest_like(
    height: int = 220, width: int = 180, *, seed: int = 0, border: int = 0
) -> np.ndarray:
    """Draw two dark lungs in a grey body, uint16; a flat border if asked for."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    image = 30000.0 + 12000.0 * np.sin(columns / width * np.pi)
    for side in (0.3, 0.7):
        lung = ((columns / width - side) / 0.15) ** 2 + (
            (rows / height - 0.5) / 0.3
        ) ** 2
        image -= 16000.0 * np.exp(-(lung**2))
    image += 2500.0 * np.sin(rows / height * 40 + seed)
    image += rng.normal(0, 600, image.shape)
    drawn = np.clip(image, 0, 65535).astype(np.uint16)
    if border:
        drawn = np.pad(drawn, border)
    return drawn


def dataset_of(
    stored: np.ndarray,
    *,
    bits: int = 16,
    interpretation: str = "MONOCHROME2",
    **attributes: Any,
) -> Dataset:
    """Wrap stored values (H, W), (N, H, W) or (H, W, 3) as an uncompressed DX."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.PhotometricInterpretation = interpretation
    colour = stored.ndim == 3 and stored.shape[-1] == 3
    ds.SamplesPerPixel = 3 if colour else 1
    if colour:
        ds.PlanarConfiguration = 0
    shape = stored.shape[:2] if colour else stored.shape[-2:]
    ds.Rows, ds.Columns = shape
    if stored.ndim == 3 and not colour:
        ds.NumberOfFrames = stored.shape[0]
    ds.BitsAllocated = 8 * stored.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    data = stored.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def compressed(dataset: Dataset, syntax: UID) -> Dataset:
    """Return a copy in a lossless transfer syntax, read back from its file's bytes."""
    copy = Dataset()
    copy.update({element.tag: element for element in dataset})
    copy.file_meta = FileMetaDataset()
    copy.file_meta.update({element.tag: element for element in dataset.file_meta})
    copy.compress(syntax, generate_instance_uid=False)
    return copy


def file_of(dataset: Dataset) -> bytes:
    """Return a dataset as the bytes of a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def encoded(pixels: np.ndarray, extension: str, *options: int) -> bytes:
    """Encode pixels as OpenCV does; colours are RGB."""
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    done, data = cv2.imencode(extension, pixels, list(options))
    assert done
    return data.tobytes()


def stripes(shape: tuple[int, int], *, kind: int) -> np.ndarray:
    """Return where stripes are: across (0), upright (1), nowhere (2)."""
    if kind > 1:
        return np.zeros(shape, bool)
    return np.indices(shape)[kind] % 12 < 4


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write a manifest with the columns that the rows have."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_images(
    root: Path, labels: list[str], *, each: int, splits: dict[str, int]
) -> Path:
    """Write small images, `each` a label and split, two a patient, and a manifest.

    Args:
        root: Where to write.
        labels: An image's label decides how its stripes run.
        each: Images of each label in a split, times the split's number.
        splits: Split to that number.
    """
    rows = []
    for split, times in splits.items():
        for k, label in enumerate(labels):
            for n in range(each * times):
                name = f"{split}-{k}-{n}.png"
                image = chest_like(72, 64, seed=1000 * k + n)
                image = np.where(stripes(image.shape, kind=k), 65535, image).astype(
                    "u2"
                )
                (root / name).write_bytes(encoded((image // 257).astype("u1"), ".png"))
                rows.append(
                    {
                        "path": name,
                        "dataset": "drawn",
                        "split": split,
                        "patient_id": f"{split}-{k}-{n // 2}",
                        "labels": label,
                    }
                )
    return write_manifest(root / "manifest.csv", rows)
