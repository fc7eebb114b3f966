"""Write the Upload row and the audit event of every received file."""

from dataclasses import dataclass, field
from typing import IO, Any
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.audit import AuditAction
from accounts.errors import ChestXError
from accounts.messages import Message
from accounts.models import AuditEvent, Department, User
from patients import storage
from patients.conflicts.quarantine import Conflicting
from patients.identity.submitted import SubmittedIdentity, storable, storable_json
from patients.incoming import Receipt
from patients.models import Instance, Origin, Upload

LONGEST_NAME = 255
LONGEST_REASON_CODE = 48


@dataclass(frozen=True)
class Reason:
    """Why a file was not stored as a new image, as the columns of `Upload` hold it.

    Attributes:
        code: For programs.
        message: The code of the sentence.
        params: Values of its placeholders.
        sentence: The sentence itself, for an error without a message code.
    """

    code: str = ""
    message: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""

    @classmethod
    def of_message(cls, message: Message) -> "Reason":
        """Return the reason of a message without parameters."""
        return cls(code=message.reason_code or message.code, message=message.code)

    @classmethod
    def of_error(cls, error: ChestXError) -> "Reason":
        """Return the reason of an error."""
        code = error.reason_code[:LONGEST_REASON_CODE]
        if not error.message_code:
            return cls(code=code, sentence=storable(error.message))
        return cls(
            code=code,
            message=error.message_code,
            params=storable_json(error.params),
        )


@dataclass(frozen=True)
class Sending:
    """How a file was sent: everything except its bytes.

    Attributes:
        department: Of a new study, and of the users who see the Upload.
        resent: The open conflict that is sent again.
    """

    name: str
    source: str
    actor: User | None
    submitted_identity: SubmittedIdentity
    requested_model: str
    origin: Origin
    synthetic: bool
    department: Department
    request: HttpRequest | None = None
    resent: Upload | None = None

    def as_json(self) -> dict[str, object]:
        """Return the JSON of `Upload.submitted_identity`, enough to resend the file."""
        values: dict[str, object] = dict(self.submitted_identity.as_json())
        if self.requested_model:
            values["model"] = storable(self.requested_model)[:LONGEST_NAME]
        if self.synthetic:
            values["synthetic"] = True
        return values


def stored_name(name: str) -> str:
    """Return the name of a file to store, without folders and NUL."""
    return storable(name.replace("\\", "/").rsplit("/", 1)[-1])[:LONGEST_NAME]


def record_kept(
    sending: Sending,
    receipt: Receipt,
    instance: Instance,
    *,
    created: bool,
    note: Message | None = None,
) -> Upload:
    """Write the Upload and audit event of a stored image or a duplicate.

    It runs in the transaction of the caller.

    Args:
        note: How a duplicate differs from the stored object.
    """
    study = instance.series.study
    upload = _upload(
        sending,
        receipt,
        outcome=Upload.Outcome.STORED if created else Upload.Outcome.DUPLICATE,
        reason=Reason.of_message(note) if note else Reason(),
        instance=instance,
        department=study.department,
    )
    _audit(
        sending,
        upload,
        object_kind="instance",
        object_uuid=instance.pk,
        patients=(study.patient_id,),
        outcome=AuditEvent.Outcome.SUCCESS,
    )
    return upload


def record_refused(sending: Sending, receipt: Receipt, refusal: ChestXError) -> Upload:
    """Write the Upload and audit event of a refused file in a new transaction."""
    with transaction.atomic():
        upload = _upload(
            sending,
            receipt,
            outcome=Upload.Outcome.REFUSED,
            reason=Reason.of_error(refusal),
            department=sending.department,
        )
        _audit(
            sending,
            upload,
            object_kind="upload",
            object_uuid=upload.pk,
            patients=(),
            outcome=AuditEvent.Outcome.REFUSED,
        )
    return upload


def record_conflict(
    sending: Sending, receipt: Receipt, conflict: Conflicting, *, file: IO[bytes]
) -> Upload:
    """Put the file into quarantine and write the Upload and audit event.

    A conflict that is sent again and is still a conflict keeps its row.
    """
    other = conflict.conflicts_with
    with transaction.atomic():
        storage.quarantine(file, receipt.sha256)
        upload = sending.resent or _upload(
            sending,
            receipt,
            outcome=Upload.Outcome.CONFLICT,
            reason=Reason.of_error(conflict),
            department=sending.department,
            conflicts_with=other,
        )
        _audit(
            sending,
            upload,
            object_kind="upload",
            object_uuid=upload.pk,
            patients=(other.series.study.patient_id,) if other else (),
            outcome=AuditEvent.Outcome.REFUSED,
        )
    return upload


def _upload(
    sending: Sending,
    receipt: Receipt,
    *,
    outcome: Upload.Outcome,
    department: Department,
    reason: Reason,
    instance: Instance | None = None,
    conflicts_with: Instance | None = None,
) -> Upload:
    return Upload.objects.create(
        user=sending.actor,
        source=sending.source,
        original_name=stored_name(sending.name),
        sha256=receipt.sha256,
        size_bytes=receipt.size_bytes,
        outcome=outcome,
        reason_code=reason.code,
        reason_message=reason.message,
        reason_params=reason.params,
        reason=reason.sentence,
        instance=instance,
        department=department,
        conflicts_with=conflicts_with,
        submitted_identity=sending.as_json(),
    )


def _audit(
    sending: Sending,
    upload: Upload,
    *,
    object_kind: str,
    object_uuid: UUID,
    patients: tuple[UUID, ...],
    outcome: str,
) -> None:
    audit.record(
        action=AuditAction.UPLOAD,
        actor=sending.actor,
        request=sending.request,
        source=sending.source,
        object_kind=object_kind,
        object_uuid=object_uuid,
        patients=patients,
        outcome=outcome,
        detail={
            "upload": str(upload.pk),
            "outcome": upload.outcome,
            "reason_code": upload.reason_code,
        },
    )
