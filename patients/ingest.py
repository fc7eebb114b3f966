"""Store a file in the record: every source calls `ingest_instance`.

Nothing else creates instances.

One file is one transaction: patient, study, series, instance, Upload, audit event, and
the rows of the receivers of `instance_stored`. The Upload and audit event of a refusal
are written in a second transaction, after the rollback. A bad file raises no exception,
and neither does a fault of ChestX that one file meets: it is refused as internal_error.
"""

import errno
import logging
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from django.db import DatabaseError, DataError, transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.errors import (
    ChestXError,
    InvalidInput,
    Unavailable,
    is_database_lost,
)
from accounts.models import Department, User
from patients import incoming, messages, placement, storage, uploads
from patients.conflicts import duplicates
from patients.conflicts.duplicates import Recognised
from patients.conflicts.quarantine import Conflicting
from patients.dicom.hashes import HASH_RULE
from patients.files.temporary import storage_unavailable
from patients.identity import submitted
from patients.identity.submitted import (
    Identity,
    IdentityMismatch,
    Mismatch,
    Person,
    SubmittedIdentity,
)
from patients.incoming import IncomingImage, Receipt
from patients.models import Instance, Origin, Patient, Series, Study, Upload
from patients.placement import Placing
from patients.signals import instance_stored
from patients.uploads import Sending

__all__ = ["IngestResult", "SubmittedIdentity", "ingest_instance", "record_refusal"]

NOTHING_SUBMITTED = SubmittedIdentity()
logger = logging.getLogger(__name__)
# Images that create one patient, study and series at the same time lose at most three
# races; the other tries are for deadlocks.
LONGEST_RACE = 8
# PostgreSQL: unique_violation, serialization_failure, deadlock_detected.
_LOST_RACE = frozenset({"23505", "40001", "40P01"})
# The machine has too little of something: later it may have enough.
_SHORT_OF = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


@dataclass(frozen=True)
class IngestResult:
    """The outcome of one file.

    Patient, study and instance of a conflict are those it conflicts with, if the actor
    may see them. A mismatch holds the two persons of a file that was not stored because
    of them; field errors are those of a form, by the names of its fields.
    """

    name: str
    outcome: Upload.Outcome
    reason_code: str
    patient: Patient | None
    study: Study | None
    instance: Instance | None
    upload: Upload
    mismatch: Mismatch | None = None
    field_errors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The sentence of the reason in the language of the reader, or ""."""
        return self.upload.reason_text


def ingest_instance(
    file: IO[bytes],
    *,
    name: str,
    source: str,
    actor: User | None,
    submitted_identity: SubmittedIdentity = NOTHING_SUBMITTED,
    requested_model: str = "",
    origin: Origin = Origin.RECEIVED,
    synthetic: bool = False,
    request: HttpRequest | None = None,
    department: Department | None = None,
    resent: Upload | None = None,
) -> IngestResult:
    """Store one file in the record, or refuse it with a reason.

    Args:
        file: Open for reading and seekable; a file of the upload handler has its hash,
            size and whether it was too large.
        name: Given by the sender.
        source: An `Upload.Source`.
        actor: The sender; None for a program of ChestX. The caller has checked access.
        submitted_identity: Of a form or manifest; fills the gaps of the header.
        requested_model: Restricts which model reads it; "" for every eligible one.
        origin: Who made the object.
        synthetic: Drawn by the demo.
        request: The HTTP request, for the audit event.
        department: Of a new study; None for the actor's primary one, else the default.
        resent: The conflict that is sent again; it keeps its row if it is still one.

    Raises:
        Unavailable: A temporary fault; nothing was stored, sending again helps.
        OperationalError, InterfaceError: The database is lost; likewise.
    """
    sending = Sending(
        name=name,
        source=source,
        actor=actor,
        submitted_identity=submitted_identity,
        requested_model=requested_model,
        origin=origin,
        synthetic=synthetic,
        department=department or placement.department_of(actor),
        request=request,
        resent=resent,
    )
    receipt = incoming.receipt_of(file)
    try:
        return _ingest(file, sending, receipt)
    except Unavailable:
        raise
    except Exception as error:
        if is_database_lost(error):
            raise
        if isinstance(error, OSError) and error.errno in _SHORT_OF:
            raise storage_unavailable() from error
        return _refused(sending, receipt, internal_error(error))


def _ingest(file: IO[bytes], sending: Sending, receipt: Receipt) -> IngestResult:
    """Store the file, or write its foreseen refusal or conflict."""
    identity: Identity | None = None
    try:
        sending = replace(
            sending, submitted_identity=submitted.checked(sending.submitted_identity)
        )
        usable = submitted.without_hidden_patient(
            sending.submitted_identity, sending.actor, department=sending.department
        )
        with incoming.opened(file, receipt=receipt, submitted_identity=usable) as image:
            identity = submitted.identify_claimed(
                image.header,
                sending.submitted_identity,
                sending.actor,
                department=sending.department,
            )
            _refuse_disagreeing_form(image, identity, sending)
            return _settle(image, identity, sending, receipt)
    except Conflicting as conflict:
        return _conflict(sending, receipt, conflict, file=file, identity=identity)
    except Unavailable:
        raise
    except ChestXError as refusal:
        return _refused(sending, receipt, refusal)


def internal_error(error: Exception) -> ChestXError:
    """Log an unforeseen error with a number, and return the refusal that states it.

    The log gets no text of the error: it may quote the name of a patient.
    """
    error_id = uuid.uuid4().hex[:12]
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        kinds.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    logger.error(
        "Internal error %s: %s\n%s",
        error_id,
        " from ".join(kinds),
        "".join(traceback.format_tb(error.__traceback__)),
    )
    return ChestXError(messages.INTERNAL_ERROR, params={"error_id": error_id})


def record_refusal(
    error: ChestXError,
    *,
    name: str,
    source: str,
    actor: User | None,
    request: HttpRequest | None = None,
    size_bytes: int | None = None,
    sha256: str = "",
) -> IngestResult:
    """Record a file, or a whole request (name ""), that was refused without reading."""
    sending = Sending(
        name=name,
        source=source,
        actor=actor,
        submitted_identity=NOTHING_SUBMITTED,
        requested_model="",
        origin=Origin.RECEIVED,
        synthetic=False,
        department=placement.department_of(actor),
        request=request,
    )
    receipt = Receipt(sha256=sha256, size_bytes=size_bytes, too_large=False)
    return _refused(sending, receipt, error)


def _refuse_disagreeing_form(
    image: IncomingImage, identity: Identity, sending: Sending
) -> None:
    """Refuse a form that disagrees with a known patient whom the sender may see."""
    if identity.patient_id is not None:
        known = Patient.objects.filter(
            patient_id=identity.patient_id, issuer=identity.issuer
        )
    else:
        known = Patient.objects.filter(
            patient_id__isnull=False,
            studies__study_instance_uid=image.header.study_instance_uid,
        )
    if sending.actor is not None:
        known = known.visible_to(sending.actor)
    for patient in known:
        submitted.refuse_disagreeing_form(
            sending.submitted_identity, image.header, patient
        )


def _settle(
    image: IncomingImage, identity: Identity, sending: Sending, receipt: Receipt
) -> IngestResult:
    """Store the image or recognise a copy; after a lost race try again."""
    for _attempt in range(LONGEST_RACE):
        try:
            known = duplicates.known_object(image)
            if known is None:
                return _store(image, identity, sending, receipt)
            kept = _keep_duplicate(image, known, identity, sending, receipt)
            if kept is not None:
                return kept
        except DataError as error:
            logger.warning(
                "a value of an upload does not fit the record: %s", type(error)
            )
            raise InvalidInput(messages.UNSTORABLE_HEADER) from error
        except DatabaseError as error:
            if getattr(error.__cause__, "sqlstate", None) not in _LOST_RACE:
                raise
    raise Unavailable(
        _("Too many files of this study arrived at once. Send this file again."),
        reason_code="busy",
    )


def _keep_duplicate(
    image: IncomingImage,
    known: Instance,
    identity: Identity,
    sending: Sending,
    receipt: Receipt,
) -> IngestResult | None:
    """Record a copy of a stored object as a duplicate.

    If the sender may not see the stored object, nothing of it is compared with the
    form, changed or returned.

    Returns:
        None if the object was erased meanwhile, so that the copy is new.
    """
    recognised: Recognised = duplicates.recognise(image, known)
    study = known.series.study
    own = placement.is_writable(study, sending.actor, department=sending.department)
    if own:
        submitted.refuse_other_patient(
            sending.submitted_identity,
            study,
            identity=identity,
            visible=_may_see(sending.actor, known),
        )
    with transaction.atomic(durable=True):
        if not placement.lock_study(study):
            return None
        if own:
            placement.raise_priority(study, sending.submitted_identity.checked_priority)
        upload = uploads.record_kept(
            sending,
            receipt,
            known,
            created=False,
            note=recognised.note,
        )
        if own:
            _notify(known, created=False, sending=sending)
    return _kept(sending, upload, known) if own else _result(sending, upload)


def _store(
    image: IncomingImage, identity: Identity, sending: Sending, receipt: Receipt
) -> IngestResult:
    """Store the rows and bytes of a new image, or nothing."""
    image.read_content()  # slow, so before the transaction
    with transaction.atomic(durable=True):
        series = placement.place(
            Placing(
                header=image.header,
                identity=identity,
                picture=image.picture,
                priority=sending.submitted_identity.checked_priority,
                department=sending.department,
                actor=sending.actor,
            )
        )
        with image.path.open("rb") as content:
            storage.put_object(content, sha256=image.object_sha256)
        if image.original is not None:
            storage.put_object(image.original, sha256=receipt.sha256)
        instance = _instance(image, series, sending, receipt)
        placement.flag_same_pixels(instance, series.study.patient)
        upload = uploads.record_kept(sending, receipt, instance, created=True)
        _notify(instance, created=True, sending=sending)
    return _kept(sending, upload, instance)


def _instance(
    image: IncomingImage, series: Series, sending: Sending, receipt: Receipt
) -> Instance:
    header, spacing = image.header, image.header.pixel_spacing
    return Instance.objects.create(
        series=series,
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        instance_number=placement.integer(header.instance_number),
        view_position=header.view_position[:16],
        rows=header.rows,
        columns=header.columns,
        frames=header.frames,
        bits_stored=header.bits_stored,
        photometric_interpretation=header.photometric_interpretation[:16],
        pixel_spacing_row_mm=spacing.row_mm if spacing else None,
        pixel_spacing_column_mm=spacing.column_mm if spacing else None,
        pixel_spacing_kind=spacing.kind if spacing else "",
        origin=sending.origin,
        synthetic=sending.synthetic,
        picture=image.picture,
        lossy=header.lossy,
        colour=image.pixels.colour if image.pixels else None,
        size_bytes=image.size_bytes,
        object_sha256=image.object_sha256,
        original_sha256=receipt.sha256 if image.original is not None else "",
        dataset_sha256=image.hashes.dataset_sha256,
        header_sha256=image.hashes.header_sha256,
        pixel_sha256=image.pixel_sha256,
        hash_rule=HASH_RULE,
        header=header.json,
    )


def _notify(instance: Instance, *, created: bool, sending: Sending) -> None:
    """Send `instance_stored`; an error of a receiver rolls everything back."""
    instance_stored.send(
        sender=Instance,
        instance=instance,
        created=created,
        requested_model=sending.requested_model,
        actor=sending.actor,
    )


def _kept(sending: Sending, upload: Upload, instance: Instance) -> IngestResult:
    study = instance.series.study
    return _result(
        sending, upload, patient=study.patient, study=study, instance=instance
    )


def _conflict(
    sending: Sending,
    receipt: Receipt,
    conflict: Conflicting,
    *,
    file: IO[bytes],
    identity: Identity | None,
) -> IngestResult:
    upload = uploads.record_conflict(sending, receipt, conflict, file=file)
    other = conflict.conflicts_with
    if other is None or not _may_see(sending.actor, other):
        return _result(sending, upload)
    study = other.series.study
    return _result(
        sending,
        upload,
        patient=study.patient,
        study=study,
        instance=other,
        mismatch=_other_person(identity, study.patient),
    )


def _other_person(identity: Identity | None, patient: Patient) -> Mismatch | None:
    """Return the persons of a conflicting file and of the record, if they differ."""
    if identity is None or identity.key == (patient.patient_id, patient.issuer):
        return None
    sent = Person(
        identity.name, identity.patient_id or "", identity.birth_date, identity.sex
    )
    return Mismatch(sent, Person.of_patient(patient))


def _may_see(actor: User | None, instance: Instance) -> bool:
    return (
        actor is None
        or Instance.objects.visible_to(actor).filter(pk=instance.pk).exists()
    )


def _refused(sending: Sending, receipt: Receipt, refusal: ChestXError) -> IngestResult:
    refused = _result(
        sending,
        uploads.record_refused(sending, receipt, refusal),
        mismatch=refusal.mismatch if isinstance(refusal, IdentityMismatch) else None,
    )
    return replace(refused, field_errors=refusal.fields)


def _result(
    sending: Sending,
    upload: Upload,
    *,
    patient: Patient | None = None,
    study: Study | None = None,
    instance: Instance | None = None,
    mismatch: Mismatch | None = None,
) -> IngestResult:
    return IngestResult(
        name=submitted.storable(sending.name),
        outcome=Upload.Outcome(upload.outcome),
        reason_code=upload.reason_code,
        patient=patient,
        study=study,
        instance=instance,
        upload=upload,
        mismatch=mismatch,
    )
