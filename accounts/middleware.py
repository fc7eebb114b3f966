"""Nothing answers without signing in, and errors become pages for people."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts.errors import ChestXError, NotSignedIn

GetResponse = Callable[[HttpRequest], HttpResponse]
API_PREFIX = "/api/"
OPEN_NAMES = ("sign-in", "auth-token", "healthz", "readyz")
PROBLEM_JSON = "application/problem+json"


def problem(error: ChestXError, **extensions: object) -> dict[str, object]:
    """Return the problem details of an error (RFC 9457, 3).

    Args:
        error: What happened.
        **extensions: Members beside the standard's (3.2), as `files`.
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
    """Whether the request is a program's, which is answered in JSON."""
    return request.path.startswith(API_PREFIX)


class SignInRequiredMiddleware:
    """Send everybody who is not signed in to the sign-in page, whatever they asked for.

    It goes by path, so that a view cannot forget it. Under /api/ a token may come
    instead of a session: there the REST views check it, and only a request with
    neither is answered here.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer 401 or the way to the sign-in page, or let the request pass."""
        if self._is_open(request) or request.user.is_authenticated:
            return self.get_response(request)
        if is_api(request):
            if "Authorization" in request.headers:
                return self.get_response(request)
            return self._unauthorised()
        return self._to_sign_in(request)

    def _is_open(self, request: HttpRequest) -> bool:
        path = request.path
        return path.startswith(settings.STATIC_URL) or path in {
            reverse(name) for name in OPEN_NAMES
        }

    def _unauthorised(self) -> HttpResponse:
        answer = problem_json(
            NotSignedIn("Sign in, or send a token: POST /api/v1/auth/token/.")
        )
        answer["WWW-Authenticate"] = "Token"
        return answer

    def _to_sign_in(self, request: HttpRequest) -> HttpResponse:
        sign_in = reverse("sign-in")
        if getattr(request, "htmx", False):
            # A fragment that polls: the whole page goes to the sign-in page.
            return HttpResponse(
                status=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": sign_in}
            )
        if request.method == "GET" and request.path != "/":
            sign_in += "?" + urlencode({"next": request.get_full_path()})
        return redirect(sign_in)


class ErrorPagesMiddleware:
    """Turn the application's errors into pages, and Django's into JSON under /api/."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on; under /api/, no error leaves as HTML."""
        response = self.get_response(request)
        if is_api(request) and _is_html_error(response):
            return problem_json(_error_of_status(response.status_code))
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Answer an error of the application; leave all others to Django."""
        if not isinstance(exception, ChestXError):
            return None
        return error_answer(request, exception)


def error_answer(request: HttpRequest, error: ChestXError) -> HttpResponse:
    """Return the error as JSON to a program, as a page to a person."""
    if is_api(request):
        return problem_json(error)
    answer = render(
        request,
        "error_page.html",
        {
            "status": int(error.status),
            "title": HTTPStatus(error.status).phrase,
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
    error = ChestXError(
        HTTPStatus(status).description or HTTPStatus(status).phrase,
        reason_code=HTTPStatus(status).name.lower(),
    )
    error.status = status
    return error
