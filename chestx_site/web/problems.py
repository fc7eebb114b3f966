"""REST error handler: answers every error with problem details (RFC 9457)."""

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import (
    ObjectDoesNotExist,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFilesSent,
)
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions
from rest_framework.response import Response

from accounts.api.validation import invalid_input, sentences
from accounts.errors import (
    ChestXError,
    InvalidInput,
    NotAllowed,
    NotFound,
    TooLarge,
)
from accounts.middleware import PROBLEM_JSON, problem
from patients import messages
from patients.files.upload_handler import RefusedBodyError

logger = logging.getLogger(__name__)


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Return the answer for an error that a REST view raised.

    Returns:
        The problem details, or None for an unexpected error: Django answers those
        with 500, or 503 if the database is lost.
    """
    known = as_chestx_error(error)
    if known is None:
        return None
    headers = dict(known.headers)
    if isinstance(error, exceptions.APIException):
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        if wait := getattr(error, "wait", None):
            headers["Retry-After"] = str(int(wait))
    extensions = getattr(known, "extensions", {})
    return Response(
        problem(known, **extensions),
        status=known.status,
        headers=headers,
        content_type=PROBLEM_JSON,
    )


def as_chestx_error(error: Exception) -> ChestXError | None:
    """Return the error as a ChestXError, or None if it is unexpected."""
    if isinstance(error, ChestXError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return invalid_input(error)
    if isinstance(error, exceptions.APIException):
        return _of_rest_framework(error)
    # A row that was found and is gone was erased meanwhile.
    if isinstance(error, Http404 | ObjectDoesNotExist):
        return NotFound(_("Not found, or you do not have access to it."))
    if isinstance(error, PermissionDenied):
        return NotAllowed(_("Your role does not have permission for this."))
    if isinstance(error, DjangoValidationError):
        return InvalidInput(" ".join(error.messages))
    return _of_form(error)


def _of_form(error: Exception) -> ChestXError | None:
    """Return the refusal of a form that cannot be read, or None."""
    if isinstance(error, RefusedBodyError):
        return error.refusal
    if isinstance(error, TooManyFilesSent):
        return TooLarge(
            messages.TOO_MANY_FILES,
            params={"limit": settings.DATA_UPLOAD_MAX_NUMBER_FILES},
        )
    if isinstance(error, RequestDataTooBig):
        return TooLarge(messages.FIELDS_TOO_LARGE)
    if isinstance(error, SuspiciousOperation):
        return InvalidInput(_("The request is not valid."))
    return None


def _of_rest_framework(error: exceptions.APIException) -> ChestXError:
    if isinstance(error.__context__, RefusedBodyError):
        return error.__context__.refusal
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else "invalid_input"
    known = ChestXError(" ".join(sentences(error.detail)), reason_code=code)
    known.status = error.status_code
    return known
