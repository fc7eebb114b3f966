"""Filters and polls never tell whether a key or a name exists."""

from uuid import uuid4

import pytest

from accounts.models import AuditEvent
from tests.clients import person
from tests.factories import DepartmentFactory, StudyFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path", ["studies/?patient=", "series/?study=", "instances/?series="]
)
def test_an_unknown_and_a_hidden_key_leave_an_empty_list(path: str) -> None:
    hidden = StudyFactory()
    client = person(user=UserFactory(departments=[DepartmentFactory(code="other")]))
    for key in (hidden.patient_id, hidden.pk, uuid4()):
        answer = client.get(f"/api/v1/{path}{key}")
        assert (answer.status_code, answer.json()["results"]) == (200, [])
    assert AuditEvent.objects.filter(action="search").count() == 3


def test_a_poll_of_the_worklist_does_not_search() -> None:
    study = StudyFactory(patient__name_folded="wanderweg")
    client = person(user=UserFactory(departments=[study.department]))
    answers = [
        client.get(f"/worklist/changes/?q={text}&state=x").headers["HX-Trigger"]
        for text in ("wanderweg", "nobody")
    ]
    assert answers[0] == answers[1]
