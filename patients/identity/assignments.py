"""Assign a study to another patient, and undo that."""

from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.access import Action, require
from accounts.audit import AuditAction, AuditSource, Change
from accounts.errors import Conflict, InvalidInput
from accounts.models import User
from patients.identity import names
from patients.identity.discrepancies import recheck
from patients.identity.flags import flag, unflag
from patients.identity.submitted import SubmittedIdentity, checked
from patients.models import Patient, PatientAssignment, Study, StudyFlag
from patients.signals import record_changed

_Result = TypeVar("_Result")
# A deadlock with an arriving image is tried again.
MOST_TRIES = 5
_LOST_RACE = frozenset({"40001", "40P01"})


def assign_study(
    study: Study,
    *,
    patient_id: str,
    issuer: str = "",
    reason: str,
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
        reason: Why, in the words of the user.
        actor: The user who decides.
        request: For the audit event.

    Raises:
        NotAllowed, NotFound: The user may not assign studies, or not see the study or
            the patient.
        InvalidInput: The identifier is not valid, the reason is empty, or the study
            already belongs to the patient.
    """
    require(actor, Action.RESOLVE_CONFLICT, study)
    wanted = checked(SubmittedIdentity(patient_id=patient_id, issuer=issuer))
    if not wanted.patient_id:
        raise InvalidInput(
            _("Enter the ID of the patient."),
            fields={"patient_id": [gettext("This field is required.")]},
        )
    if not reason.strip():
        raise InvalidInput(
            _("Enter a reason."),
            fields={"reason": [gettext("This field is required.")]},
        )

    def assign() -> PatientAssignment:
        locked = _locked(study)
        former = locked.patient
        patient, created = _patient(
            wanted.patient_id, wanted.issuer or settings.DEFAULT_ISSUER, template=former
        )
        if not created:
            require(actor, Action.RESOLVE_CONFLICT, patient)
        if patient == former:
            raise InvalidInput(
                _("The study already belongs to this patient."),
                reason_code="same_patient",
            )
        assignment = PatientAssignment.objects.create(
            study=locked,
            from_patient=former,
            to_patient=patient,
            assigned_by=actor,
            reason=reason.strip(),
        )
        _move(locked, patient)
        _record(assignment, actor=actor, request=request, undone=False)
        return assignment

    return _in_transaction(assign)


def undo_assignment(
    assignment: PatientAssignment, *, actor: User, request: HttpRequest | None = None
) -> None:
    """Return a study to its former patient.

    Studies that arrived meanwhile and followed the assignment go back with it.

    Raises:
        NotAllowed, NotFound: The user may not assign studies, or not see the study.
        Conflict: It is already undone, or the study was moved again.
    """
    require(actor, Action.RESOLVE_CONFLICT, assignment)

    def undo() -> None:
        study = _locked(assignment.study)
        newest = study.assignments.filter(undone_at=None).first()
        if newest != assignment:
            raise Conflict(
                _("Only the newest assignment of a study can be undone."),
                reason_code="not_the_newest",
            )
        followers = list(_followers(assignment, study))
        PatientAssignment.objects.filter(pk=assignment.pk).update(
            undone_by=actor, undone_at=Now()
        )
        for moved in (study, *followers):
            _move(moved, assignment.from_patient)
        _record(assignment, actor=actor, request=request, undone=True)

    _in_transaction(undo)
    assignment.refresh_from_db()


def _in_transaction(change: Callable[[], _Result]) -> _Result:
    """Run a change in a transaction, again after a deadlock."""
    for left in reversed(range(MOST_TRIES)):
        try:
            with transaction.atomic():
                return change()
        except DatabaseError as error:
            lost = getattr(error.__cause__, "sqlstate", None) in _LOST_RACE
            if not lost or not left:
                raise
    raise AssertionError("the last try returns or raises")


def _followers(assignment: PatientAssignment, study: Study) -> QuerySet[Study]:
    """Return the studies that came with the same identity and followed the study."""
    patient = assignment.to_patient
    return (
        Study.objects.select_for_update(no_key=True)
        .filter(
            patient=patient,
            received_patient_id=study.received_patient_id,
            received_issuer=study.received_issuer,
            received_at__gte=assignment.assigned_at,
            accession_number=study.accession_number,
            accession_issuer=study.accession_issuer,
        )
        .exclude(accession_number="")
        .exclude(pk=study.pk)
        .exclude(received_patient_id=patient.patient_id, received_issuer=patient.issuer)
        .order_by("pk")
    )


def _locked(study: Study) -> Study:
    """Lock a study without joining its patient.

    PostgreSQL drops a joined row whose key has changed while it waited for the lock.
    """
    return Study.objects.select_for_update(no_key=True).get(pk=study.pk)


def _move(study: Study, patient: Patient) -> None:
    study.patient = patient
    study.save(update_fields=["patient"])
    if patient.identified:
        unflag(study, StudyFlag.IDENTITY_TO_CONFIRM)
    elif study.received_patient_id:
        flag([study], StudyFlag.IDENTITY_TO_CONFIRM)
    recheck(study)
    record_changed.send(sender=Study, patient=patient, study=study)


def _patient(
    patient_id: str, issuer: str, *, template: Patient
) -> tuple[Patient, bool]:
    """Find the patient, or create one with the data of another, and say which."""
    return Patient.objects.get_or_create(
        patient_id=patient_id,
        issuer=issuer,
        defaults={
            "birth_date": template.birth_date,
            "sex": template.sex,
            **names.columns_of(names.name_of(template)),
        },
    )


def _record(
    assignment: PatientAssignment,
    *,
    actor: User,
    request: HttpRequest | None,
    undone: bool,
) -> None:
    former, present = assignment.from_patient_id, assignment.to_patient_id
    if undone:
        former, present = present, former
    audit.record(
        action=AuditAction.ASSIGN_PATIENT,
        actor=actor,
        request=request,
        source=AuditSource.ADMIN,
        object_kind="study",
        object_uuid=assignment.study_id,
        patients=(assignment.from_patient_id, assignment.to_patient_id),
        detail={"assignment": str(assignment.pk), "undone": undone},
        # Keys, no names: they stay when a patient is erased.
        changes=[Change("patient", former, present)],
    )
