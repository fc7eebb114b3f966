"""Refused access leaves an event; refusals of unknown callers are counted."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import F
from django.test import Client

from accounts.access import Action
from accounts.models import AuditEvent, RefusalCount, Role
from accounts.refusals import counted
from accounts.sign_in.lock_out import name_digest
from accounts.tokens import issue_token
from patients.models import Study
from tests.clients import person
from tests.factories import DepartmentFactory, StudyFactory, UserFactory

pytestmark = pytest.mark.django_db


def refusals() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(outcome="refused").order_by("at", "pk"))


def a_minute_passes() -> None:
    RefusalCount.objects.update(since=F("since") - timedelta(minutes=2))


def test_a_forbidden_action_leaves_an_event() -> None:
    client = person(Role.AUDITOR)
    key = uuid4()
    assert client.post(f"/predictions/{key}/retry/").status_code == 403
    [event] = refusals()
    assert (event.action, event.source, event.object_kind) == (
        "access",
        "web",
        "prediction",
    )
    assert (event.actor_uuid, event.object_uuid) == (client.user.pk, key)
    assert event.detail == {"status": 403, "method": "POST", "route": "retry"}
    assert event.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "kind", "route"),
    [
        ("/studies/{key}/", "study", "study"),
        ("/api/v1/studies/{key}/", "study", "study-detail"),
    ],
)
def test_a_forbidden_and_an_unknown_key_leave_the_same_event(
    path: str, kind: str, route: str
) -> None:
    client = person(user=UserFactory(departments=[DepartmentFactory(code="elsewhere")]))
    hidden: Study = StudyFactory()
    for key in (hidden.pk, uuid4()):
        assert client.get(path.format(key=key)).status_code == 404
    first, second = refusals()
    assert first.object_uuid == hidden.pk
    for event in (first, second):
        assert (event.object_kind, event.subjects.count()) == (kind, 0)
        assert event.detail == {"status": 404, "method": "GET", "route": route}


def test_a_page_of_the_admin_site_leaves_an_event() -> None:
    client, key = person(Role.CLINICIAN), uuid4()
    path = f"/admin/patients/study/{key}/change/"
    assert client.get(path).status_code == 403
    [event] = refusals()
    assert (event.source, event.object_kind, event.object_uuid) == (
        "admin",
        "study",
        key,
    )


def test_a_token_without_the_scope_leaves_an_event() -> None:
    user = UserFactory()
    _, text = issue_token(user, scopes=[Action.READ_MODELS])
    client = Client(headers={"Authorization": f"Token {text}"})
    assert client.get("/api/v1/patients/").status_code == 403
    assert refusals()[0].actor_uuid == user.pk


def test_an_address_that_is_no_page_leaves_none() -> None:
    assert person().get("/no-such-page").status_code == 404
    assert refusals() == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/studies/", {}),
        ("/api/v1/studies/", {}),
        ("/api/v1/studies/", {"Authorization": "Token x"}),
        ("/admin/", {}),
        ("/", {"HX-Request": "true"}),
    ],
)
def test_callers_who_are_not_signed_in_leave_one_event_and_a_count(
    path: str, headers: dict[str, str]
) -> None:
    client = Client(headers=headers)
    for _ in range(5):
        assert client.get(path).status_code in (302, 401)
    [first] = refusals()
    assert (first.actor_uuid, first.actor_name) == (None, "")
    assert first.address == "127.0.0.1"
    assert counted.flush() == 0
    a_minute_passes()
    assert counted.flush() == 1
    _, second = refusals()
    assert (second.action, second.address) == ("access", "127.0.0.1")
    assert second.detail["further"] == 4
    assert not RefusalCount.objects.exists()


def test_the_next_refusal_of_any_address_writes_the_counts_that_are_over() -> None:
    for _ in range(2):
        Client().get("/studies/")
    a_minute_passes()
    Client(REMOTE_ADDR="192.0.2.7").get("/studies/")
    assert [event.detail.get("further") for event in refusals()] == [None, 1, None]


def test_a_single_refusal_is_one_event() -> None:
    Client().get("/studies/")
    a_minute_passes()
    assert counted.flush() == 0
    assert len(refusals()) == 1


def test_addresses_of_one_ipv6_network_are_counted_together() -> None:
    for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        Client(REMOTE_ADDR=host).get("/studies/")
    a_minute_passes()
    counted.flush()
    assert [event.detail.get("network") for event in refusals()] == [
        None,
        None,
        "2001:db8::/64",
    ]


def test_failed_sign_ins_of_unknown_names_are_counted_together() -> None:
    for number in range(5):
        Client().post(
            "/sign-in/", {"username": f"unknown-{number}", "password": "wrong"}
        )
    [event] = refusals()
    assert (event.action, event.actor_name) == ("sign_in", "")
    assert event.detail["name_digest"] == name_digest("unknown-0")
    a_minute_passes()
    counted.flush()
    assert refusals()[-1].detail["further"] == 4


def test_failed_sign_ins_of_each_known_name_are_counted_apart() -> None:
    for name in ("alice", "bob"):
        UserFactory(username=name)
        for _ in range(3):
            credentials = {"username": name, "password": "wrong"}
            answer = Client().post("/api/v1/auth/token/", credentials)
            assert answer.status_code == 401
    a_minute_passes()
    counted.flush()
    events = [(e.actor_name, e.detail.get("further")) for e in refusals()]
    assert sorted(events, key=str) == [
        ("alice", 2),
        ("alice", None),
        ("bob", 2),
        ("bob", None),
    ]


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_refusal_that_cannot_be_recorded_is_not_answered(
    signed_in: bool, request: pytest.FixtureRequest
) -> None:
    client = person() if signed_in else Client()
    request.getfixturevalue("broken_trail")
    assert client.get(f"/studies/{uuid4()}/").status_code == 503


def test_open_pages_leave_no_event() -> None:
    for path in ("/sign-in/", "/healthz"):
        assert Client().get(path).status_code == 200
    assert not AuditEvent.objects.exists()
