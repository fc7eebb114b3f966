"""A refused image has no score, except drawings that the demo marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from django.urls import reverse

from diagnoses.leases import claim
from diagnoses.models import Finding, HeatMap, ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from diagnoses.worker import read as worker
from diagnoses.worker.batches import read_batch
from diagnoses.worker.read import GATE_NOT_APPLIED, LoadedModels, read_claimed
from ml.errors import ImageRejected
from ml.gate.out_of_distribution import GateResult
from ml.model_output import ModelOutput
from patients.ingest import ingest_instance
from patients.models import Instance, Upload
from patients.phantom.dataset import phantom_dataset
from tests.clients import person
from tests.diagnoses.fakes import FakeModel, stored_image

REFUSED = GateResult(score=2.5, threshold=1.0, reason_code="unlike_training_images")


class GatedModel(FakeModel):
    """A model whose gate refuses every image."""

    result = REFUSED

    def read(
        self,
        display: np.ndarray,
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> ModelOutput:
        """Refuse, or score and say what the gate would have done."""
        if apply_gate and self.result.refused:
            raise self.result.rejection()
        model_output = super().read(display, thresholds=thresholds)
        return replace(model_output, gate=replace(self.result, applied=apply_gate))

    def read_many(
        self,
        displays: Sequence[np.ndarray],
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> list[ModelOutput | ImageRejected]:
        """Refuse or score each."""
        if apply_gate and self.result.refused:
            return [self.result.rejection() for _ in displays]
        return super().read_many(displays, thresholds=thresholds, apply_gate=apply_gate)


class LenientModel(GatedModel):
    """A model whose gate lets every image in."""

    result = replace(REFUSED, score=0.2)


def reads_with(kind: type[FakeModel]) -> LoadedModels:
    return LoadedModels(loader=lambda version: kind(worker.card_of(version)))


def read(instance: Instance, kind: type[FakeModel] = GatedModel) -> Prediction:
    if not instance.predictions.exists():
        queue_predictions(instance)
    [claimed] = claim("worker-1")
    read_claimed(claimed, models=reads_with(kind))
    return Prediction.objects.get(pk=claimed.prediction_id)


def test_images_refused_by_the_gate_have_no_scores_and_no_heat_maps(
    chest_model: ModelVersion,
) -> None:
    row = read(stored_image())
    assert (row.status, row.reason_code) == ("rejected", "unlike_training_images")
    assert row.reason_text
    assert not Finding.objects.exists()
    assert not HeatMap.objects.exists()


def test_the_gate_result_is_stored_with_the_scores(chest_model: ModelVersion) -> None:
    row = read(stored_image(), LenientModel)
    assert row.status == "succeeded"
    assert row.provenance["gate"] == {
        "score": 0.2,
        "threshold": 1.0,
        "refused": False,
        "reason_code": "",
        "applied": True,
        "note": "",
    }


def test_the_provenance_records_a_missing_gate(chest_model: ModelVersion) -> None:
    assert read(stored_image(), FakeModel).provenance["gate"] is None


def test_a_synthetic_demo_image_is_scored_with_a_note(
    chest_model: ModelVersion,
) -> None:
    image = stored_image(synthetic=True)
    row = read(image)
    assert row.status == "succeeded"
    assert row.provenance["gate"]["note"] == GATE_NOT_APPLIED
    assert row.provenance["gate"]["refused"]
    assert not row.provenance["gate"]["applied"]
    page = person().get(reverse("study", args=[image.series.study_id]))
    assert b"gate not applied: synthetic" in page.content.lower()


def test_a_synthetic_image_accepted_by_the_gate_has_no_note(
    chest_model: ModelVersion,
) -> None:
    row = read(stored_image(synthetic=True), LenientModel)
    assert row.provenance["gate"]["note"] == ""


def drawing() -> BytesIO:
    """Return a drawn image whose header and picture say SYNTHETIC."""
    content = BytesIO()
    phantom_dataset(7, size=128).save_as(content, enforce_file_format=True)
    content.seek(0)
    return content


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", [source for source in Upload.Source if source != Upload.Source.DEMO]
)
def test_a_synthetic_mark_in_the_file_does_not_bypass_the_gate(
    chest_model: ModelVersion, source: Upload.Source
) -> None:
    result = ingest_instance(drawing(), name="drawn.dcm", source=source, actor=None)
    assert result.instance is not None
    assert "SYNTHETIC" in str(result.instance.header)
    row = read(result.instance)
    assert (row.status, row.reason_code) == ("rejected", "unlike_training_images")


@pytest.mark.slow
def test_synthetic_images_of_the_demo_source_bypass_the_gate(
    chest_model: ModelVersion,
) -> None:
    result = ingest_instance(
        drawing(),
        name="drawn.dcm",
        source=Upload.Source.DEMO,
        actor=None,
        synthetic=True,
    )
    assert result.instance is not None
    assert read(result.instance).provenance["gate"]["note"] == GATE_NOT_APPLIED


def test_the_synthetic_mark_is_per_image_in_a_batch(chest_model: ModelVersion) -> None:
    for number, synthetic in enumerate((False, True)):
        pixels = np.roll(np.arange(64 * 48, dtype=np.uint16) * 20, number)
        queue_predictions(stored_image(pixels.reshape(64, 48), synthetic=synthetic))
    read_batch(claim("worker-1", count=2), models=reads_with(GatedModel))
    statuses = {
        row.instance.synthetic: row.status
        for row in Prediction.objects.select_related("instance")
    }
    assert statuses == {False: "rejected", True: "succeeded"}
