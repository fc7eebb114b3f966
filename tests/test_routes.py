"""Every route needs sign-in, and shows no patient without an audit event."""

from http import HTTPStatus

import pytest
from django.http import HttpResponse
from django.test import Client

from accounts.models import AuditEvent, Role
from tests.clients import person, program
from tests.factories import UserFactory
from tests.routes import Record, make_record, routes

pytestmark = pytest.mark.django_db

OPEN = {"sign-in", "auth-token", "healthz", "readyz"}
# These show the patient of the record. Others may too: the walk finds them.
SHOW_A_PATIENT = {
    "worklist",
    "patient",
    "accesses-of-patient",
    "study",
    "image",
    "heat-layer",
    "patient-list",
    "patient-detail",
    "study-list",
    "study-detail",
    "series-list",
    "series-detail",
    "instance-list",
    "instance-detail",
    "upload-list",
    "upload-detail",
    "prediction-list",
    "prediction-detail",
    "prediction-heatmap",
    "worklist-entry-list",
    "worklist-entry-detail",
    "admin:patients_patient_changelist",
    "admin:patients_patient_change",
    "admin:patients_study_changelist",
    "admin:patients_study_change",
    "admin:patients_instance_change",
    "admin:patients_upload_changelist",
    "admin:patients_upload_change",
    "admin:diagnoses_prediction_changelist",
    "admin:diagnoses_prediction_change",
}


@pytest.fixture
def record() -> Record:
    return make_record(UserFactory(role=Role.ADMIN))


def _shows_the_patient(answer: HttpResponse, record: Record) -> bool:
    """Return whether an answer has words, keys or pictures of the patient."""
    if answer.status_code != HTTPStatus.OK:
        return False
    if answer.headers["Content-Type"] == "image/png":
        return True
    content = b"".join(answer) if answer.streaming else answer.content
    marks = record.marks
    if answer.headers["Content-Type"].startswith("application/json"):
        # In JSON, the key alone identifies the patient.
        marks += (str(record.study.patient_id).encode(),)
    return any(mark in content for mark in marks)


def test_signed_out_requests_open_no_page(record: Record) -> None:
    strangers = Client(raise_request_exception=False)
    walked = 0
    for route in routes(record):
        if route.name in OPEN:
            continue
        for method in (strangers.get, strangers.post, strangers.delete):
            answer = method(route.path)
            request_line = f"{method.__name__} {route.path}"
            if route.path.startswith("/api/"):
                assert answer.status_code == HTTPStatus.UNAUTHORIZED, request_line
            else:
                assert answer.status_code == HTTPStatus.FOUND, request_line
                assert answer.headers["Location"].startswith("/sign-in/"), request_line
            assert not any(mark in answer.content for mark in record.marks), (
                request_line
            )
        walked += 1
    assert walked > 100


@pytest.mark.parametrize("path", ["/no-such-page", "/api/v1/no-such-thing/", "/adminx"])
def test_signed_out_missing_pages_answer_like_existing_ones(path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == (401 if path.startswith("/api/") else 302)


@pytest.mark.parametrize("header", ["Token x", "Token " + "a" * 64, "Basic eDp5", "x"])
def test_an_unknown_token_is_refused(record: Record, header: str) -> None:
    stranger = Client(headers={"Authorization": header})
    for route in routes(record):
        if route.path.startswith("/api/") and route.name not in OPEN:
            assert stranger.get(route.path).status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.slow
def test_every_page_with_patient_data_leaves_an_audit_event(record: Record) -> None:
    client = person(user=record.user)
    patient, shown = record.study.patient_id, set()
    for route in routes(record):
        before = set(AuditEvent.objects.values_list("pk", flat=True))
        answer = client.get(route.path)
        assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, route
        if not _shows_the_patient(answer, record):
            continue
        shown.add(route.name)
        new = AuditEvent.objects.exclude(pk__in=before)
        assert new.filter(
            actor_uuid=record.user.pk,
            actor_name=record.user.username,
            outcome="success",
            subjects__patient_uuid=patient,
        ).exists(), route
        assert all(event.action and event.address for event in new), route
    assert shown >= SHOW_A_PATIENT, SHOW_A_PATIENT - shown


@pytest.mark.slow
def test_a_page_whose_view_cannot_be_audited_is_not_shown(
    record: Record, request: pytest.FixtureRequest
) -> None:
    client = person(user=record.user)
    client.raise_request_exception = False
    shown = [
        r for r in routes(record) if _shows_the_patient(client.get(r.path), record)
    ]
    assert {route.name for route in shown} >= SHOW_A_PATIENT
    request.getfixturevalue("broken_trail")
    for route in routes(record):
        answer = client.get(route.path)
        content = b"" if answer.streaming else answer.content
        assert not any(mark in content for mark in record.marks), route
        if route in shown:
            assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE, route
            assert answer.headers["Retry-After"], route


@pytest.mark.slow
@pytest.mark.parametrize("role", [Role.DATA_SCIENTIST, Role.AUDITOR])
def test_roles_get_no_images_or_names_that_they_may_not_see(
    record: Record, role: Role
) -> None:
    client = person(role)
    for route in routes(record):
        answer = client.get(route.path)
        if answer.status_code != HTTPStatus.OK:
            continue
        assert answer.headers["Content-Type"] != "image/png", route
        if role == Role.DATA_SCIENTIST:
            assert not _shows_the_patient(answer, record), route


@pytest.mark.slow
@pytest.mark.parametrize(
    "role", [r for r in Role if r not in (Role.ADMIN, Role.AUDITOR)]
)
def test_the_admin_site_is_closed_to_other_roles(record: Record, role: Role) -> None:
    client = person(role)
    for route in routes(record):
        if not route.path.startswith("/admin/") or route.name == "admin:login":
            continue
        answer = client.get(route.path)
        if answer.status_code == HTTPStatus.FOUND:
            onward = "/admin/" if route.name == "admin:logout" else "/admin/login/"
            assert answer.headers["Location"].startswith(onward), route
        else:
            assert answer.status_code == HTTPStatus.FORBIDDEN, route
    assert client.get("/admin/login/").status_code == HTTPStatus.FORBIDDEN


def test_the_auditor_reads_only_the_audit_trail_on_the_admin_site(
    record: Record,
) -> None:
    client = person(Role.AUDITOR)
    for route in routes(record):
        if route.name.startswith("admin:") and route.name.endswith("_changelist"):
            expected = (
                200 if route.name == "admin:accounts_auditevent_changelist" else 403
            )
            assert client.get(route.path).status_code == expected, route
    event = AuditEvent.objects.order_by("at").first()
    page = client.get(f"/admin/accounts/auditevent/{event.pk}/change/")
    assert page.status_code == 200
    assert b'name="_save"' not in page.content


@pytest.mark.slow
@pytest.mark.parametrize("role", Role)
def test_every_role_sees_the_schema_and_the_docs_page_also_by_token(role: Role) -> None:
    for client in (person(role), program(role)):
        assert client.get("/api/v1/docs/").status_code == 200
        schema = client.get("/api/v1/schema/?format=json")
        assert schema.status_code == 200
        assert "/api/v1/uploads/" in schema.json()["paths"]
