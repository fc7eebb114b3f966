"""The worklist page: rows, order, filters, number of queries, audit events."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError
from django.test import Client

from accounts.audit import AuditAction
from accounts.models import AuditEvent, AuditSubject, Role
from diagnoses.models import WorklistEntry
from diagnoses.pages.worklist import entries, filters
from diagnoses.worklist import refresh_entry
from patients.models import Instance, Priority, Study
from tests.clients import html, person
from tests.diagnoses.fakes import installed_model
from tests.diagnoses.pages.page_rows import (
    NOON,
    failed,
    read,
    rejected,
    study_with_image,
    waiting,
)
from tests.factories import (
    DepartmentFactory,
    PatientFactory,
    PredictionFactory,
    StudyFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


def names(page: str) -> list[str]:
    """Return the patients in the order of the rows."""
    return re.findall(r'class="row-link"[^>]*><b>([^<]+)</b>', page)


def many_studies(count: int, *, priority: int = Priority.ROUTINE) -> list[Study]:
    """Return studies that arrived in pairs at the same moment, with their lines."""
    patient = PatientFactory()
    studies = [StudyFactory(patient=patient, priority=priority) for _ in range(count)]
    WorklistEntry.objects.bulk_create(
        WorklistEntry(
            study=study,
            department=study.department,
            priority=priority,
            received_at=NOON - timedelta(minutes=place // 2),
            status="rejected",
            images=1,
            images_waiting=0,
            images_unread=1,
        )
        for place, study in enumerate(studies)
    )
    return studies


def test_studies_are_sorted_by_priority_and_then_longest_waiting_first(
    client: Client,
) -> None:
    for family, priority, minutes in (
        ("Old", Priority.ROUTINE, 90),
        ("New", Priority.ROUTINE, 1),
        ("Urgent", Priority.URGENT, 60),
        ("Stat", Priority.STAT, 30),
    ):
        waiting(
            study_with_image(
                priority=priority,
                minutes_ago=minutes,
                patient=PatientFactory(family_name=family, given_name=""),
            )
        )

    assert names(html(client, "/")) == ["STAT", "URGENT", "OLD", "NEW"]
    assert names(html(client, "/?sort=newest")) == ["NEW", "STAT", "URGENT", "OLD"]


def test_positive_findings_are_flagged_and_normal_is_not(client: Client) -> None:
    read(study_with_image(), Tuberculosis=0.81)
    read(study_with_image(minutes_ago=1), Normal=0.97)

    page = html(client, "/")

    assert "<b>Tuberculosis flagged by 1 of 1 · highest 0.81</b>" in page
    assert "<span>Nothing flagged by 1 model · highest Normal 0.97</span>" in page
    assert page.count("#filled-square") == 2  # one in the filter
    assert "Decision support, not for diagnosis" in page
    assert "What the models can and cannot tell" in page


def test_a_study_without_a_score_has_a_reason_and_no_bar(client: Client) -> None:
    rejected(study_with_image(), "lateral_view", "A lateral view.")
    failed(study_with_image(minutes_ago=1))
    waiting(study_with_image(minutes_ago=2))

    page = html(client, "/")

    assert "Lateral view" in page
    assert "stored and shown, not scored" in page
    assert "the model could not analyse it" in page
    assert "waiting for the model" in page
    assert '<svg class="bar' not in page


def test_the_shown_reason_is_that_of_the_default_model(
    client: Client,
) -> None:
    image = study_with_image()
    rejected(image, "rotated", "Turned by 90 degrees.")
    PredictionFactory(
        instance=image,
        model_version=installed_model("another-model"),
        status="rejected",
        finished_at=NOON,
        reason_code="unlike_training_images",
    )
    refresh_entry(image.series.study_id)
    page = html(client, "/")
    assert "Rotated" in page
    assert "Unlike the training images" not in page


def test_each_filter_shows_and_counts_its_studies(client: Client) -> None:
    read(study_with_image(priority=Priority.STAT), Tuberculosis=0.9)
    read(study_with_image(priority=Priority.URGENT), Normal=0.9)
    rejected(study_with_image(), "wrong_body_part", "HAND")
    waiting(study_with_image())

    page = html(client, "/")
    counted = dict(
        re.findall(
            r'href="/\?show=(\w+)"[^>]*>.*?<span class="number">(\d+)', page, re.DOTALL
        )
    )

    assert counted == {
        "waiting": "1",
        "stat": "1",
        "urgent": "1",
        "flagged": "1",
        "unread": "1",
        "today": "0",
    }
    for key, count in counted.items():
        assert len(names(html(client, f"/?show={key}"))) == int(count)


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["priority", "newest"])
def test_following_older_pages_lists_every_study_once(
    client: Client, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr(entries, "ROWS_A_PAGE", 5)
    expected = {s.pk for s in many_studies(9)}
    expected |= {s.pk for s in many_studies(6, priority=Priority.URGENT)}
    met: list[str] = []
    address = f"/?sort={sort}"
    while address:
        page = html(client, address)
        met += re.findall(r'class="row-link" href="/studies/([0-9a-f-]+)/', page)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = older.group(1).replace("&amp;", "&") if older else ""

    assert len(met) == len(set(met)) == 15
    assert {str(key) for key in expected} == set(met)


def test_a_page_that_does_not_exist_is_refused(client: Client) -> None:
    for values in (
        "nonsense",
        ["n", "9", NOON.isoformat(), str(uuid4())],
        ["n", "0", "now", str(uuid4())],
        ["n", "0", "2026-01-01T00:00:00", str(uuid4())],
        ["n", None, NOON.isoformat(), str(uuid4())],
        ["p", "0", NOON.isoformat(), str(uuid4())],
        ["n", NOON.isoformat(), str(uuid4())],
        "[" * 2000,
    ):
        text = values if isinstance(values, str) else json.dumps(values)
        cursor = base64.urlsafe_b64encode(text.encode()).decode()
        assert client.get("/", {"after": text}).status_code == 400
        assert client.get("/", {"after": cursor}).status_code == 400


def test_counts_have_an_upper_limit(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_studies(12)
    monkeypatch.setattr(filters, "MOST_COUNTED", 10)

    assert "9+" in html(client, "/")


def test_a_page_makes_the_same_number_of_queries_for_any_rows(
    client: Client, django_assert_max_num_queries: Callable
) -> None:
    read(study_with_image(), Tuberculosis=0.9)
    rejected(study_with_image(), "lateral_view", "A lateral view.")
    with django_assert_max_num_queries(30) as few:
        html(client, "/")
    for number in range(4):
        read(study_with_image(minutes_ago=number), Tuberculosis=0.9)
        rejected(study_with_image(minutes_ago=number), "lateral_view", "A lateral.")

    with django_assert_max_num_queries(len(few.captured_queries)):
        assert len(names(html(client, "/"))) == 10


def test_other_departments_are_neither_shown_nor_counted(client: Client) -> None:
    waiting(study_with_image(department=DepartmentFactory(code="elsewhere")))

    page = html(client, "/")

    assert names(page) == []
    assert "No studies yet" in page


def test_the_worklist_is_audited_with_its_patients(
    client: Client,
) -> None:
    images = [study_with_image(), study_with_image()]
    for image in images:
        waiting(image)

    html(client, "/")

    event = AuditEvent.objects.get(action=AuditAction.LIST)
    assert event.actor_uuid == client.user.pk
    assert event.source == "web"
    subjects = event.subjects.values_list("patient_uuid", flat=True)
    assert set(subjects) == {image.series.study.patient_id for image in images}


def test_a_worklist_that_cannot_be_audited_is_not_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(study_with_image(patient=PatientFactory(family_name="Hidden")))

    def refuse(*args: object, **kwargs: object) -> None:
        raise DatabaseError("the audit trail is full")

    monkeypatch.setattr(AuditSubject.objects, "bulk_create", refuse)
    answer = client.get("/")

    assert answer.status_code == 503
    assert b"HIDDEN" not in answer.content


@pytest.mark.parametrize("query", ["mülle", "MRN-77", "acc-1", "ACC-10"])
def test_search_finds_by_name_identifier_and_accession_number(
    client: Client, query: str
) -> None:
    patient = PatientFactory(
        family_name="Müller", name_folded="muller jorg", patient_id="MRN-7700"
    )
    waiting(study_with_image(patient=patient, accession_number="ACC-10"))
    waiting(study_with_image())

    assert names(html(client, f"/?q={query}")) == ["MÜLLER, Given"]


def test_a_search_is_audited_without_its_text(client: Client) -> None:
    waiting(study_with_image(patient=PatientFactory(family_name="Sought")))

    page = html(client, "/?q=nobody-of-this-name")

    assert "No matching studies" in page
    event = AuditEvent.objects.get(action=AuditAction.SEARCH)
    assert "nobody" not in str(event.detail)


def test_polling_for_changes_names_no_patient_and_is_not_audited(
    client: Client,
) -> None:
    waiting(study_with_image())
    match = re.search(r'hx-get="(/worklist/changes/[^"]+)"', html(client, "/"))
    assert match
    address = match.group(1).replace("&amp;", "&")
    events = AuditEvent.objects.count()

    same = client.get(address)
    read(study_with_image(minutes_ago=5), Tuberculosis=0.9)
    changed = client.get(address)

    assert (same.status_code, same.content, "HX-Trigger" in same) == (204, b"", False)
    assert (changed.content, changed["HX-Trigger"]) == (b"", "worklist-changed")
    assert AuditEvent.objects.count() == events


def test_markup_in_a_name_is_escaped(client: Client) -> None:
    patient = PatientFactory(family_name="<script>alert(1)</script>", given_name="")
    waiting(study_with_image(patient=patient))

    page = html(client, "/")

    assert "<SCRIPT>" not in page
    assert "&lt;SCRIPT&gt;" in page


def test_roles_without_results_see_studies_without_results() -> None:
    auditor = person(user=UserFactory(role=Role.AUDITOR))
    read(study_with_image(), Tuberculosis=0.9)

    page = html(auditor, "/")

    assert "Tuberculosis" not in page
    assert "Flagged by model" not in page
    assert len(names(page)) == 1


def test_roles_without_patients_are_redirected_to_the_models() -> None:
    waiting(study_with_image())
    client = person(Role.DATA_SCIENTIST)

    assert client.get("/").headers["Location"] == "/models/"
    assert client.get("/worklist/changes/").status_code == 403
    assert not AuditEvent.objects.filter(action=AuditAction.LIST).exists()


def test_a_study_of_several_images_names_the_image_of_its_finding(
    client: Client,
) -> None:
    frontal = study_with_image(image={"view_position": "PA"})
    lateral = Instance.objects.get(pk=frontal.pk)
    lateral.pk, lateral._state.adding = uuid4(), True
    lateral.sop_instance_uid, lateral.view_position = "2.25.77", "LL"
    lateral.save()
    rejected(lateral, "lateral_view", "A lateral view.")
    Instance.objects.filter(pk=lateral.pk).update(instance_number=1)
    Instance.objects.filter(pk=frontal.pk).update(instance_number=9)
    read(frontal, Tuberculosis=0.9)

    page = html(client, "/")
    opened = html(client, f"/studies/{frontal.series.study_id}/")

    assert "on image 2" in page
    assert re.search(r'aria-current="page">2 PA<', opened)
    assert "2 images · 1 not scored" in page
