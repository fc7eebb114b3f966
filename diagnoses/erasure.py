"""The one way to delete: a study or a patient with everything that was said of them.

The audit trail stays; it holds keys only, no name. The trigger that refuses every
other deletion lets this one pass, for the length of its transaction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import User
from diagnoses.models import Finding, HeatMap, Prediction, WorklistEntry
from diagnoses.worklist import lock_study
from patients.models import (
    Instance,
    Patient,
    PatientAssignment,
    Series,
    Study,
    Upload,
)
from patients.storage import discard_quarantined, remove_object_if_orphan

DELETE = audit.AuditAction.DELETE


@dataclass
class Erased:
    """How much was deleted."""

    studies: int = 0
    instances: int = 0
    predictions: int = 0
    findings: int = 0
    uploads: int = 0
    objects: set[str] = field(default_factory=set)
    quarantined: set[str] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """Return the figures, for the trail and for people."""
        return {
            name: value if isinstance(value, int) else len(value)
            for name, value in asdict(self).items()
        }


def erase_study(
    study: Study, *, actor: User | None, reason: str, source: str = "command"
) -> Erased:
    """Delete a study, its images, and all that was said about them.

    Args:
        study: The study.
        actor: Who asks; None for a command without a user.
        reason: Why; kept in the trail. Never a patient's name.
        source: Which way in.

    Returns:
        How much was deleted.
    """
    erased = Erased()
    with transaction.atomic():
        _allow_deletion()
        patient_id = study.patient_id
        _erase_study(study, erased)
        audit.record(
            action=DELETE,
            actor=actor,
            source=source,
            object_kind="study",
            object_uuid=study.pk,
            patients=[patient_id],
            detail={"reason": reason, **erased.counts()},
        )
        transaction.on_commit(partial(_delete_objects, erased))
    return erased


def erase_patient(
    patient: Patient, *, actor: User | None, reason: str, source: str = "command"
) -> Erased:
    """Delete a patient with every study; see `erase_study`."""
    erased = Erased()
    with transaction.atomic():
        _allow_deletion()
        locked = Patient.objects.select_for_update().get(pk=patient.pk)
        for study in locked.studies.all():
            _erase_study(study, erased)
        PatientAssignment.objects.filter(from_patient=locked).delete()
        PatientAssignment.objects.filter(to_patient=locked).delete()
        Patient.objects.filter(pk=locked.pk).delete()
        audit.record(
            action=DELETE,
            actor=actor,
            source=source,
            object_kind="patient",
            object_uuid=patient.pk,
            patients=[patient.pk],
            detail={"reason": reason, **erased.counts()},
        )
        transaction.on_commit(partial(_delete_objects, erased))
    return erased


def _allow_deletion() -> None:
    """Tell the triggers that this transaction erases; it ends with the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('chestx.erasure', 'on', true)")


def _erase_study(study: Study, erased: Erased) -> None:
    """Delete what hangs on a study from the leaves up, then the study."""
    lock_study(study.pk)
    instances = Instance.objects.filter(series__study=study)
    predictions = Prediction.objects.filter(instance__in=instances)
    findings = Finding.objects.filter(prediction__in=predictions)
    erased.studies += 1
    erased.instances += instances.count()
    erased.predictions += predictions.count()
    erased.findings += findings.count()
    WorklistEntry.objects.filter(study=study).delete()
    HeatMap.objects.filter(finding__in=findings).delete()
    findings.delete()
    predictions.delete()
    _erase_uploads(instances, erased)
    erased.objects |= set(instances.values_list("object_sha256", flat=True))
    instances.delete()
    Series.objects.filter(study=study).delete()
    PatientAssignment.objects.filter(study=study).delete()
    Study.objects.filter(pk=study.pk).delete()


def _erase_uploads(instances: QuerySet[Instance], erased: Erased) -> None:
    """Delete the uploads of these images, and the copies that contradict them."""
    sent = Upload.objects.filter(instance__in=instances)
    contradicting = Upload.objects.filter(conflicts_with__in=instances)
    erased.uploads += sent.count() + contradicting.count()
    erased.quarantined |= set(
        contradicting.exclude(sha256="").values_list("sha256", flat=True)
    )
    sent.delete()
    contradicting.delete()


def _delete_objects(erased: Erased) -> None:
    """Delete the bytes that nothing refers to any more."""
    for sha256 in erased.objects:
        remove_object_if_orphan(sha256)
    for sha256 in erased.quarantined:
        discard_quarantined(sha256)
