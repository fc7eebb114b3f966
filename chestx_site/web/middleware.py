"""Middleware for every answer: lost database connections and security headers."""

import re
import sys
from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from django.views.defaults import server_error as django_server_error

from accounts.errors import ChestXError, database_unavailable, is_database_lost
from accounts.middleware import is_api, problem_json

GetResponse = Callable[[HttpRequest], HttpResponse]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_TEXT_TYPES = re.compile(
    r"text/|image/svg\+xml|application/([\w.]+\+)?json|application/(yaml|vnd\.oai)"
)
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "camera",
        "display-capture",
        "geolocation",
        "microphone",
        "payment",
        "usb",
    )
)


class DatabaseDownMiddleware:
    """Answer 503 with Retry-After if the database is lost, and close the connection.

    This sees the errors of views. Errors of other middleware (the session is read
    late) reach `server_error`, which gives the same answer.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Answer a lost database; leave all others to Django."""
        if not is_database_lost(exception):
            return None
        return database_lost(request)


def database_lost(request: HttpRequest) -> HttpResponse:
    """Close the connection and return a 503 that needs no database."""
    connection.close()
    error = database_unavailable()
    if is_api(request):
        return problem_json(error)
    # Without the request: reading its user and messages needs the database.
    return HttpResponse(
        render_to_string("503.html"),
        status=error.status,
        headers=error.headers,
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer unexpected errors (handler500 of the URL configuration)."""
    error = sys.exc_info()[1]
    if is_database_lost(error):
        return database_lost(request)
    if is_api(request):
        return problem_json(
            ChestXError(_("An internal error occurred. It has been logged."))
        )
    return django_server_error(request)


class CompressTextMiddleware(GZipMiddleware):
    """Compress texts: pages, JSON, scripts. Pictures and DICOM files pass unchanged.

    Django adds a random number of bytes against BREACH; CSRF tokens are masked.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Compress an answer whose type is a text."""
        if not _TEXT_TYPES.match(response.headers.get("Content-Type", "")):
            return response
        return super().process_response(request, response)


class SecurityHeadersMiddleware:
    """Set Content-Security-Policy, Permissions-Policy and Cache-Control."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the headers to the answer."""
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        if not request.path_info.startswith(settings.STATIC_URL):
            # Every page behind the sign-in may show a patient.
            response.headers.setdefault("Cache-Control", "no-store, private")
        return response
