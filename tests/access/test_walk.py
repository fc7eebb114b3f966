"""Every route, role and method against one table; forbidden is like unknown."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.access import ALLOWED, UNLIMITED_ROLES
from accounts.models import AuditEvent, Role
from tests.access.table import (
    FORMER_ADDRESS,
    METHODS,
    NO_PAGE,
    ROLES_OF,
    TABLE,
    UNLIMITED,
    Row,
    allows,
)
from tests.clients import UserClient, person
from tests.factories import DepartmentFactory, UserFactory
from tests.routes import Record, Route, make_record, routes

pytestmark = pytest.mark.django_db
NO_ACCESS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="[^"]+"|"X-CSRFToken": "[^"]+"')
_LITERAL = re.compile(
    r"'(?:[^']|'')*'(?:::\w+(?:\[\])?)?|\b\d+\b|(?<=SAVEPOINT )\"\w+\""
)


@dataclass(frozen=True)
class Answer:
    """What a caller can tell apart: the answer, and the work that was done for it."""

    status: int
    headers: dict[str, str]
    cookies: frozenset[str]
    body: str
    queries: tuple[str, ...]


@pytest.fixture
def record() -> Record:
    return make_record(UserFactory(role=Role.ADMIN))


def row_name(route: Route) -> str:
    """Return the name of a route in the table, where no other has it."""
    if route.name == "admin:None":
        return FORMER_ADDRESS if "object_id" in route.pattern else NO_PAGE
    if route.name == "model-compare" and route.pattern.startswith("api/"):
        return "api:model-compare"
    return route.name


def row_of(route: Route) -> Row:
    """Return the row of a route."""
    return TABLE[row_name(route)]


def send(client: UserClient, method: str, path: str) -> tuple[Any, bytes]:
    """Send a request, return the answer with its content, and undo what it did."""
    cookies = client.cookies.output(header="", sep=";")
    try:
        with transaction.atomic():
            answer = client.generic(method, path)
            # To read a stream to its end closes its file.
            content = b"".join(answer) if answer.streaming else answer.content
            transaction.set_rollback(True)
    finally:
        client.cookies = SimpleCookie(cookies)
    return answer, content


def answer_of(client: UserClient, method: str, path: str) -> Answer:
    """Send a request and return what can be told apart, without keys and tokens."""
    with CaptureQueriesContext(connection) as captured:
        answer, content = send(client, method, path)
    return Answer(
        status=answer.status_code,
        headers={name: _plain(value) for name, value in answer.headers.items()},
        cookies=frozenset(answer.cookies),
        body=_plain(content.decode("utf-8", "replace")),
        queries=tuple(
            _LITERAL.sub("?", one["sql"]) for one in captured.captured_queries
        ),
    )


def _plain(text: str) -> str:
    return _TOKEN.sub("TOKEN", _UUID.sub("KEY", text))


def test_the_table_has_a_row_for_every_route_and_no_other(record: Record) -> None:
    names = {row_name(route) for route in routes(record)}
    assert names - set(TABLE) == set(), "say in tests/access/table.py what is allowed"
    assert set(TABLE) - names == set(), "these routes do not exist"


def test_the_table_and_the_code_give_each_role_the_same_actions() -> None:
    assert {
        role: {action for action, roles in ROLES_OF.items() if role in roles}
        for role in Role
    } == ALLOWED
    assert UNLIMITED_ROLES == UNLIMITED


def _expected(row: Row, method: str, role: Role, *, key: str) -> set[int]:
    """Return the statuses that the table allows; empty: anything but no access."""
    if method not in row.needs:
        return {HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED}
    if not allows(row, method, role):
        return {HTTPStatus.FORBIDDEN}
    if method == "OPTIONS" and key != "own":
        # In REST it describes the route, whatever the key.
        return {HTTPStatus.OK, HTTPStatus.NOT_FOUND}
    hidden = row.limited and key == "other" and role not in UNLIMITED
    unknown = (row.limited or row.keyed) and key == "unknown"
    if hidden or unknown:
        return {HTTPStatus.NOT_FOUND}
    return set()


@pytest.mark.slow
@pytest.mark.parametrize("role", Role)
def test_every_route_does_what_the_table_says(record: Record, role: Role) -> None:
    own = person(user=UserFactory(role=role, departments=[record.study.department]))
    elsewhere = DepartmentFactory(code="elsewhere")
    other = person(user=UserFactory(role=role, departments=[elsewhere]))
    faults, walked = [], 0
    for route in routes(record):
        row = row_of(route)
        tries = [("own", own, route.path)]
        if row.limited:
            tries.append(("other", other, route.path))
        if row.limited or row.keyed:
            tries.append(("unknown", other, route.unknown_path))
        for method in METHODS:
            for key, client, path in tries:
                status = send(client, method, path)[0].status_code
                expected = _expected(row, method, role, key=key)
                right = status in expected if expected else _is_access(status, row)
                walked += 1
                if not right:
                    faults.append((method, route.name, key, status, sorted(expected)))
    assert not faults, "\n".join(map(str, faults))
    assert walked > 1000


def _is_access(status: int, row: Row) -> bool:
    if status == HTTPStatus.NOT_FOUND:
        return row.nothing_there
    return status not in NO_ACCESS and status < HTTPStatus.INTERNAL_SERVER_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("role", [role for role in Role if role not in UNLIMITED])
def test_what_is_forbidden_is_answered_as_if_it_did_not_exist(
    record: Record, role: Role
) -> None:
    elsewhere = DepartmentFactory(code="elsewhere")
    client = person(user=UserFactory(role=role, departments=[elsewhere]))
    compared = 0
    for route in routes(record):
        if not row_of(route).limited:
            continue
        for method in METHODS:
            forbidden = answer_of(client, method, route.path)
            unknown = answer_of(client, method, route.unknown_path)
            assert forbidden == unknown, (method, route.name)
            compared += 1
    assert compared > 100


@pytest.mark.slow
@pytest.mark.parametrize("role", [Role.CLINICIAN, Role.AUDITOR, Role.DATA_SCIENTIST])
def test_every_refusal_leaves_one_event(record: Record, role: Role) -> None:
    elsewhere = DepartmentFactory(code="elsewhere")
    client = person(user=UserFactory(role=role, departments=[elsewhere]))
    refused = 0
    for route in routes(record):
        for path in (route.path, route.unknown_path):
            for method in ("GET", "POST"):
                with transaction.atomic():
                    before = AuditEvent.objects.filter(outcome="refused").count()
                    cookies = client.cookies.output(header="", sep=";")
                    answer = client.generic(method, path)
                    b"".join(answer)
                    client.cookies = SimpleCookie(cookies)
                    written = AuditEvent.objects.filter(outcome="refused").count()
                    transaction.set_rollback(True)
                if answer.status_code in NO_ACCESS:
                    refused += 1
                    assert written == before + 1, (method, path)
    assert refused > 50
