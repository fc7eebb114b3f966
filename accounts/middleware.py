"""Middleware that requires sign-in and turns errors into pages."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import get_script_prefix, reverse
from django.utils.translation import gettext_lazy as _

from accounts.errors import ChestXError, NotFound, NotSignedIn

GetResponse = Callable[[HttpRequest], HttpResponse]
API_PREFIX = "/api/"
OPEN_NAMES = ("sign-in", "auth-token", "healthz", "readyz")
PROBLEM_JSON = "application/problem+json"
# Django's own error pages, as sentences for programs.
DETAILS = {
    HTTPStatus.BAD_REQUEST: _("The request is not valid."),
    HTTPStatus.FORBIDDEN: _("Your role does not have permission for this."),
    HTTPStatus.NOT_FOUND: _("Not found, or you do not have access to it."),
    HTTPStatus.INTERNAL_SERVER_ERROR: _(
        "An internal error occurred. It has been logged."
    ),
}


def problem(error: ChestXError, **extensions: object) -> dict[str, object]:
    """Return the problem details of an error (RFC 9457, 3).

    Args:
        error: The error.
        **extensions: Extension members (3.2), such as `files`.
    """
    status = HTTPStatus(error.status)
    body: dict[str, object] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": error.message,
        "reason_code": error.reason_code,
    }
    if error.fields:
        body["fields"] = error.fields
    return body | extensions


def problem_json(error: ChestXError) -> JsonResponse:
    """Return the error as an application/problem+json answer."""
    return JsonResponse(
        problem(error),
        status=error.status,
        content_type=PROBLEM_JSON,
        headers=error.headers,
    )


def is_api(request: HttpRequest) -> bool:
    """Return whether the request goes to the REST interface."""
    # The path that chooses the view; `path` begins with SCRIPT_NAME.
    return request.path_info.startswith(API_PREFIX)


def _open_paths() -> set[str]:
    """Return the paths that need no sign-in, without SCRIPT_NAME before them."""
    prefix = get_script_prefix().rstrip("/")
    return {reverse(name).removeprefix(prefix) for name in OPEN_NAMES}


class SignInRequiredMiddleware:
    """Send every user who is not signed in to the sign-in page.

    This works by path, so that no view can forget it. Under /api/ a token may replace
    the session: REST views check tokens, and only requests with neither are answered
    here.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer 401, redirect to the sign-in page, or pass the request on."""
        if self._is_open(request) or request.user.is_authenticated:
            return self.get_response(request)
        if is_api(request):
            if "Authorization" in request.headers:
                return self.get_response(request)
            return self._unauthorised()
        return self._to_sign_in(request)

    def _is_open(self, request: HttpRequest) -> bool:
        path = request.path_info
        return path.startswith(settings.STATIC_URL) or path in _open_paths()

    def _unauthorised(self) -> HttpResponse:
        answer = problem_json(
            NotSignedIn(_("Sign in, or send a token: POST /api/v1/auth/token/."))
        )
        answer["WWW-Authenticate"] = "Token"
        return answer

    def _to_sign_in(self, request: HttpRequest) -> HttpResponse:
        sign_in = reverse("sign-in")
        if getattr(request, "htmx", False):
            # A part of a page: static/js/session.js covers the page.
            return HttpResponse(status=HTTPStatus.UNAUTHORIZED)
        if request.method == "GET" and request.path_info != "/":
            sign_in += "?" + urlencode({"next": request.get_full_path()})
        return redirect(sign_in)


class ErrorPagesMiddleware:
    """Show application errors as pages; under /api/, answer all errors as JSON."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on; under /api/, replace HTML errors by JSON."""
        response = self.get_response(request)
        if is_api(request) and _is_html_error(response):
            return problem_json(_error_of_status(response.status_code))
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Answer an error of the application; leave all others to Django.

        A row that was found and is gone was erased meanwhile: 404.
        """
        if isinstance(exception, ObjectDoesNotExist):
            return error_answer(request, NotFound(DETAILS[HTTPStatus.NOT_FOUND]))
        if not isinstance(exception, ChestXError):
            return None
        return error_answer(request, exception)


def error_answer(request: HttpRequest, error: ChestXError) -> HttpResponse:
    """Return the error as JSON under /api/, else as a page."""
    if is_api(request):
        return problem_json(error)
    answer = render(
        request,
        "error_page.html",
        {
            "status": int(error.status),
            "message": error.message,
            "reason_code": error.reason_code,
        },
        status=error.status,
    )
    for name, value in error.headers.items():
        answer[name] = value
    return answer


def _is_html_error(response: HttpResponse) -> bool:
    return response.status_code >= HTTPStatus.BAD_REQUEST and response.get(
        "Content-Type", ""
    ).startswith("text/html")


def _error_of_status(status: int) -> ChestXError:
    known = HTTPStatus(status)
    error = ChestXError(
        DETAILS.get(known, known.phrase), reason_code=known.name.lower()
    )
    error.status = status
    return error
