"""Studies on the worklist, with images that were read, rejected or wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from diagnoses.models import Prediction
from diagnoses.worklist import refresh_entry
from patients.models import Instance, Patient, Priority, Study
from tests.diagnoses.fakes import LABELS, installed_model
from tests.factories import (
    FindingFactory,
    HeatMapFactory,
    InstanceFactory,
    PatientFactory,
    PredictionFactory,
    StudyFactory,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def study_with_image(
    *,
    minutes_ago: int = 0,
    priority: int = Priority.ROUTINE,
    patient: Patient | None = None,
    image: dict[str, Any] | None = None,
    **study: Any,
) -> Instance:
    """Return the image of a new study; the worklist does not know of it yet."""
    made: Study = StudyFactory(
        patient=patient or PatientFactory(), priority=priority, **study
    )
    received_at = NOON - timedelta(minutes=minutes_ago)
    Study.objects.filter(pk=made.pk).update(received_at=received_at)
    made.received_at = received_at
    return InstanceFactory(series__study=made, **(image or {}))


def read(image: Instance, **scores: float) -> Prediction:
    """Let the default model have read an image: `read(image, Tuberculosis=0.8)`."""
    run: Prediction = PredictionFactory(
        instance=image, model_version=installed_model(), succeeded=True, milliseconds=41
    )
    for position, label in enumerate(LABELS):
        score = scores.get(label.replace(" ", "_"), 0.05)
        HeatMapFactory(
            finding=FindingFactory(
                prediction=run, position=position, label=label, probability=score
            )
        )
    refresh_entry(image.series.study_id)
    return run


def rejected(image: Instance, reason_code: str, reason: str) -> Prediction:
    """Let the default model have turned an image away."""
    run: Prediction = PredictionFactory(
        instance=image,
        model_version=installed_model(),
        status=Prediction.Status.REJECTED,
        finished_at=NOON,
        reason_code=reason_code,
        reason=reason,
    )
    refresh_entry(image.series.study_id)
    return run


def waiting(image: Instance) -> Prediction:
    """Let an image wait for the default model."""
    run: Prediction = PredictionFactory(instance=image, model_version=installed_model())
    refresh_entry(image.series.study_id)
    return run


def failed(image: Instance) -> Prediction:
    """Let the default model have failed on an image."""
    run: Prediction = PredictionFactory(
        instance=image, model_version=installed_model(), failed=True
    )
    refresh_entry(image.series.study_id)
    return run
