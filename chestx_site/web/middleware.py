"""What holds for every answer: a lost database is a passing fault, and the headers."""

import sys
from collections.abc import Callable
from types import MappingProxyType

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.defaults import server_error as django_server_error

from accounts.errors import ChestXError, Unavailable
from accounts.middleware import is_api, problem_json

GetResponse = Callable[[HttpRequest], HttpResponse]

_STRICT = MappingProxyType(
    {
        "default-src": "'self'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
)
# Swagger UI writes style attributes; its scripts come from our static files.
_DOCS = MappingProxyType({**_STRICT, "style-src": "'self' 'unsafe-inline'"})
DOCS_PATH = "/api/v1/docs/"
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
    """Answer a lost database with 503 and Retry-After, and give the connection up.

    Views' errors pass here; those of other middleware (the session is read late)
    reach `server_error`, which answers alike.
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


def is_database_lost(error: BaseException | None) -> bool:
    """Whether the error, or what it was raised from, is a lost connection."""
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError):
            return True
        error = error.__cause__
    return False


def database_lost(request: HttpRequest) -> HttpResponse:
    """Give the connection up and return the 503, which asks the database nothing."""
    connection.close()
    error = Unavailable(
        "The database cannot be reached at the moment. Nothing was lost: please try "
        "again in a few seconds.",
        reason_code="database_unavailable",
    )
    if is_api(request):
        return problem_json(error)
    # Without the request: its user and messages would be read from the database.
    return HttpResponse(
        render_to_string("503.html"),
        status=error.status,
        headers=error.headers,
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what nobody caught (handler500 of the URL configuration)."""
    error = sys.exc_info()[1]
    if is_database_lost(error):
        return database_lost(request)
    if is_api(request):
        return problem_json(
            ChestXError("Something went wrong on our side. It has been logged.")
        )
    return django_server_error(request)


class SecurityHeadersMiddleware:
    """Content-Security-Policy, Permissions-Policy, and no copies of pages in caches."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the headers to the answer."""
        response = self.get_response(request)
        policy = _DOCS if request.path == DOCS_PATH else _STRICT
        response.headers.setdefault("Content-Security-Policy", _written(policy))
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        if not request.path.startswith(settings.STATIC_URL):
            # Every page behind the sign-in may show a patient.
            response.headers.setdefault("Cache-Control", "no-store, private")
        return response


def _written(policy: MappingProxyType[str, str]) -> str:
    return "; ".join(f"{directive} {sources}" for directive, sources in policy.items())
