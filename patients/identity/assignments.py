"""Assign a study to another patient, and undo that."""

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.audit import AuditAction, AuditSource
from accounts.errors import Conflict, InvalidInput
from accounts.models import User
from patients.flags import flag
from patients.identity import names
from patients.identity.submitted import SubmittedIdentity, checked
from patients.models import Patient, PatientAssignment, Study, StudyFlag


def assign_study(
    study: Study,
    *,
    patient_id: str,
    issuer: str = "",
    actor: User,
    request: HttpRequest | None = None,
) -> PatientAssignment:
    """Move a study to the patient with this identifier; create the patient if needed.

    The study keeps the identity that it was received with, so later images of it go to
    the same place. Stored bytes do not change.

    Args:
        study: Usually of an unidentified patient.
        patient_id: The hospital's identifier.
        issuer: Of the identifier; DEFAULT_ISSUER where empty.
        actor: The user who decides.
        request: For the audit event.

    Raises:
        InvalidInput: The identifier is not valid, or the study already belongs to the
            patient.
    """
    wanted = checked(SubmittedIdentity(patient_id=patient_id, issuer=issuer))
    if not wanted.patient_id:
        raise InvalidInput(
            _("Enter the ID of the patient."),
            fields={"patient_id": [gettext("This field is required.")]},
        )
    with transaction.atomic():
        study = _locked(study)
        former = study.patient
        patient = _patient(
            wanted.patient_id, wanted.issuer or settings.DEFAULT_ISSUER, template=former
        )
        if patient == former:
            raise InvalidInput(
                _("The study already belongs to this patient."),
                reason_code="same_patient",
            )
        assignment = PatientAssignment.objects.create(
            study=study, from_patient=former, to_patient=patient, assigned_by=actor
        )
        _move(study, patient)
        if not _alike(former, patient):
            flag([study], StudyFlag.DEMOGRAPHICS_MISMATCH)
        _record(assignment, actor=actor, request=request, undone=False)
    return assignment


def undo_assignment(
    assignment: PatientAssignment, *, actor: User, request: HttpRequest | None = None
) -> None:
    """Return a study to its former patient.

    Raises:
        Conflict: It is already undone, or the study was moved again.
    """
    with transaction.atomic():
        study = _locked(assignment.study)
        newest = study.assignments.filter(undone_at=None).first()
        if newest != assignment:
            raise Conflict(
                _("Only the newest assignment of a study can be undone."),
                reason_code="not_the_newest",
            )
        PatientAssignment.objects.filter(pk=assignment.pk).update(
            undone_by=actor, undone_at=Now()
        )
        _move(study, assignment.from_patient)
        _record(assignment, actor=actor, request=request, undone=True)
    assignment.refresh_from_db()


def _locked(study: Study) -> Study:
    return (
        Study.objects.select_related("patient")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=study.pk)
    )


def _move(study: Study, patient: Patient) -> None:
    study.patient = patient
    study.save(update_fields=["patient"])


def _patient(patient_id: str, issuer: str, *, template: Patient) -> Patient:
    """Find the patient, or create one with the data of another."""
    patient, _ = Patient.objects.get_or_create(
        patient_id=patient_id,
        issuer=issuer,
        defaults={
            "birth_date": template.birth_date,
            "sex": template.sex,
            **names.columns_of(names.name_of(template)),
        },
    )
    return patient


def _alike(one: Patient, other: Patient) -> bool:
    known = one.birth_date and other.birth_date
    if known and one.birth_date != other.birth_date:
        return False
    return names.agree(names.name_of(one), names.name_of(other))


def _record(
    assignment: PatientAssignment,
    *,
    actor: User,
    request: HttpRequest | None,
    undone: bool,
) -> None:
    audit.record(
        action=AuditAction.ASSIGN_PATIENT,
        actor=actor,
        request=request,
        source=AuditSource.ADMIN,
        object_kind="study",
        object_uuid=assignment.study_id,
        patients=(assignment.from_patient_id, assignment.to_patient_id),
        detail={"assignment": str(assignment.pk), "undone": undone},
    )
