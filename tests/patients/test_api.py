"""The archive over REST: visibility, search, audit events."""

from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import AuditEvent, Role
from patients.models import Priority, StudyFlag
from tests.clients import program
from tests.factories import (
    DepartmentFactory,
    InstanceFactory,
    PatientFactory,
    SeriesFactory,
    StudyFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db
KINDS = ("patients", "studies", "series", "instances")


def rows(client: Client, kind: str, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/{kind}/?{urlencode(query)}")
    assert answer.status_code == 200, answer.content
    return answer.json()["results"]


def ids(client: Client, kind: str, **query: Any) -> set[str]:
    return {row["id"] for row in rows(client, kind, **query)}


def keys_of(instance: Any) -> dict[str, str]:
    series = instance.series
    return {
        "patients": str(series.study.patient_id),
        "studies": str(series.study_id),
        "series": str(series.pk),
        "instances": str(instance.pk),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_owner_and_admin_see_a_row_and_a_stranger_does_not(kind: str) -> None:
    key = keys_of(InstanceFactory())[kind]
    stranger = UserFactory(primary_department=DepartmentFactory(code="emergency"))
    for client, status in (
        (program(Role.CLINICIAN), 200),
        (program(Role.ADMIN), 200),
        (program(user=stranger), 404),
        (program(Role.DATA_SCIENTIST), 403),
        (Client(), 401),
    ):
        assert client.get(f"/api/v1/{kind}/{key}/").status_code == status
        if status == 404:
            assert rows(client, kind) == []
    unknown = program(Role.ADMIN).get(f"/api/v1/{kind}/{uuid4()}/")
    assert unknown.status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_the_api_of_records_is_read_only(kind: str) -> None:
    key = keys_of(InstanceFactory())[kind]
    client = program(Role.ADMIN)
    for method in ("post", "put", "patch", "delete"):
        answer = getattr(client, method)(f"/api/v1/{kind}/{key}/")
        assert answer.status_code in (403, 405)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_rows_are_audited_with_their_patients(kind: str) -> None:
    instance = InstanceFactory()
    keys, client = keys_of(instance), program()
    rows(client, kind)
    client.get(f"/api/v1/{kind}/{keys[kind]}/")
    listed, viewed = AuditEvent.objects.filter(action__in=("list", "view")).order_by(
        "at"
    )
    assert (listed.action, viewed.action) == ("list", "view")
    assert str(viewed.object_uuid) == keys[kind]
    for event in (listed, viewed):
        assert event.actor_uuid == client.user.pk
        subjects = [str(s.patient_uuid) for s in event.subjects.all()]
        assert subjects == [keys["patients"]]


def test_a_patient_has_the_values_of_the_record() -> None:
    study = StudyFactory(
        patient=PatientFactory(patient_id="77", family_name="Doe", given_name="John")
    )
    row = rows(program(), "patients")[0]
    assert row["id"] == str(study.patient_id)
    assert (row["patient_id"], row["issuer"]) == ("77", "LOCAL")
    assert (row["name"], row["identified"]) == ("DOE, John", True)
    assert (row["birth_date"], row["sex"]) == ("1960-02-29", "F")


def test_a_study_has_words_for_its_coded_values() -> None:
    StudyFactory(priority=Priority.STAT, flags=[StudyFlag.ACCESSION_SHARED])
    row = rows(program(), "studies")[0]
    assert row["priority"] == "stat"
    assert row["department"] == "radiology"
    assert row["flags"] == ["accession_shared"]


def test_only_a_single_instance_includes_its_header() -> None:
    instance = InstanceFactory(header={"00080070": {"vr": "LO", "Value": ["Maker"]}})
    client = program()
    assert "header" not in rows(client, "instances")[0]
    alone = client.get(f"/api/v1/instances/{instance.pk}/").json()
    assert alone["header"]["00080070"]["Value"] == ["Maker"]
    assert alone["study"] == str(instance.series.study_id)


def test_patients_are_found_by_name_identifier_and_accession_number() -> None:
    wanted = StudyFactory(
        patient=PatientFactory(
            patient_id="MRN-7", family_name="Müller", given_name="Jo"
        ),
        accession_number="ACC-7",
    )
    StudyFactory()
    client = program()
    for query in (
        {"search": "jo mul"},
        {"search": "MRN-7"},
        {"search": "acc-7"},
        {"name": "MULLER"},
        {"patient_id": "MRN-7"},
    ):
        assert ids(client, "patients", **query) == {str(wanted.patient_id)}, query
    assert ids(client, "patients", search="nobody") == set()
    event = AuditEvent.objects.filter(action="search").first()
    assert "nobody" not in str(event.detail), "the words may be a name"


def test_a_search_finds_visible_rows_only() -> None:
    StudyFactory(
        patient=PatientFactory(family_name="Hidden"),
        department=DepartmentFactory(code="emergency"),
    )
    assert rows(program(), "patients", search="hidden") == []
    assert rows(program(), "studies", search="hidden") == []


def test_studies_can_be_filtered() -> None:
    study = StudyFactory(
        accession_number="A-1",
        study_date="2024-02-29",
        priority=Priority.URGENT,
        flags=[StudyFlag.DEMOGRAPHICS_MISMATCH],
    )
    SeriesFactory(study=study, modality="CR")
    other = StudyFactory(study_date="2020-01-01")
    client, expected = program(), {str(study.pk)}
    for query in (
        {"accession_number": "A-1"},
        {"patient": study.patient_id},
        {"patient_id": study.patient.patient_id},
        {"study_instance_uid": study.study_instance_uid},
        {"study_date": "2024-02-29"},
        {"study_date_after": "2024-01-01"},
        {"priority": "urgent"},
        {"flag": "demographics_mismatch"},
        {"modality": "CR"},
        {"search": "A-1"},
    ):
        assert ids(client, "studies", **query) == expected, query
    assert ids(client, "studies", study_date_before="2021-01-01") == {str(other.pk)}
    assert ids(client, "studies", department="emergency") == set()
    assert len(ids(client, "studies", department="radiology")) == 2


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("studies", {"patient": "x"}),
        ("studies", {"priority": "asap"}),
        ("studies", {"flag": "x"}),
        ("studies", {"study_date": "soon"}),
        ("patients", {"search": "x" * 129}),
        ("patients", {"ordering": "password"}),
        ("instances", {"series": "x"}),
    ],
)
def test_an_invalid_filter_is_400(kind: str, query: dict[str, str]) -> None:
    answer = program().get(f"/api/v1/{kind}/?{urlencode(query)}")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_series_and_instances_can_be_filtered_by_study_and_patient() -> None:
    instance = InstanceFactory()
    InstanceFactory()
    keys, client = keys_of(instance), program()
    for kind in ("series", "instances"):
        for query in (
            {"study": keys["studies"]},
            {"patient": keys["patients"]},
        ):
            assert ids(client, kind, **query) == {keys[kind]}
    by_uid = {"sop_instance_uid": instance.sop_instance_uid}
    assert ids(client, "instances", **by_uid) == {keys["instances"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_makes_the_same_number_of_queries_for_any_rows(
    kind: str, django_assert_max_num_queries: Any
) -> None:
    InstanceFactory()
    client = program()
    rows(client, kind)
    InstanceFactory.create_batch(8)
    with django_assert_max_num_queries(14):
        assert len(rows(client, kind)) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_following_the_pages_lists_every_row_once(kind: str) -> None:
    InstanceFactory.create_batch(5)
    client, seen = program(), []
    url = f"/api/v1/{kind}/?page_size=2"
    while url:
        page = client.get(url).json()
        seen += [row["id"] for row in page["results"]]
        url = page["next"]
    assert len(seen) == len(set(seen)) == 5
