"""Retries by page, REST and admin: one audit event with the new run."""

import pytest

from accounts.models import AuditEvent, Role
from diagnoses.models import ModelVersion, Prediction
from tests.clients import person, program
from tests.diagnoses.fakes import image_row
from tests.factories import (
    DepartmentFactory,
    ModelVersionFactory,
    PredictionFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed(chest_model: ModelVersion) -> Prediction:
    run: Prediction = PredictionFactory(failed=True, model_version=chest_model)
    return run


def test_a_retry_on_the_page_queues_a_run_and_is_audited(failed: Prediction) -> None:
    client = person(Role.TECHNOLOGIST)
    answer = client.post(f"/predictions/{failed.pk}/retry/")
    assert answer.status_code == 302
    again = Prediction.objects.get(run=2)
    event = AuditEvent.objects.get(action="retry")
    assert (event.source, event.object_uuid) == ("web", again.pk)
    assert event.actor_uuid == client.user.pk
    assert [subject.patient_uuid for subject in event.subjects.all()] == [
        failed.instance.series.study.patient_id
    ]


def test_a_second_retry_on_the_page_queues_nothing(failed: Prediction) -> None:
    client = person(Role.TECHNOLOGIST)
    for _ in range(2):
        answer = client.post(f"/predictions/{failed.pk}/retry/")
    assert answer.status_code == 409
    assert b"already been run again" in answer.content
    assert Prediction.objects.count() == 2


def test_a_retry_needs_the_role_and_the_department(
    failed: Prediction,
) -> None:
    path = f"/predictions/{failed.pk}/retry/"
    assert person(Role.CLINICIAN).post(path).status_code == 403
    elsewhere = UserFactory(departments=[DepartmentFactory(code="emergency")])
    assert person(user=elsewhere).post(path).status_code == 404
    assert Prediction.objects.count() == 1


def test_a_retry_that_cannot_be_audited_queues_nothing(
    failed: Prediction, request: pytest.FixtureRequest
) -> None:
    client = person(Role.TECHNOLOGIST)
    request.getfixturevalue("broken_trail")
    assert client.post(f"/predictions/{failed.pk}/retry/").status_code == 503
    assert Prediction.objects.count() == 1


def successor_of(version: ModelVersion) -> ModelVersion:
    """Retire a version and return the one in use in its place."""
    ModelVersion.objects.filter(pk=version.pk).update(state="retired")
    return ModelVersionFactory(
        name=version.name,
        version="2",
        state="active",
        card=version.card | {"version": "2"},
        weights_sha256="2" * 64,
    )


def test_a_retry_of_a_retired_version_uses_the_active_one(
    chest_model: ModelVersion,
) -> None:
    run = PredictionFactory(
        failed=True, model_version=chest_model, instance=image_row()
    )
    successor = successor_of(chest_model)
    client = person(Role.TECHNOLOGIST)
    assert client.post(f"/predictions/{run.pk}/retry/").status_code == 302
    again = Prediction.objects.exclude(pk=run.pk).get()
    assert (again.model_version, again.status) == (successor, "queued")
    assert client.post(f"/predictions/{run.pk}/retry/").status_code == 409
    assert Prediction.objects.count() == 2


def test_a_retired_version_without_a_successor_cannot_be_retried(
    failed: Prediction,
) -> None:
    ModelVersion.objects.update(state="retired")
    answer = person(Role.TECHNOLOGIST).post(f"/predictions/{failed.pk}/retry/")
    assert answer.status_code == 409
    assert b"is retired" in answer.content
    assert Prediction.objects.count() == 1


def test_a_retry_over_rest_returns_the_run_of_the_active_version(
    chest_model: ModelVersion,
) -> None:
    # The image is of a kind that the version in use turns away: it ends at once.
    run = PredictionFactory(
        failed=True, model_version=chest_model, instance=image_row(colour=True)
    )
    successor_of(chest_model)
    answer = program(Role.TECHNOLOGIST).post(f"/api/v1/predictions/{run.pk}/retry/")
    assert answer.status_code == 202
    assert answer.json()["status"] == "rejected"
    assert answer.json()["finished_at"][:2] == "20"
