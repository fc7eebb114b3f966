"""REST: send files to the archive, and list uploads."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import OuterRef, Subquery
from django.http import QueryDict
from django.utils.translation import gettext
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.access import Action, signed_in_user
from accounts.api.audited import AuditedReadMixin
from accounts.api.filters import KeyFilterSet
from accounts.api.validation import invalid_input
from accounts.errors import ChestXError, Conflict, InvalidInput, TooLarge
from accounts.middleware import PROBLEM_JSON, problem
from accounts.tokens import ScopedTokenAuthentication
from diagnoses.api.serializers import (
    TakenFilesSerializer,
    UploadRequestSerializer,
    UploadSerializer,
    taken_files_json,
)
from diagnoses.uploads import (
    TakenFile,
    TakenFiles,
    receive,
    refusing_all,
    take_files,
)
from patients.files.upload_handler import take_files_of
from patients.models import Instance, Upload


class UploadFilter(KeyFilterSet):
    """Which uploads to list."""

    created_after = filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="gte"
    )
    created_before = filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="lt"
    )
    patient = filters.UUIDFilter(
        field_name="instance__series__study__patient", method="of_visible_image"
    )
    study = filters.UUIDFilter(
        field_name="instance__series__study", method="of_visible_image"
    )
    instance = filters.UUIDFilter(field_name="instance", method="of_visible_image")
    door = filters.ChoiceFilter(
        field_name="source",
        choices=Upload.Source.choices,
        label="Deprecated: the former name of `source`.",
    )

    class Meta:
        model = Upload
        fields = ("outcome", "source", "reason_code", "sha256")

    def of_visible_image(
        self, uploads: models.QuerySet[Upload], path: str, key: UUID
    ) -> models.QuerySet[Upload]:
        """Keep the uploads whose image the caller may see."""
        return uploads.filter(models.Q(visible_image__isnull=False), **{path: key})


class SessionAfterRoleCheck(SessionAuthentication):
    """Session authentication that leaves the CSRF check to the view.

    The check reads the form with its files, so the role is checked before.
    """

    def enforce_csrf(self, request: Request) -> None:
        """Leave the check to `create`, the only method that changes something."""


class UploadViewSet(
    AuditedReadMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """All files that were sent, and their outcomes."""

    queryset = Upload.objects.none()
    serializer_class = UploadSerializer
    authentication_classes = (ScopedTokenAuthentication, SessionAfterRoleCheck)
    parser_classes = (MultiPartParser,)
    required_action = Action.READ_PATIENTS
    required_actions: ClassVar = {"create": Action.UPLOAD}
    object_kind = "upload"
    patient_path = "instance__series__study__patient_id"
    filterset_class = UploadFilter
    ordering_fields = ("created_at", "outcome", "original_name", "size_bytes")
    ordering = ("-created_at",)

    def get_queryset(self) -> models.QuerySet[Upload]:
        """Return the visible uploads, each with the key of its image if visible, too.

        As a subquery with a limit, for each row shown: EXISTS reads all images first.

        A user who sent a copy of another department's image sees the upload, but not
        the patient.
        """
        user = signed_in_user(self.request)
        images = Instance.objects.visible_to(user).filter(pk=OuterRef("instance_id"))
        return (
            Upload.objects.visible_to(user)
            .annotate(visible_image=Subquery(images.values("pk")[:1]))
            .select_related("user", "instance__series__study")
            .defer("instance__header")
        )

    @extend_schema(
        request={"multipart/form-data": UploadRequestSerializer},
        responses={
            202: TakenFilesSerializer,
            (400, PROBLEM_JSON): OpenApiResponse(
                description="A field is wrong, no file was sent, or the body is "
                "incomplete or malformed: nothing was stored."
            ),
            (409, PROBLEM_JSON): OpenApiResponse(
                description="No file was taken, and one contradicts the record."
            ),
            (411, PROBLEM_JSON): OpenApiResponse(
                description="There is no Content-Length."
            ),
            (413, PROBLEM_JSON): OpenApiResponse(description="Over a limit of size."),
            (422, PROBLEM_JSON): OpenApiResponse(
                description="No file was taken; `files` says why, one by one."
            ),
        },
    )
    def create(self, request: Request) -> Response:
        """Send files as parts named `file`, with optional fields for all of them."""
        refused: list[TakenFile] = []
        try:
            form, taken = _take(request, refused)
        except ChestXError as error:
            return _problem(error, refused, request)
        if taken.fault is None and taken.any_kept:
            files = taken_files_json(taken.files, request=request)
            return Response({"files": files}, status=HTTPStatus.ACCEPTED)
        return _problem(
            taken.fault or _why_nothing_was_kept(taken, form), taken.files, request
        )


def _take(
    request: Request, refused: list[TakenFile]
) -> tuple[UploadRequestSerializer, TakenFiles]:
    """Put the files of the request into the archive.

    Args:
        request: As sent.
        refused: Gets the files that are refused with the whole request.

    Raises:
        ChestXError: The whole request is refused, or nothing can be stored now.
    """
    sent, actor, source = request._request, signed_in_user(request), Upload.Source.REST
    if isinstance(request.successful_authenticator, SessionAfterRoleCheck):
        take_files_of(sent)
        SessionAuthentication().enforce_csrf(request)
    receive(sent, source=source, actor=actor, refused=refused)
    with refusing_all(sent, source=source, actor=actor, refused=refused):
        form = _checked_form(request)
        taken = take_files(
            form.validated_data["files"],
            submitted_identity=form.validated_data["submitted_identity"],
            source=source,
            actor=actor,
            requested_model=form.validated_data["model"],
            request=sent,
        )
    return form, taken


def _problem(
    error: ChestXError, files: Sequence[TakenFile], request: Request
) -> Response:
    """Return the problem details with what became of each file."""
    shown = taken_files_json(files, request=request)
    return Response(
        problem(error, files=shown) if shown else problem(error),
        status=error.status,
        headers=error.headers,
        content_type=PROBLEM_JSON,
    )


def _checked_form(request: Request) -> UploadRequestSerializer:
    """Return the valid form.

    Raises:
        InvalidInput: A field is wrong, or there is no file.
    """
    # Without a body, the data are no form.
    sent = request.data if isinstance(request.data, QueryDict) else QueryDict()
    form = UploadRequestSerializer(data=sent)
    try:
        form.is_valid(raise_exception=True)
    except ValidationError as error:
        raise invalid_input(error) from error
    return form


def _why_nothing_was_kept(
    taken: TakenFiles, form: UploadRequestSerializer
) -> ChestXError:
    results = [file.result for file in taken.files]
    reasons = " ".join(
        f"{result.name or gettext('A file')}: {result.reason}" for result in results
    )
    first = results[0].reason_code
    if taken.any_conflict:
        return Conflict(reasons, reason_code=first)
    if all(result.reason_code == "file_too_large" for result in results):
        return TooLarge(reasons, reason_code=first)
    error = InvalidInput(reasons, reason_code=first, fields=form.wrong_values())
    if not error.fields:
        error.status = HTTPStatus.UNPROCESSABLE_ENTITY
    return error
