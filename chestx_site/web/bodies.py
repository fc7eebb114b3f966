"""Middleware that limits the body of a request before anything reads it.

Only the upload routes take files, and they read them after sign-in and role check
(`diagnoses.uploads.receive`). All others take a small form or a small JSON document.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext_lazy as _

from accounts.api.parsers import check_json
from accounts.errors import ChestXError, InvalidInput, TooLarge
from accounts.middleware import error_answer
from chestx_site.web.problems import as_chestx_error

GetResponse = Callable[[HttpRequest], HttpResponse]
UPLOAD_ROUTES = frozenset({"upload", "upload-list"})
MULTIPART, JSON = "multipart/form-data", "application/json"
FORMS = frozenset({MULTIPART, "application/x-www-form-urlencoded"})


class SmallBodyMiddleware:
    """Read and check the small body of every request that brings no files.

    It stands before Django's CSRF check, which reads the form.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self.get_response(request)

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponse],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> HttpResponse | None:
        """Answer a body that is too large or not valid; else leave it to the view."""
        match = request.resolver_match
        if match is not None and match.view_name in UPLOAD_ROUTES:
            return None
        try:
            _check_size(request)
            _read(request)
        except ChestXError as error:
            return error_answer(request, error)
        except (SuspiciousOperation, MultiPartParserError, UnreadablePostError) as bad:
            refusal = as_chestx_error(bad)
            return error_answer(
                request, refusal or InvalidInput(_("The request is not valid."))
            )
        return None


def _check_size(request: HttpRequest) -> None:
    length = request.META.get("CONTENT_LENGTH") or "0"
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if length.isdecimal() and int(length[:20]) > limit:
        raise TooLarge(
            _(
                "The request is larger than %(limit_kb)d kB. Send files to the upload "
                "page or to POST /api/v1/uploads/."
            ),
            params={"limit_kb": limit // 1024},
        )


def _read(request: HttpRequest) -> None:
    """Read the form or the JSON document, whose size has been checked."""
    if request.content_type in FORMS and request.method == "POST":
        _ = request.POST
    elif request.content_type == JSON:
        # Always UTF-8, whatever `charset` says (RFC 8259, 8.1).
        request.encoding = "utf-8"
        check_json(request.body)
