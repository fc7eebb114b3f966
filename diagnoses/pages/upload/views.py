"""The upload page: many files, and a result for each."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_safe

from accounts.access import Action, lacks_department, require
from accounts.errors import InvalidInput, NotFound
from diagnoses.governance.versions import active_models
from diagnoses.pages.audit import record_read
from diagnoses.pages.polling import poll_count
from diagnoses.pages.request import PageRequest
from diagnoses.pages.upload.fields import identity_fields, model_field
from diagnoses.pages.upload.rows import FileResult, file_result, refused_row, result_of
from diagnoses.pages.upload.texts import script_texts
from diagnoses.pages.words.signs import PRIORITIES
from diagnoses.uploads import (
    TakenFile,
    receive,
    refuse_repeated_fields,
    refusing_all,
    take_files,
)
from patients.identity.submitted import SubmittedIdentity
from patients.models import Instance, Priority, Upload

CLAIM_FIELDS = (
    "patient_id",
    "patient_name",
    "birth_date",
    "sex",
    "accession_number",
    "priority",
)
_NOT_TAKEN = (Upload.Outcome.REFUSED, Upload.Outcome.CONFLICT)


# The size is checked before the form is read for its token.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: PageRequest) -> HttpResponse:
    """Show the form; store the files of one request and answer with their results."""
    require(request, Action.UPLOAD)
    if request.method == "POST":
        receive(request, source=Upload.Source.WEB, actor=request.user, refused=[])
        return _take(request)
    return _page(request)


@csrf_protect
def _page(request: PageRequest) -> HttpResponse:
    return render(
        request, "upload/page.html", _context(request, SubmittedIdentity(), [])
    )


@csrf_protect
def _take(request: PageRequest) -> HttpResponse:
    submitted_identity = SubmittedIdentity(
        **{name: request.POST.get(name, "") for name in CLAIM_FIELDS}
    )
    files = request.FILES.getlist("file")
    source, actor = Upload.Source.WEB, request.user
    refused: list[TakenFile] = []
    try:
        with refusing_all(request, source=source, actor=actor, refused=refused):
            _refuse_other_parts(request)
            refuse_repeated_fields(request.POST)
            taken = take_files(
                files,
                submitted_identity=submitted_identity,
                source=source,
                actor=actor,
                requested_model=request.POST.get("model", ""),
                request=request,
            )
    except InvalidInput as error:
        rows = [result_of(file, user=request.user) for file in refused]
        rows = [replace(row, field_errors=error.fields) for row in rows] or [
            refused_row("—", error.message, field_errors=error.fields)
        ]
        return _answer(request, submitted_identity, rows)
    if taken.fault is not None and "X-One-File" in request.headers:
        raise taken.fault
    rows = [result_of(file, user=request.user) for file in taken.files]
    if taken.fault is not None:
        left = files[len(taken.files) :]
        rows += [refused_row(_name_of(file), taken.fault.message) for file in left]
    _record_shown(request, rows)
    return _answer(request, submitted_identity, rows)


def _refuse_other_parts(request: PageRequest) -> None:
    """Refuse a file under another name, and a text in its place: it would be lost."""
    others = set(request.FILES) - {"file"}
    if others or "file" in request.POST:
        raise InvalidInput(
            _("Send each file as a part named 'file' with a file name."),
            reason_code="unknown_fields",
        )


def _name_of(file: UploadedFile) -> str:
    return file.name or gettext("Unnamed file")


def _answer(
    request: PageRequest, submitted_identity: SubmittedIdentity, rows: list[FileResult]
) -> HttpResponse:
    """Answer a script with one row, and a form without script with the whole page."""
    if "X-One-File" in request.headers:
        return render(request, "upload/row.html", {"result": rows[0]})
    return render(
        request, "upload/page.html", _context(request, submitted_identity, rows)
    )


@require_safe
def result(request: PageRequest, upload_id: UUID) -> HttpResponse:
    """Show the result of an uploaded image; nothing while it waits."""
    require(request, Action.UPLOAD)
    sent = Upload.objects.visible_to(request.user).filter(pk=upload_id).first()
    image = (
        Instance.objects.visible_to(request.user)
        .select_related("series__study__patient")
        .defer("header")
        .filter(pk=sent.instance_id)
        .first()
        if sent and sent.instance_id
        else None
    )
    if sent is None or image is None:
        raise NotFound(_("This upload does not exist, or belongs to somebody else."))
    shown = file_result(
        sent,
        name=sent.original_name,
        instance=image,
        user=request.user,
        times=poll_count(request),
    )
    if shown.watch is None:
        _record_shown(request, [shown])
    return render(request, "upload/result.html", {"result": shown})


def _record_shown(request: PageRequest, rows: list[FileResult]) -> None:
    """Write the audit event for the patients that the rows name."""
    patients = {row.patient_key for row in rows if row.patient_key is not None}
    if patients:
        record_read(request, object_kind="upload", patients=patients)


def _context(
    request: PageRequest, submitted_identity: SubmittedIdentity, rows: list[FileResult]
) -> dict[str, Any]:
    refused = sum(row.outcome in _NOT_TAKEN for row in rows)
    # What was typed stays for a correction, and not for the next patient.
    typed = submitted_identity if refused else SubmittedIdentity()
    errors = {name: texts for row in rows for name, texts in row.field_errors.items()}
    routine = Priority.ROUTINE.name.lower()
    chosen = str(typed.priority or routine)
    return {
        "section": "upload",
        "identity_fields": identity_fields(typed, errors),
        "model_field": model_field(
            [model.name for model in active_models()],
            request.POST.get("model", "") if refused else "",
            errors,
        ),
        "file_errors": errors.get("file", ()),
        "without_department": lacks_department(request.user),
        "priorities": [
            {
                "value": priority.name.lower(),
                "word": PRIORITIES[priority].word,
                "sign": PRIORITIES[priority].sign,
                "checked": priority.name.lower() == chosen,
                "default": priority.name.lower() == routine,
            }
            for priority in Priority
        ],
        "max_file_size": min(settings.MAX_FILE_BYTES, settings.MAX_REQUEST_BYTES),
        "most_files": settings.DATA_UPLOAD_MAX_NUMBER_FILES,
        "script_texts": script_texts(),
        "results": rows,
        "refused": refused,
    }
