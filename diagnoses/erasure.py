"""Delete a study or a patient with all images, results and uploads.

Nothing else deletes: the serving role has no right to. It calls functions of the
tables' owner, which delete whole studies and patients only. A transaction without the
audit event is refused. The audit trail stays; it contains keys, no names. Only the old
and new values of the patient's data are deleted from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import User
from diagnoses.models import Finding, Prediction
from diagnoses.worklist import lock_study
from patients.identity.traces import (
    Person,
    Traces,
    erase_conflicts_with,
    erase_traces,
)
from patients.models import Instance, Patient, Study, Upload
from patients.storage import discard_quarantined, remove_object_if_orphan

DELETE = audit.AuditAction.DELETE


@dataclass
class Erased:
    """Counts of deleted rows and files.

    Attributes:
        cleared: Refused uploads that stay, without the patient's values.
        sent: SHA-256 of the files as sent; `objects` has those as stored.
    """

    studies: int = 0
    instances: int = 0
    predictions: int = 0
    findings: int = 0
    uploads: int = 0
    cleared: int = 0
    objects: set[str] = field(default_factory=set)
    quarantined: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """Return the counts, for the audit trail and for people."""
        return {
            name: value if isinstance(value, int) else len(value)
            for name, value in asdict(self).items()
            if name != "sent"
        }

    def add(self, traces: Traces) -> None:
        """Count what was removed from refused uploads and quarantine."""
        self.uploads += traces.deleted
        self.cleared += traces.cleared
        self.quarantined |= traces.quarantined


def erase_study(
    study: Study, *, actor: User | None, reason: str, source: str = "command"
) -> Erased:
    """Delete a study with its images and results.

    Args:
        study: The study.
        actor: The user; None for a command without a user.
        reason: Stored in the audit trail; it must not contain a patient's name.
        source: An `AuditSource`.

    Returns:
        Counts of what was deleted.
    """
    erased = Erased()
    with transaction.atomic():
        patient_id = study.patient_id
        _erase_study(study, erased, Person.of(study.patient))
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
    """Delete a patient with every study; see `erase_study`.

    Refused uploads lose what they say about the patient, and files in quarantine that
    are the patient's are deleted.
    """
    erased = Erased()
    with transaction.atomic():
        locked = Patient.objects.select_for_update().get(pk=patient.pk)
        person = Person.of(locked)
        for study in locked.studies.all():
            _erase_study(study, erased, person)
        with connection.cursor() as cursor:
            cursor.execute("SELECT erase_patient(%s)", [locked.pk])
        erased.add(erase_traces(person, objects=erased.objects | erased.sent))
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


def _erase_study(study: Study, erased: Erased, person: Person) -> None:
    """Count what belongs to a study, then delete it."""
    lock_study(study.pk)
    instances = Instance.objects.filter(series__study=study)
    predictions = Prediction.objects.filter(instance__in=instances)
    findings = Finding.objects.filter(prediction__in=predictions)
    erased.studies += 1
    erased.instances += instances.count()
    erased.predictions += predictions.count()
    erased.findings += findings.count()
    _erase_uploads(instances, erased, person)
    for stored in instances.values_list("object_sha256", "original_sha256"):
        erased.objects |= set(stored) - {""}
    with connection.cursor() as cursor:
        cursor.execute("SELECT erase_study(%s)", [study.pk])


def _erase_uploads(
    instances: QuerySet[Instance], erased: Erased, person: Person
) -> None:
    """Count the uploads of these images; delete the uploads in conflict with them."""
    sent = Upload.objects.filter(instance__in=instances)
    erased.uploads += sent.count()
    erased.sent |= set(sent.exclude(sha256="").values_list("sha256", flat=True))
    erased.add(erase_conflicts_with(instances, person))


def _delete_objects(erased: Erased) -> None:
    """Delete the stored files without references."""
    for sha256 in erased.objects:
        remove_object_if_orphan(sha256)
    for sha256 in erased.quarantined:
        discard_quarantined(sha256)
