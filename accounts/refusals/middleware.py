"""Middleware that writes an audit event for every refused request."""

from collections.abc import Callable
from http import HTTPStatus
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch

from accounts import audit
from accounts.audit import AuditAction, AuditSource, Outcome
from accounts.errors import AuditUnavailable
from accounts.middleware import error_answer, is_api
from accounts.models import User
from accounts.refusals import counted

GetResponse = Callable[[HttpRequest], HttpResponse]
_ADMIN_SITE = "admin"


class RefusalsMiddleware:
    """Record 401, 403, and 404 of a route, before the first byte of the answer.

    The event of an object that does not exist is that of one which the user may not
    see. Failed sign-ins have events of their own (`accounts.receivers`).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on; answer 503 if a refusal cannot be recorded."""
        response = self.get_response(request)
        if not _is_refusal(request, response):
            return response
        try:
            _record(request, response)
        except AuditUnavailable as error:
            return error_answer(request, error)
        return response


def _is_refusal(request: HttpRequest, response: HttpResponse) -> bool:
    if getattr(request, "sign_in_failed", False):
        return False
    match = request.resolver_match
    if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return True
    if response.status_code == HTTPStatus.NOT_FOUND:
        return match is not None
    # SignInRequiredMiddleware redirects before a route is sought.
    return (
        response.status_code == HTTPStatus.FOUND
        and match is None
        and not request.user.is_authenticated
    )


def _record(request: HttpRequest, response: HttpResponse) -> None:
    match = request.resolver_match
    detail: dict[str, object] = {
        "status": int(response.status_code),
        "method": request.method or "",
        "route": match.view_name if match is not None else "",
    }
    source = _source(request, match)
    if not isinstance(request.user, User):
        counted.record_or_count(
            request, action=AuditAction.ACCESS, source=source, detail=detail
        )
        return
    kind, key = _object_of(match) if match is not None else ("", None)
    audit.record(
        action=AuditAction.ACCESS,
        actor=request.user,
        request=request,
        source=source,
        object_kind=kind,
        object_uuid=key,
        outcome=Outcome.REFUSED,
        detail=detail,
    )


def _source(request: HttpRequest, match: ResolverMatch | None) -> str:
    if is_api(request):
        return AuditSource.REST
    in_admin = match is not None and match.app_name == _ADMIN_SITE
    return AuditSource.ADMIN if in_admin else AuditSource.WEB


def _object_of(match: ResolverMatch) -> tuple[str, UUID | None]:
    """Return the kind and the key of the object that the route names."""
    for name, value in match.kwargs.items():
        try:
            key = value if isinstance(value, UUID) else UUID(str(value))
        except ValueError:
            continue
        return _kind_of(name, match), key
    return "", None


def _kind_of(name: str, match: ResolverMatch) -> str:
    """Return what a key in an address identifies, by its name or that of the route."""
    route = match.url_name or ""
    if match.app_name == _ADMIN_SITE:
        # patients_study_change
        return route.split("_")[1] if route.count("_") > 1 else ""
    # study-detail of REST, or study_id of a page.
    return route.split("-")[0] if name == "pk" else name.removesuffix("_id")
