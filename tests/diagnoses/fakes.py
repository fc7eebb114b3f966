"""A model that answers without a network, its card, and stored images to read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from django.conf import settings
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from diagnoses.governance.versions import card_of
from diagnoses.models import ModelVersion, OperatingPoint
from ml.cards.card import Card
from ml.errors import ImageRejected
from ml.inference import LoadedModel
from ml.model_output import ModelOutput, Score
from ml.preprocessing import PREPROCESSING_VERSION, preprocess
from patients.models import Instance
from patients.storage import put_object
from tests.default_model import DEFAULT_MODEL
from tests.factories import InstanceFactory, ModelVersionFactory

LABELS = ("Normal", "Bacterial pneumonia", "Tuberculosis")
PROBABILITIES = {"Normal": 0.1, "Bacterial pneumonia": 0.7, "Tuberculosis": 0.2}
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def default_model() -> ModelVersion | None:
    """Return the active version of the default model, if there is one."""
    return ModelVersion.objects.filter(
        name=settings.DEFAULT_MODEL, state=ModelVersion.State.ACTIVE
    ).first()


def card_json(name: str = DEFAULT_MODEL, **accepts: Any) -> dict[str, Any]:
    """Return a whole card as JSON."""
    return {
        "name": name,
        "version": "1",
        "architecture": "fake",
        "task": "softmax",
        "labels": [
            {"name": label, "display": label, "snomed": "1"} for label in LABELS
        ],
        "thresholds": {"values": dict.fromkeys(LABELS, 0.5)},
        "calibration": {"calibrated": False},
        "accepts": {
            "modalities": ["CR", "DX"],
            "body_parts": ["CHEST"],
            "views": ["PA", "AP"],
            "ages": "any",
            **accepts,
        },
        "input": {"size": 16, "channels": 1, "normalisation": {}},
        "weights": {"file": "weights.keras", "sha256": "0" * 64},
        "metrics": {},
        "training_data": [],
        "intended_use": "tests",
        "limits": [],
        "not_measured": [],
    }


def installed_model(
    name: str = DEFAULT_MODEL, *, state: str = "active", **accepts: Any
) -> ModelVersion:
    """Return an installed version of a fake model, with one operating point."""
    model_version: ModelVersion = ModelVersionFactory(
        name=name, card=card_json(name, **accepts), state=state
    )
    OperatingPoint.objects.create(
        model_version=model_version, label=LABELS[1], value=0.6, method="tests"
    )
    return model_version


class FakeModel(LoadedModel):
    """Says the same of every image, and does as it is told before."""

    def __init__(self, card: Card, *, before: Any = None) -> None:
        self.card = card
        self.images = 0
        self._before = before

    def read(
        self,
        display: np.ndarray,
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> ModelOutput:
        """Answer with PROBABILITIES."""
        self.images += 1
        if self._before:
            self._before()
        image, geometry = preprocess(display, size=self.card.input_size)
        limits = {**self.card.thresholds, **(thresholds or {})}
        scores = tuple(
            Score(
                label=label,
                probability=PROBABILITIES[label],
                calibrated=False,
                threshold=limits[label],
                positive=PROBABILITIES[label] >= limits[label],
                grid=np.eye(3, dtype=np.float16),
                scale=2.0,
                ages=self.card.label_ages.get(label, ()),
            )
            for label in LABELS
        )
        return ModelOutput(
            model=self.card.name,
            version=self.card.version,
            weights_sha256="0" * 64,
            preprocessing_version=PREPROCESSING_VERSION,
            backend="fake",
            precision="float32",
            library_versions={"numpy": np.__version__},
            input_sha256=hashlib.sha256(image.tobytes()).hexdigest(),
            geometry=geometry,
            scores=scores,
            milliseconds=1.0,
        )

    def read_many(
        self,
        displays: Sequence[np.ndarray],
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> list[ModelOutput | ImageRejected]:
        """Answer for each image; remember how many came together."""
        self.batches = [*getattr(self, "batches", []), len(displays)]
        return [
            self.read(display, thresholds=thresholds, apply_gate=apply_gate)
            for display in displays
        ]


def fake_loader(model_version: ModelVersion) -> LoadedModel:
    """Load a FakeModel in place of weights."""
    return FakeModel(card_of(model_version))


def image_bytes(pixels: np.ndarray) -> bytes:
    """Return a DX object with these pixels, uint16 (rows, columns), uncompressed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(DX)
    meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = DX, "2.25.1"
    dataset.Modality, dataset.BodyPartExamined = "DX", "CHEST"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def gradient_image() -> np.ndarray:
    """Return an image with contrast, uint16 (64, 48)."""
    return np.linspace(0, 65535, 64 * 48).reshape(64, 48).astype(np.uint16)


def header(**values: str) -> dict[str, Any]:
    """Return a header as DICOM JSON: `header(Modality="CT")`."""
    from_keyword = {
        "Modality": ("00080060", "CS"),
        "BodyPartExamined": ("00180015", "CS"),
        "ViewPosition": ("00185101", "CS"),
        "StudyDescription": ("00081030", "LO"),
        "PatientSpeciesDescription": ("00102201", "LO"),
    }
    known = {"Modality": "DX", "BodyPartExamined": "CHEST"} | values
    return {
        from_keyword[keyword][0]: {"vr": from_keyword[keyword][1], "Value": [value]}
        for keyword, value in known.items()
        if value
    }


def image_row(**values: Any) -> Instance:
    """Return the row of a chest image that has no object behind it."""
    return InstanceFactory(**{"header": header(), "colour": False, **values})


def stored_image(pixels: np.ndarray | None = None, **values: Any) -> Instance:
    """Return an image whose object is in the storage."""
    content = image_bytes(gradient_image() if pixels is None else pixels)
    sha256 = hashlib.sha256(content).hexdigest()
    put_object(io.BytesIO(content), sha256=sha256)
    return image_row(object_sha256=sha256, **values)
