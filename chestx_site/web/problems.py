"""REST error handler: answers every error with problem details (RFC 9457)."""

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import (
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

from accounts.errors import (
    ChestXError,
    InvalidInput,
    NotAllowed,
    NotFound,
    TooLarge,
)
from accounts.middleware import PROBLEM_JSON, problem

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
        return _invalid(error)
    if isinstance(error, exceptions.APIException):
        return _of_rest_framework(error)
    if isinstance(error, Http404):
        return NotFound(_("Not found, or you do not have access to it."))
    if isinstance(error, PermissionDenied):
        return NotAllowed(_("Your role does not have permission for this."))
    if isinstance(error, DjangoValidationError):
        return InvalidInput(" ".join(error.messages))
    if isinstance(error, TooManyFilesSent):
        return TooLarge(
            _("At most %(limit)d files per request. Send several requests."),
            params={"limit": settings.DATA_UPLOAD_MAX_NUMBER_FILES},
            reason_code="too_many_files",
        )
    if isinstance(error, RequestDataTooBig):
        return TooLarge(_("The form fields are too large."))
    if isinstance(error, SuspiciousOperation):
        return InvalidInput(_("The request is not valid."))
    return None


def _invalid(error: exceptions.ValidationError) -> ChestXError:
    detail = error.detail
    if isinstance(detail, dict):
        fields = {name: _sentences(errors) for name, errors in detail.items()}
        named = "; ".join(f"{name}: {' '.join(s)}" for name, s in fields.items())
        return InvalidInput(named, reason_code="invalid_fields", fields=fields)
    return InvalidInput(" ".join(_sentences(detail)))


def _sentences(errors: Any) -> list[str]:
    """Return the sentences of nested error details in one list."""
    if isinstance(errors, dict):
        return [f"{k}: {s}" for k, v in errors.items() for s in _sentences(v)]
    if isinstance(errors, list | tuple):
        return [sentence for part in errors for sentence in _sentences(part)]
    return [str(errors)]


def _of_rest_framework(error: exceptions.APIException) -> ChestXError:
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else "invalid_input"
    known = ChestXError(" ".join(_sentences(error.detail)), reason_code=code)
    known.status = error.status_code
    return known
