"""Take the files of one request, for REST and the upload page.

One file is one transaction (`patients.ingest`); a bad file does not stop the others.
Where the whole request is refused, each file of it has an Upload that says why.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, may
from accounts.errors import (
    ChestXError,
    InvalidInput,
    Unavailable,
    database_unavailable,
)
from accounts.models import User
from diagnoses.governance.versions import check_requested_model
from diagnoses.latest_runs import latest_runs
from diagnoses.models import Prediction
from patients.files.upload_handler import ReceivedFile, RefusedBodyError, read_body
from patients.identity.submitted import SubmittedIdentity
from patients.ingest import IngestResult, ingest_instance, record_refusal
from patients.models import Instance, Upload

KEPT = frozenset({Upload.Outcome.STORED, Upload.Outcome.DUPLICATE})


@dataclass(frozen=True)
class TakenFile:
    """The outcome of one file, and its predictions.

    Attributes:
        result: The result of the ingest.
        visible: Whether the sender may see the study of the file. Not visible: a
            duplicate of an image of another department, and everything that is sent by
            a token that may not read.
        predictions: The latest run of each model, the default model's first.
    """

    result: IngestResult
    visible: bool = False
    predictions: tuple[Prediction, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the archive has the image, by this upload or an earlier one."""
        return self.result.outcome in KEPT


@dataclass(frozen=True)
class TakenFiles:
    """The outcomes of the files of one request, in the order sent.

    Attributes:
        files: One entry a file; after a passing fault, only those before it.
        fault: The passing fault that stopped the request, if one did.
    """

    files: tuple[TakenFile, ...]
    fault: Unavailable | None = None

    @property
    def any_kept(self) -> bool:
        """Whether at least one file was stored or is a duplicate."""
        return any(file.kept for file in self.files)

    @property
    def any_conflict(self) -> bool:
        """Whether at least one file contradicts the record."""
        return any(f.result.outcome == Upload.Outcome.CONFLICT for f in self.files)


def refuse_repeated_fields(form: QueryDict) -> None:
    """Refuse a form that gives one field two values: which of them is meant?

    Raises:
        InvalidInput: invalid_fields, naming each field that is there more than once.
    """
    repeated = {
        name: [gettext("Send this field once.")]
        for name, values in form.lists()
        if name != "file" and len(values) > 1
    }
    if repeated:
        raise InvalidInput(
            _("These fields have more than one value: %(names)s. Send each once."),
            params={"names": ", ".join(sorted(repeated))},
            reason_code="invalid_fields",
            fields=repeated,
        )


def take_files(
    files: Sequence[UploadedFile],
    *,
    submitted_identity: SubmittedIdentity,
    source: str,
    actor: User,
    requested_model: str = "",
    request: HttpRequest | None = None,
) -> TakenFiles:
    """Put each file into the archive and return the outcomes.

    Args:
        files: In the order sent, as the upload handler made them.
        submitted_identity: The identity fields of the form, for all files.
        source: An `Upload.Source`.
        actor: The user who sends them.
        requested_model: The name of the only model to read them; "" for all.
        request: For the audit trail.

    Raises:
        InvalidInput: No file, or no active model of that name.
        Unavailable: A temporary fault at the first file. At a later file it is part
            of the result: files stored before stay stored.
        OperationalError, InterfaceError: The database is lost; likewise.
    """
    if not files:
        raise no_file()
    check_requested_model(requested_model)
    results: list[IngestResult] = []
    fault: Unavailable | None = None
    for file in files:
        try:
            result = ingest_instance(
                cast(BinaryIO, file),  # an UploadedFile proxies its file
                name=file.name or "",
                source=source,
                actor=actor,
                submitted_identity=submitted_identity,
                requested_model=requested_model,
                request=request,
            )
        except Unavailable as error:
            if not results:
                raise
            fault = error
            break
        except (OperationalError, InterfaceError):
            if not results:
                raise
            # The next query makes a new connection, or fails for the whole request.
            connection.close()
            fault = database_unavailable()
            break
        results.append(result)
    return TakenFiles(_with_runs(results, actor), fault)


def receive(
    request: HttpRequest, *, source: str, actor: User, refused: list[TakenFile]
) -> None:
    """Receive the form of a request, or write the refusal of what was received of it.

    Args:
        request: Its POST and FILES are complete afterwards.
        source: An `Upload.Source`.
        actor: The user who sends it.
        refused: Gets the files that are refused with the request.

    Raises:
        ChestXError: The body is too large, incomplete or malformed, or a field is not
            valid UTF-8.
        Unavailable: The disk is full; nothing is written.
    """
    try:
        read_body(request)
    except RefusedBodyError as error:
        if error.refusal.permanent:
            refused += _record(
                error.files or [ReceivedFile("")],
                error.refusal,
                source=source,
                actor=actor,
                request=request,
            )
        raise error.refusal from error


@contextmanager
def refusing_all(
    request: HttpRequest, *, source: str, actor: User, refused: list[TakenFile]
) -> Iterator[None]:
    """Write a refusal for each file of the form if the whole form is refused.

    Args:
        request: As `receive` left it.
        source: An `Upload.Source`.
        actor: The user who sends it.
        refused: Gets these files.

    Raises:
        ChestXError: As raised inside.
    """
    try:
        yield
    except ChestXError as error:
        files = [
            ReceivedFile(
                file.name or "",
                getattr(file, "received_bytes", file.size),
                getattr(file, "sha256", ""),
            )
            for _name, files in request.FILES.lists()
            for file in files
        ]
        if error.permanent:
            refused += _record(
                files, error, source=source, actor=actor, request=request
            )
        raise


def _record(
    files: Sequence[ReceivedFile],
    refusal: ChestXError,
    *,
    source: str,
    actor: User,
    request: HttpRequest,
) -> list[TakenFile]:
    return [
        TakenFile(
            record_refusal(
                refusal,
                name=file.name,
                source=source,
                actor=actor,
                request=request,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
            )
        )
        for file in files
    ]


def no_file() -> InvalidInput:
    """Return the refusal of a request without files."""
    return InvalidInput(
        _("No file was sent. Add at least one part named 'file'."),
        reason_code="no_file",
        fields={"file": [gettext("At least one file is needed.")]},
    )


def _with_runs(results: Sequence[IngestResult], actor: User) -> tuple[TakenFile, ...]:
    visible = _visible_instances(results, actor)
    runs = latest_runs(visible) if may(actor, Action.READ_RESULTS) else {}
    taken = []
    for result in results:
        instance = result.instance
        if instance is None or instance.pk not in visible:
            taken.append(TakenFile(result))
        elif result.outcome == Upload.Outcome.CONFLICT:
            # Those runs read the stored image, not this file.
            taken.append(TakenFile(result, visible=True))
        else:
            taken.append(TakenFile(result, True, tuple(runs.get(instance.pk, ()))))
    return tuple(taken)


def _visible_instances(results: Sequence[IngestResult], actor: User) -> set[UUID]:
    """Return the keys of the kept instances that the sender may see."""
    if not may(actor, Action.READ_PATIENTS):
        return set()
    kept = {
        result.instance.pk: result.outcome
        for result in results
        if result.instance is not None
    }
    instances = Instance.objects.visible_to(actor).filter(pk__in=kept)
    # Users see an image that they have just stored, whatever their departments.
    stored = {key for key, outcome in kept.items() if outcome == Upload.Outcome.STORED}
    return stored | set(instances.order_by().values_list("pk", flat=True))
