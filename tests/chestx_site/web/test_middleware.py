"""Headers, a lost database and error answers, for every response."""

import uuid

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import InterfaceError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from accounts.errors import Conflict, TooManyTries, Unavailable
from accounts.middleware import ErrorPagesMiddleware, problem
from accounts.models import Role
from chestx_site.web.middleware import (
    CompressTextMiddleware,
    DatabaseDownMiddleware,
    is_database_lost,
)
from chestx_site.web.problems import problem_response
from tests.clients import person, program

# Django compresses nothing shorter.
SHORTEST_COMPRESSED = 200
pytestmark = pytest.mark.django_db


def _directives(policy: str) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in policy.split("; "))


@pytest.mark.parametrize(
    "path", ["/sign-in/", "/", "/admin/", "/api/v1/studies/", "/x"]
)
def test_pages_forbid_inline_scripts_and_caching(path: str) -> None:
    answer = person(Role.ADMIN).get(path)
    policy = _directives(answer.headers["Content-Security-Policy"])
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["object-src"] == policy["frame-ancestors"] == "'none'"
    assert "no-store" in answer.headers["Cache-Control"]
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_the_docs_page_has_the_policy_of_every_page_and_a_language() -> None:
    answer = person().get("/api/v1/docs/")
    policy = _directives(answer.headers["Content-Security-Policy"])
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert b"<script>" not in answer.content
    assert b"style=" not in answer.content
    assert b'<html lang="en"' in answer.content


class TestLostDatabase:
    """503 with Retry-After, for people and programs, wherever it is noticed."""

    @pytest.mark.parametrize("error", [OperationalError, InterfaceError])
    @pytest.mark.parametrize(
        "path", ["/", "/api/v1/studies/", "/admin/patients/study/"]
    )
    def test_a_database_lost_in_a_view_is_503(
        self, path: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = person(Role.ADMIN)
        client.raise_request_exception = False
        closed = []
        monkeypatch.setattr(connection, "close", lambda: closed.append(True))

        def lost(*args: object, **kwargs: object) -> None:
            raise error("the connection is closed")

        monkeypatch.setattr("accounts.audit.record", lost)
        answer = client.get(path)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert closed

    def test_a_database_lost_before_the_view_is_503(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = person()
        client.raise_request_exception = False
        monkeypatch.setattr(connection, "close", lambda: None)

        def lost(session: SessionStore) -> None:
            raise OperationalError("the connection is closed")

        monkeypatch.setattr(SessionStore, "load", lost)
        page = client.get("/")
        assert page.status_code == 503
        assert page.headers["Retry-After"]
        assert b"cannot be reached" in page.content
        answer = client.get("/api/v1/studies/")
        assert answer.status_code == 503
        assert answer.json()["reason_code"] == "database_unavailable"

    def test_other_errors_are_not_taken_for_a_lost_database(self) -> None:
        assert not is_database_lost(ValueError("x"))
        middleware = DatabaseDownMiddleware(_unused)
        request = RequestFactory().get("/")
        assert middleware.process_exception(request, ValueError("x")) is None


def _unused(request: HttpRequest) -> HttpResponse:
    raise AssertionError("the error is handled before")


def test_an_unexpected_error_is_500_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = program()
    client.raise_request_exception = False

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("accounts.audit.record", broken)
    answer = client.get("/api/v1/studies/")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"secret" not in answer.content


def test_problem_details_have_the_members_of_the_standard() -> None:
    body = problem(Conflict("Two of one.", reason_code="twice"), files=[])
    assert body == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "Two of one.",
        "reason_code": "twice",
        "files": [],
    }


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (Unavailable("x", retry_after=3), 503, "3"),
        (TooManyTries("x", retry_after=60), 429, "60"),
    ],
)
def test_temporary_faults_have_a_retry_after_header(
    error: Exception, status: int, header: str
) -> None:
    for answer in (
        problem_response(error, {}),
        ErrorPagesMiddleware(_unused).process_exception(
            RequestFactory().get("/api/"), error
        ),
        ErrorPagesMiddleware(_unused).process_exception(
            RequestFactory().get("/"), error
        ),
    ):
        assert answer.status_code == status
        assert answer.headers["Retry-After"] == header


def test_a_404_is_a_page_for_people_and_json_for_programs() -> None:
    assert b"Page not found" in person().get("/no-such-page").content
    answer = program().get("/api/v1/no-such-thing/")
    assert answer.status_code == 404
    assert answer.json()["status"] == 404
    for error in (Http404(), Http404("x")):
        assert problem_response(error, {}).data["reason_code"] == "not_found"


def test_hidden_objects_answer_like_missing_ones() -> None:
    answer = person(Role.CLINICIAN).get(f"/studies/{uuid.uuid4()}/")
    assert answer.status_code == 404
    assert b"Traceback" not in answer.content


@pytest.mark.parametrize(
    "address", ["/", "/api/v1/docs/", "/api/v1/studies/", "/api/v1/schema/"]
)
def test_texts_are_compressed(address: str) -> None:
    client = person()
    plain = client.get(address)
    answer = client.get(address, headers={"Accept-Encoding": "gzip"})
    if len(plain.content) < SHORTEST_COMPRESSED:
        assert "Content-Encoding" not in answer.headers
        return
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.content) < len(plain.content)


def test_pictures_are_not_compressed_again() -> None:
    def picture(request: object) -> HttpResponse:
        return HttpResponse(b"\0" * 10_000, content_type="image/png")

    request = RequestFactory().get("/", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in CompressTextMiddleware(picture)(request).headers


def test_browsers_find_an_icon_without_sign_in() -> None:
    answer = Client().get("/favicon.ico")
    assert answer.status_code == 200
    assert b"".join(answer)[:4] == b"\0\0\1\0"
