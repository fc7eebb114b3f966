"""Refuse requests that no browser and no client of the API sends.

The check stands before Django reads the request, because Django itself fails on some of
them: an unknown charset, a NUL in a charset. What passes has an address, headers and
cookies in UTF-8 without control characters, so no view has to look for these.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import parse_header_parameters
from django.utils.translation import gettext_lazy as _

from accounts.errors import ChestXError, InvalidInput
from accounts.middleware import error_answer

GetResponse = Callable[[HttpRequest], HttpResponse]
CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1"})
# The largest number that a column of sizes holds.
LARGEST_LENGTH = 2**63 - 1
# All but the tab (RFC 9110, 5.5).
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{0,19}", re.ASCII)
_REFUSAL = "chestx.refusal"


class UnsupportedCharset(InvalidInput):
    """The body has a character encoding that is not read."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_reason_code = "unsupported_charset"


def refusal_of(environ: dict[str, Any]) -> ChestXError | None:
    """Return why a request (PEP 3333) is refused, or None."""
    if not _is_text(environ.get("PATH_INFO", "")):
        return InvalidInput(_("The address is not valid."))
    if not _is_text(
        unquote_to_bytes(environ.get("QUERY_STRING", "")).decode("latin-1")
    ):
        return InvalidInput(_("The address is not valid."))
    headers = [value for name, value in environ.items() if name.startswith("HTTP_")]
    content_type = environ.get("CONTENT_TYPE") or ""
    if not all(map(_is_header, (*headers, content_type))):
        return InvalidInput(_("A header of the request is not valid."))
    length = environ.get("CONTENT_LENGTH") or ""
    if not _LENGTH.fullmatch(length) or int(length or 0) > LARGEST_LENGTH:
        return InvalidInput(_("A header of the request is not valid."))
    return _refusal_of_type(content_type)


def _refusal_of_type(content_type: str) -> ChestXError | None:
    try:
        parameters = parse_header_parameters(content_type)[1]
    except (ValueError, LookupError):
        return InvalidInput(_("A header of the request is not valid."))
    if parameters.get("charset", "utf-8").lower() not in CHARSETS:
        return UnsupportedCharset(_("The request must be encoded in UTF-8."))
    return None


def _is_text(latin_1: str) -> bool:
    """Return whether bytes, given as Latin-1, are UTF-8 without NUL."""
    try:
        return "\x00" not in latin_1.encode("latin-1").decode()
    except UnicodeError:
        return False


def _is_header(value: str) -> bool:
    return not _CONTROLS.search(value)


class CheckingHandler(WSGIHandler):
    """Django's WSGI handler; it hands a refused request on without its content."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> HttpResponseBase:
        """Answer a request."""
        refusal = refusal_of(environ)
        if refusal is not None:
            environ = _without_content(environ) | {_REFUSAL: refusal}
        return super().__call__(environ, start_response)


def _without_content(environ: dict[str, Any]) -> dict[str, Any]:
    """Return what is needed to answer: the server's own values, path and host."""
    path, host = environ.get("PATH_INFO", ""), environ.get("HTTP_HOST", "")
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("HTTP_", "CONTENT_"))
    }
    kept |= {"QUERY_STRING": "", "PATH_INFO": path if _is_text(path) else "/"}
    return kept | ({"HTTP_HOST": host} if _is_header(host) else {})


class MalformedRequestMiddleware:
    """Answer the requests that `CheckingHandler` refused."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the refusal, or pass the request on."""
        refusal = request.META.get(_REFUSAL)
        if refusal is not None:
            return error_answer(request, refusal)
        return self.get_response(request)
