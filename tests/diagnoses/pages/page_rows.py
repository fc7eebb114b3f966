"""Studies on the worklist, with films that were read, rejected or wait."""

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


def study_with_film(
    *,
    minutes_ago: int = 0,
    priority: int = Priority.ROUTINE,
    patient: Patient | None = None,
    film: dict[str, Any] | None = None,
    **study: Any,
) -> Instance:
    """Return the film of a new study; the worklist does not know of it yet."""
    made: Study = StudyFactory(
        patient=patient or PatientFactory(), priority=priority, **study
    )
    received_at = NOON - timedelta(minutes=minutes_ago)
    Study.objects.filter(pk=made.pk).update(received_at=received_at)
    made.received_at = received_at
    return InstanceFactory(series__study=made, **(film or {}))


def read(film: Instance, **scores: float) -> Prediction:
    """Let the default model have read a film: `read(film, Tuberculosis=0.8)`."""
    run: Prediction = PredictionFactory(
        instance=film, model_version=installed_model(), succeeded=True, milliseconds=41
    )
    for position, label in enumerate(LABELS):
        score = scores.get(label.replace(" ", "_"), 0.05)
        HeatMapFactory(
            finding=FindingFactory(
                prediction=run, position=position, label=label, probability=score
            )
        )
    refresh_entry(film.series.study_id)
    return run


def rejected(film: Instance, reason_code: str, reason: str) -> Prediction:
    """Let the default model have turned a film away."""
    run: Prediction = PredictionFactory(
        instance=film,
        model_version=installed_model(),
        status=Prediction.Status.REJECTED,
        finished_at=NOON,
        reason_code=reason_code,
        reason=reason,
    )
    refresh_entry(film.series.study_id)
    return run


def waiting(film: Instance) -> Prediction:
    """Let a film wait for the default model."""
    run: Prediction = PredictionFactory(instance=film, model_version=installed_model())
    refresh_entry(film.series.study_id)
    return run


def failed(film: Instance) -> Prediction:
    """Let the default model have failed on a film."""
    run: Prediction = PredictionFactory(
        instance=film, model_version=installed_model(), failed=True
    )
    refresh_entry(film.series.study_id)
    return run
