"""Auditors find out who saw a patient, apart from lists, and leave a trace."""

import uuid
from typing import Any

import pytest
from django.test import Client

from accounts import audit
from accounts.models import AuditEvent, Role, User
from diagnoses.pages import accesses
from patients.models import Patient
from tests.clients import html, person
from tests.factories import PatientFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditor() -> Client:
    return person(Role.AUDITOR)


@pytest.fixture
def patient() -> Patient:
    return PatientFactory(
        patient_id="MRN-4711", family_name="Wanderweg", name_folded="wanderweg"
    )


def _event(
    user: User, patient: Patient, action: str, kind: str = "study"
) -> AuditEvent:
    return audit.record(
        action=action,
        actor=user,
        source="web",
        object_kind="study",
        patients=[patient.pk],
    )


def _page(patient: Patient) -> str:
    return f"/accesses/{patient.pk}/"


@pytest.mark.parametrize("query", ["wander", "MRN-4711", "mrn-47"])
def test_a_patient_is_found_by_name_or_identifier(
    auditor: Client, patient: Patient, query: str
) -> None:
    PatientFactory(patient_id="X-1", family_name="Other", name_folded="other")
    page = html(auditor, f"/accesses/?q={query}")
    assert _page(patient) in page
    assert page.count("row-link") == 1


def test_a_key_leads_to_its_page_also_of_an_erased_patient(auditor: Client) -> None:
    key = uuid.uuid4()
    assert auditor.get("/accesses/", {"q": str(key)}).url == f"/accesses/{key}/"
    assert "erased or unknown" in html(auditor, f"/accesses/{key}/")


def test_openings_lists_and_changes_are_apart(
    auditor: Client, patient: Patient
) -> None:
    for name, action in (
        ("opener", "view"),
        ("exporter", "export"),
        ("lister", "list"),
        ("searcher", "search"),
        ("sender", "upload"),
    ):
        _event(UserFactory(username=name), patient, action)
    shown = {
        show: {
            name
            for name in ("opener", "exporter", "lister", "searcher", "sender")
            if name in html(auditor, f"{_page(patient)}?show={show}")
        }
        for show in ("", "lists", "changes")
    }
    assert shown == {
        "": {"opener", "exporter"},
        "lists": {"lister", "searcher"},
        "changes": {"sender"},
    }


def test_other_patients_events_are_not_shown(auditor: Client, patient: Patient) -> None:
    _event(UserFactory(username="elsewhere"), PatientFactory(), "view")
    assert "elsewhere" not in html(auditor, _page(patient))


def test_looking_is_recorded_with_the_patient(
    auditor: Client, patient: Patient
) -> None:
    auditor.get("/accesses/", {"q": "wander"})
    auditor.get(_page(patient))
    searched, seen = AuditEvent.objects.filter(
        actor_uuid=auditor.user.pk, subjects__patient_uuid=patient.pk
    ).order_by("at")
    assert (searched.action, seen.action) == ("search", "view")
    assert "wander" not in str(searched.detail)


def test_the_page_is_not_shown_without_its_event(
    auditor: Client, patient: Patient, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("broken_trail")
    for path in (_page(patient), "/accesses/?q=wander"):
        assert auditor.get(path).status_code == 503


@pytest.mark.parametrize("role", Role)
def test_only_auditors_and_administrators_open_the_pages(
    patient: Patient, role: Role
) -> None:
    client = person(role)
    expected = 200 if role in (Role.AUDITOR, Role.ADMIN) else 403
    for path in ("/accesses/", "/accesses/?q=wander", _page(patient)):
        assert client.get(path).status_code == expected
    assert ("/accesses/" in html(client, "/models/")) == (expected == 200)


def test_older_events_are_on_further_pages(
    auditor: Client, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesses, "EVENTS_A_PAGE", 2)
    made = [_event(UserFactory(username=f"u{n}-x"), patient, "view") for n in range(5)]
    shown, path = [], _page(patient)
    while path:
        answer = auditor.get(path)
        shown += [one.event.pk for one in answer.context["accesses"]]
        path = answer.context["older_url"]
    # Each look at a page is an opening, too, but a newer one.
    assert [key for key in shown if key in {event.pk for event in made}] == [
        event.pk for event in reversed(made)
    ]


def test_a_page_of_events_costs_a_fixed_number_of_queries(
    auditor: Client, patient: Patient, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        _event(UserFactory(username=f"u{number}-x"), patient, "view")
    with django_assert_max_num_queries(14):
        auditor.get(_page(patient))
