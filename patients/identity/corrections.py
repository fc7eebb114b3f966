"""Correct the data of a patient, and undo that."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.access import Action, require
from accounts.audit import AuditAction, AuditSource, changes_between
from accounts.errors import Conflict, InvalidInput
from accounts.models import User
from patients.identity import names
from patients.identity.discrepancies import recheck
from patients.models import Patient, PatientCorrection
from patients.signals import record_changed

# What a person may correct.
CORRECTABLE = ("patient_id", "issuer", *names.COLUMNS.values(), "birth_date", "sex")


def correct_patient(
    patient: Patient,
    changes: Mapping[str, Any],
    *,
    actor: User,
    reason: str,
    request: HttpRequest | None = None,
) -> PatientCorrection:
    """Change the data of a patient and keep the old values.

    The studies of the patient are compared anew with the corrected data. Stored bytes
    do not change.

    Args:
        patient: The patient.
        changes: New values by column, of `CORRECTABLE`.
        actor: The user who decides.
        reason: Why, in the words of the user.
        request: For the audit event.

    Raises:
        NotAllowed, NotFound: The user may not correct patients, or not see this one.
        InvalidInput: Without a reason, without a change, or with an empty identifier.
        Conflict: Another patient has the identifier.
    """
    require(actor, Action.RESOLVE_CONFLICT, patient)
    if not reason.strip():
        raise InvalidInput(
            _("Enter a reason."),
            fields={"reason": [gettext("This field is required.")]},
        )
    with transaction.atomic():
        locked = Patient.objects.select_for_update().get(pk=patient.pk)
        before = _values(locked)
        after = {**before, **_as_json(changes)}
        if after == before:
            raise InvalidInput(_("Nothing was changed."), reason_code="no_change")
        if before["patient_id"] and not after["patient_id"]:
            raise InvalidInput(
                _("A patient keeps an ID. Enter the right one."),
                fields={"patient_id": [gettext("This field is required.")]},
            )
        _write(locked, after)
        correction = PatientCorrection.objects.create(
            patient=locked,
            before=before,
            after=after,
            reason=reason.strip(),
            corrected_by=actor,
        )
        _changed(correction, actor=actor, request=request, undone=False)
    patient.refresh_from_db()
    return correction


def undo_correction(
    correction: PatientCorrection,
    *,
    actor: User,
    request: HttpRequest | None = None,
) -> None:
    """Give a patient the values from before a correction.

    Raises:
        NotAllowed, NotFound: The user may not correct patients, or not see this one.
        Conflict: It is already undone, the patient was corrected again, or another
            patient has the former identifier.
    """
    require(actor, Action.RESOLVE_CONFLICT, correction)
    with transaction.atomic():
        patient = Patient.objects.select_for_update().get(pk=correction.patient_id)
        newest = patient.corrections.filter(undone_at=None).first()
        if newest != correction or _values(patient) != correction.after:
            raise Conflict(
                _("Only the newest correction of a patient can be undone."),
                reason_code="not_the_newest",
            )
        _write(patient, correction.before)
        PatientCorrection.objects.filter(pk=correction.pk).update(
            undone_by=actor, undone_at=Now()
        )
        _changed(correction, actor=actor, request=request, undone=True)
    correction.refresh_from_db()


def _values(patient: Patient) -> dict[str, Any]:
    return _as_json({name: getattr(patient, name) for name in CORRECTABLE})


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(values) - set(CORRECTABLE)
    if unknown:
        raise ValueError(f"not correctable: {sorted(unknown)}")
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
    }


def _write(patient: Patient, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(patient, name, value)
    born = values["birth_date"]
    patient.birth_date = date.fromisoformat(born) if born else None
    patient.name_folded = names.folded(names.name_of(patient))
    try:
        with transaction.atomic():
            patient.save(update_fields=[*CORRECTABLE, "name_folded"])
    except IntegrityError as error:
        raise Conflict(
            _(
                "Another patient has this ID. Assign the studies to that patient "
                "instead."
            ),
            reason_code="patient_exists",
        ) from error


def _changed(
    correction: PatientCorrection,
    *,
    actor: User,
    request: HttpRequest | None,
    undone: bool,
) -> None:
    patient = Patient.objects.get(pk=correction.patient_id)
    old, new = correction.before, correction.after
    if undone:
        old, new = new, old
    for study in patient.studies.select_for_update(no_key=True).order_by("pk"):
        recheck(study)
    audit.record(
        action=AuditAction.CHANGE,
        actor=actor,
        request=request,
        source=AuditSource.ADMIN,
        object_kind="patient",
        object_uuid=patient.pk,
        patients=(patient.pk,),
        detail={
            "correction": str(correction.pk),
            "changed": correction.changed,
            "undone": undone,
        },
        changes=changes_between(old, new, patient=patient.pk),
    )
    record_changed.send(sender=Patient, patient=patient, study=None)
