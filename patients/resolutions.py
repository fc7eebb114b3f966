"""Decisions of a person about files in quarantine and flags on studies."""

from functools import partial

from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.access import Action, require
from accounts.audit import AuditAction, AuditSource, Change
from accounts.errors import Conflict, InvalidInput, NotFound
from accounts.models import User
from patients import storage
from patients.identity.flags import unflag
from patients.identity.submitted import SubmittedIdentity
from patients.ingest import IngestResult, ingest_instance
from patients.models import FlagReconciliation, Study, StudyFlag, Upload
from patients.signals import record_changed

_KEPT = frozenset({Upload.Outcome.STORED, Upload.Outcome.DUPLICATE})


def keep_stored(
    upload: Upload, *, actor: User, request: HttpRequest | None = None
) -> None:
    """Keep the stored object; the other copy stays in quarantine.

    Raises:
        NotAllowed, NotFound: The user may not resolve conflicts, or not see this one.
        Conflict: It is already resolved.
    """
    require(actor, Action.RESOLVE_CONFLICT, upload)
    with transaction.atomic():
        _resolve(upload, Upload.Resolution.KEPT_STORED, actor=actor, request=request)


def discard(upload: Upload, *, actor: User, request: HttpRequest | None = None) -> None:
    """Keep the stored object and delete the other copy.

    Raises:
        NotAllowed, NotFound: The user may not resolve conflicts, or not see this one.
        Conflict: It is already resolved.
    """
    require(actor, Action.RESOLVE_CONFLICT, upload)
    with transaction.atomic():
        _resolve(upload, Upload.Resolution.DISCARDED, actor=actor, request=request)
        _delete_bytes_after_commit(upload)


def send_again(
    upload: Upload, *, actor: User, request: HttpRequest | None = None
) -> IngestResult:
    """Ingest the file again, after the record was corrected.

    Source, submitted identity and department stay those of the first time.

    Raises:
        NotAllowed: The user may not resolve conflicts.
        Conflict: It is already resolved, or the file still contradicts the record.
        NotFound: The bytes are gone, or the user may not see the conflict.
        Unavailable: A passing fault.
    """
    require(actor, Action.RESOLVE_CONFLICT, upload)
    if upload.outcome != Upload.Outcome.CONFLICT or upload.resolution:
        raise _already_resolved()
    submitted = dict(upload.submitted_identity)
    model = submitted.pop("model", "")
    synthetic = bool(submitted.pop("synthetic", False))
    try:
        quarantined = storage.open_quarantined(upload.sha256)
    except FileNotFoundError:
        raise NotFound(_("The file is no longer in quarantine.")) from None
    with quarantined as file:
        result = ingest_instance(
            file,
            name=upload.original_name,
            source=upload.source,
            actor=actor,
            submitted_identity=SubmittedIdentity.from_json(submitted),
            requested_model=model,
            synthetic=synthetic,
            request=request,
            department=upload.department,
            resent=upload,
        )
    if result.outcome not in _KEPT:
        raise Conflict(
            _("The file is still not accepted: %(reason)s"),
            params={"reason": result.reason},
            reason_code=result.reason_code,
        )
    with transaction.atomic():
        _resolve(upload, Upload.Resolution.INGESTED, actor=actor, request=request)
        _delete_bytes_after_commit(upload)
    return result


def reconcile(
    study: Study,
    what: StudyFlag,
    *,
    choice: FlagReconciliation.Choice,
    reason: str,
    actor: User,
    request: HttpRequest | None = None,
) -> bool:
    """Remove a flag from a study after a person has checked it.

    The same values of later images do not set it again.

    Args:
        study: The study.
        what: The flag.
        choice: What the person found.
        reason: Why, in the words of the person.
        actor: The person.
        request: For the audit event.

    Returns:
        Whether the flag was there.

    Raises:
        NotAllowed, NotFound: The user may not reconcile flags, or not see the study.
        InvalidInput: The reason is empty.
    """
    require(actor, Action.RESOLVE_CONFLICT, study)
    if not reason.strip():
        raise InvalidInput(
            _("Enter a reason."),
            fields={"reason": [gettext("This field is required.")]},
        )
    with transaction.atomic():
        if not unflag(study, what):
            return False
        values = []
        if what == StudyFlag.DEMOGRAPHICS_MISMATCH:
            values = [
                [one.attribute, one.received, one.recorded]
                for one in study.discrepancies.all()
            ]
            study.discrepancies.all().delete()
        FlagReconciliation.objects.create(
            study=study,
            patient=study.patient,
            flag=what,
            choice=choice,
            reason=reason.strip(),
            values=values,
            reconciled_by=actor,
        )
        audit.record(
            action=AuditAction.CHANGE,
            actor=actor,
            request=request,
            source=AuditSource.ADMIN,
            object_kind="study",
            object_uuid=study.pk,
            patients=(study.patient_id,),
            detail={"reconciled": what.value, "choice": choice.value},
            changes=[Change("flags", [*study.flags, what.value], study.flags)],
        )
        record_changed.send(sender=Study, patient=study.patient, study=study)
    return True


def _resolve(
    upload: Upload,
    resolution: Upload.Resolution,
    *,
    actor: User,
    request: HttpRequest | None,
) -> None:
    """Write the decision, unless there is one already (compare and set)."""
    changed = Upload.objects.filter(
        pk=upload.pk, outcome=Upload.Outcome.CONFLICT, resolution=""
    ).update(resolution=resolution, resolved_by=actor, resolved_at=Now())
    if not changed:
        raise _already_resolved()
    other = upload.conflicts_with
    audit.record(
        action=AuditAction.RESOLVE_CONFLICT,
        actor=actor,
        request=request,
        source=AuditSource.ADMIN,
        object_kind="upload",
        object_uuid=upload.pk,
        patients=(other.series.study.patient_id,) if other else (),
        detail={"resolution": resolution.value, "reason_code": upload.reason_code},
        changes=[Change("resolution", "", resolution.value)],
    )
    upload.refresh_from_db()


def _delete_bytes_after_commit(upload: Upload) -> None:
    transaction.on_commit(partial(storage.discard_quarantined, upload.sha256))


def _already_resolved() -> Conflict:
    return Conflict(
        _("This conflict is already resolved."), reason_code="already_resolved"
    )
