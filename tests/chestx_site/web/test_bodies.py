"""Which bodies are read: small forms and JSON everywhere, files for uploads only."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.api.parsers import DEEPEST_JSON, check_json
from accounts.errors import InvalidInput
from accounts.models import Role
from chestx_site.web.bodies import UPLOAD_ROUTES
from chestx_site.web.gunicorn_worker import LARGEST_RECEIVED_BODY_BYTES
from tests.clients import UserClient, person, program
from tests.factories import UserFactory
from tests.routes import Route, make_record, routes

MULTIPART = "multipart/form-data; boundary=b"


class Unread:
    """A body that no one may read."""

    def read(self, *args: int) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@pytest.fixture
def all_routes() -> list[Route]:
    return routes(make_record(UserFactory(role=Role.ADMIN)))


def send_unread(client: Client, path: str, content_type: str) -> int:
    length = {"CONTENT_LENGTH": "472000000", "wsgi.input": Unread()}
    answer = client.generic("POST", path, b"x", content_type, **length)
    return answer.status_code


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("content_type", [MULTIPART, "application/json", "text/plain"])
def test_nobody_without_the_right_to_upload_has_a_large_body_read(
    all_routes: list[Route], content_type: str
) -> None:
    for client in (Client(), person(Role.AUDITOR), program(Role.DATA_SCIENTIST)):
        for route in all_routes:
            status = send_unread(client, route.path, content_type)
            assert HTTPStatus.MULTIPLE_CHOICES <= status < 500, route


@pytest.mark.slow
@pytest.mark.django_db
def test_only_the_upload_routes_write_files(
    all_routes: list[Route], settings: Settings, tmp_path: Path
) -> None:
    settings.INCOMING_DIR = str(tmp_path)
    for client in (Client(), person(Role.ADMIN), program(Role.ADMIN)):
        for route in all_routes:
            if isinstance(client, UserClient) and route.name in UPLOAD_ROUTES:
                continue
            file = SimpleUploadedFile("a.dcm", b"x" * 1000)
            answer = client.post(route.path, {"file": file, "next": "/"})
            assert HTTPStatus.MULTIPLE_CHOICES <= answer.status_code < 500, route
            assert not list(tmp_path.iterdir()), route


@pytest.mark.slow
@pytest.mark.django_db
def test_deeply_nested_json_is_refused_by_every_route(all_routes: list[Route]) -> None:
    client, nested = program(Role.ADMIN), b"[" * 5000 + b"]" * 5000
    for route in all_routes:
        if not route.path.startswith("/api/") or route.name in UPLOAD_ROUTES:
            continue
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = client.generic(method, route.path, nested, "application/json")
            assert answer.status_code == 400, (method, route)
            assert answer.json()["reason_code"] == "nested_too_deep"


@pytest.mark.django_db
def test_a_program_without_a_token_gets_the_same_answer_to_nested_json() -> None:
    nested = b'{"a":' * 5000 + b"1" + b"}" * 5000
    answer = Client().post("/api/v1/auth/token/", nested, "application/json")
    assert (answer.status_code, answer.json()["reason_code"]) == (
        400,
        "nested_too_deep",
    )


@pytest.mark.django_db
@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "utf-32", "no-such"])
def test_json_is_utf_8_whatever_its_header_says(charset: str) -> None:
    content_type = f"application/json; charset={charset}"
    hidden = b'{"username": "a", "password": ' + b"+AFsAWw-" * 2000
    answer = Client().generic("POST", "/api/v1/auth/token/", hidden, content_type)
    assert answer.status_code == 400
    fine = b'{"username": "a", "password": "b"}'
    answer = Client().generic("POST", "/api/v1/auth/token/", fine, content_type)
    assert answer.status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/sign-in/", "/api/v1/auth/token/"])
def test_a_form_with_too_many_fields_is_refused(path: str) -> None:
    many = "&".join(f"f{number}=1" for number in range(1001))
    answer = Client().post(path, many, "application/x-www-form-urlencoded")
    assert answer.status_code == 400


@pytest.mark.django_db
def test_json_with_too_many_values_is_refused() -> None:
    many = json.dumps(list(range(1002)))
    answer = Client().post("/api/v1/auth/token/", many, "application/json")
    assert answer.json()["reason_code"] == "too_many_values"


@pytest.mark.django_db
def test_a_small_form_in_parts_is_read_like_any_other() -> None:
    answer = Client().post("/api/v1/auth/token/", {"username": "a", "password": "b"})
    assert answer.status_code == 401


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


leaves = st.none() | st.booleans() | st.integers() | st.text('[]{}",\\a', max_size=6)
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=2)
    ),
    max_leaves=60,
)


@given(document=documents, around=st.integers(DEEPEST_JSON - 6, DEEPEST_JSON))
def test_the_depth_of_a_document_is_that_of_its_values(
    document: Any, around: int
) -> None:
    for _ in range(around):
        document = [document]
    text = json.dumps(document).encode()
    if depth(document) <= DEEPEST_JSON:
        check_json(text)
    else:
        with pytest.raises(InvalidInput):
            check_json(text)


def test_the_server_receives_whole_small_bodies_before_a_thread_starts() -> None:
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE <= LARGEST_RECEIVED_BODY_BYTES
