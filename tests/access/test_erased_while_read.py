"""A record that is erased while it is read is gone, at whatever moment that happens."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction

from accounts.models import Role
from diagnoses.erasure import erase_patient
from patients.storage import object_key
from tests.clients import UserClient, person
from tests.factories import UserFactory
from tests.routes import Record, make_record, routes

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
READING = ("GET", "POST")
# More queries than any page makes.
MOST_QUERIES = 120


class Erasing:
    """Erases the patient of a record before the n-th query of a request."""

    def __init__(self, record: Record, *, before_query: int) -> None:
        self.record = record
        self.left = before_query
        self.erased = False

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,
        context: Any,
    ) -> Any:
        if not self.erased and not sql.startswith(("SAVEPOINT", "RELEASE")):
            self.left -= 1
            if self.left == 0:
                self.erased = True
                erase_patient(
                    self.record.study.patient, actor=self.record.user, reason="tests"
                )
                default_storage.delete(object_key(self.record.instance.object_sha256))
        return execute(sql, params, many, context)


@pytest.fixture
def record() -> Record:
    return make_record(UserFactory(role=Role.ADMIN))


def _status(
    client: UserClient, method: str, path: str, erasing: Erasing, stored: bytes
) -> int:
    key = object_key(erasing.record.instance.object_sha256)
    with transaction.atomic():
        with connection.execute_wrapper(erasing):
            answer = client.generic(method, path)
            b"".join(answer)
        transaction.set_rollback(True)
    if not default_storage.exists(key):
        default_storage.save(key, ContentFile(stored))
    return answer.status_code


def test_no_route_fails_when_its_patient_is_erased_meanwhile(record: Record) -> None:
    client = person(user=record.user)
    client.raise_request_exception = False
    with default_storage.open(object_key(record.instance.object_sha256)) as file:
        stored = file.read()
    faults: list[tuple[str, str, int, int]] = []
    tried = 0
    for route in routes(record):
        if route.path == route.unknown_path or route.name.endswith("_history"):
            continue
        if route.path.startswith("/admin/") and "patients" not in route.path:
            continue
        for method in READING:
            for number in range(1, MOST_QUERIES):
                erasing = Erasing(record, before_query=number)
                status = _status(client, method, route.path, erasing, stored)
                tried += 1
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    faults.append((method, route.name, number, status))
                if not erasing.erased:
                    break
    assert not faults, "\n".join(map(str, faults))
    assert tried > 200
