"""Giving a study to the patient it belongs to, and taking that back."""

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest

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
    """Move a study to the patient with this identifier; made, if there is none yet.

    The identity that the study came with is kept in it, and images of it that come
    later follow it. Stored bytes stay as they are.

    Args:
        study: Mostly one of an unidentified patient.
        patient_id: The hospital's identifier.
        issuer: Who issued it; DEFAULT_ISSUER where empty.
        actor: Who decides that.
        request: For the audit trail.

    Raises:
        InvalidInput: No acceptable identifier, or the study is that patient's already.
    """
    said = checked(SubmittedIdentity(patient_id=patient_id, issuer=issuer))
    if not said.patient_id:
        wrong = {"patient_id": ["is needed."]}
        raise InvalidInput(
            "Say the identifier of the patient whose study it is.", fields=wrong
        )
    with transaction.atomic():
        study = _locked(study)
        former = study.patient
        patient = _patient(
            said.patient_id, said.issuer or settings.DEFAULT_ISSUER, like=former
        )
        if patient == former:
            raise InvalidInput(
                "The study is that patient's already.", reason_code="same_patient"
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
    """Give a study back to the patient whom it was taken from.

    Raises:
        Conflict: It was undone before, or the study was moved on since.
    """
    with transaction.atomic():
        study = _locked(assignment.study)
        newest = study.assignments.filter(undone_at=None).first()
        if newest != assignment:
            raise Conflict(
                "Only the newest assignment of a study that still holds can be undone.",
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


def _patient(patient_id: str, issuer: str, *, like: Patient) -> Patient:
    """Find the patient, or make one with what is known of the person so far."""
    patient, _ = Patient.objects.get_or_create(
        patient_id=patient_id,
        issuer=issuer,
        defaults={
            "birth_date": like.birth_date,
            "sex": like.sex,
            **names.columns_of(names.name_of(like)),
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
