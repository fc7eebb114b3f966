"""Which predictions are queued for an image, and the reason if there are none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date

import pytest
from django.db import transaction

from accounts.errors import Conflict, InvalidInput
from diagnoses import runs
from diagnoses.governance.versions import check_requested_model
from diagnoses.leases import Claimed, claim
from diagnoses.models import ModelVersion, Prediction, WorklistEntry
from diagnoses.runs import fail, queue_predictions, set_priority
from diagnoses.signals import prediction_finished
from diagnoses.worker.retries import retry_prediction
from patients.models import Instance, Origin, Priority
from patients.signals import instance_stored
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import header, image_row, installed_model
from tests.factories import PatientFactory, StudyFactory, UserFactory

Capture = Callable[..., AbstractContextManager[list[Callable[[], object]]]]


def test_an_image_is_queued_for_the_matching_model(chest_model: ModelVersion) -> None:
    study = StudyFactory(priority=Priority.STAT)
    image = image_row(series__study=study)
    [row] = queue_predictions(image)
    row.refresh_from_db()
    assert (row.status, row.model_version) == ("queued", chest_model)
    assert (row.run, row.attempt, row.priority) == (1, 0, Priority.STAT)


def test_the_receiver_queues_runs_and_sends_hints_after_the_commit(
    chest_model: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Capture,
) -> None:
    hints: list[int] = []
    monkeypatch.setattr(runs, "send_hints", hints.append)
    image = image_row()
    with django_capture_on_commit_callbacks(execute=True):
        instance_stored.send(
            sender=Instance,
            instance=image,
            created=True,
            requested_model="",
            actor=None,
        )
        assert Prediction.objects.filter(instance=image, status="queued").count() == 1
        assert hints == []
    assert hints == [1]


@pytest.mark.parametrize(
    "broken",
    [
        {"00280008": {"vr": "IS", "Value": ["abc"]}},
        {"00200020": {"vr": "US", "Value": [1]}},
        {"00540220": {"vr": "LO", "Value": ["PA"]}},
        {"00540220": {"vr": "SQ", "items": 3}},
        {"00540220": {"vr": "SQ", "Value": [{"00080104": {"vr": "US", "Value": [1]}}]}},
        {"00540220": {"vr": "SQ", "Value": [{"00200013": {"vr": "IS", "Value": "a"}}]}},
        {"0008103E": {"vr": "UR", "Value": ["a b"]}},
    ],
)
def test_a_broken_header_value_does_not_stop_queueing(
    chest_model: ModelVersion, broken: dict[str, object]
) -> None:
    image = image_row(header=header() | broken)
    [row] = queue_predictions(image)
    row.refresh_from_db()
    assert row.status == "queued"


def test_an_unreachable_broker_does_not_fail_an_upload(
    chest_model: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Capture,
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("diagnoses.hints.current_app.send_task", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        queue_predictions(image_row())
    assert Prediction.objects.get().status == "queued"


def test_a_duplicate_queues_nothing(chest_model: ModelVersion) -> None:
    image = image_row()
    queue_predictions(image)
    assert queue_predictions(image, created=False) == []
    assert Prediction.objects.count() == 1


def test_a_duplicate_queues_a_named_model_that_has_no_run(
    chest_model: ModelVersion,
) -> None:
    image = image_row()
    queue_predictions(image)
    other = installed_model("other-net")
    for _ in range(2):
        queue_predictions(image, requested_model="other-net", created=False)
    named = Prediction.objects.filter(model_version=other)
    assert named.count() == 1
    assert Prediction.objects.count() == 2


def test_every_matching_active_model_reads_the_image(
    chest_model: ModelVersion,
) -> None:
    installed_model("other-net")
    installed_model("brain-net", modalities=["MR"], body_parts=["BRAIN"])
    installed_model("retired-net", state="retired")
    names = [row.model_version.name for row in queue_predictions(image_row())]
    assert names == [DEFAULT_MODEL, "other-net"]


@pytest.mark.parametrize(
    ("values", "reason_code"),
    [
        ({"Modality": "CT"}, "wrong_modality"),
        ({"BodyPartExamined": "KNEE"}, "wrong_body_part"),
        ({"PatientSpeciesDescription": "Canine"}, "wrong_species"),
        ({"ViewPosition": "LL"}, "lateral_view"),
    ],
)
def test_an_image_without_a_matching_model_is_rejected_with_a_reason(
    chest_model: ModelVersion, values: dict[str, str], reason_code: str
) -> None:
    [row] = queue_predictions(image_row(header=header(**values)))
    row.refresh_from_db()
    assert (row.status, row.reason_code) == ("rejected", reason_code)
    assert row.model_version is None
    assert row.reason_text.endswith(".")
    assert row.reason == "", "a code and its parameters are stored, no sentence"
    assert row.finished_at is not None


def test_a_colour_photograph_is_rejected(chest_model: ModelVersion) -> None:
    [row] = queue_predictions(image_row(colour=True, picture=True))
    assert row.reason_code == "colour_image"


def test_an_object_without_pixels_is_rejected(chest_model: ModelVersion) -> None:
    [row] = queue_predictions(image_row(rows=None, columns=None, frames=None))
    assert row.reason_code == "no_pixels"


def test_without_an_active_model_the_image_is_rejected(db: None) -> None:
    [row] = queue_predictions(image_row())
    assert (row.status, row.reason_code) == ("rejected", "no_model")


def test_a_named_model_that_does_not_match_rejects_the_image(
    chest_model: ModelVersion,
) -> None:
    image = image_row(header=header(Modality="CT"))
    [row] = queue_predictions(image, requested_model=DEFAULT_MODEL)
    assert (row.status, row.model_version) == ("rejected", chest_model)


def test_a_picture_is_read_as_a_chest_image(chest_model: ModelVersion) -> None:
    installed_model("brain-net", modalities=["MR"], body_parts=["BRAIN"])
    image = image_row(header=header(Modality="OT", BodyPartExamined=""), picture=True)
    [row] = queue_predictions(image)
    assert (row.status, row.model_version) == ("queued", chest_model)


def test_a_picture_is_read_by_the_named_model(chest_model: ModelVersion) -> None:
    brain = installed_model("brain-net", modalities=["MR"], body_parts=["BRAIN"])
    image = image_row(header=header(Modality="OT", BodyPartExamined=""), picture=True)
    [row] = queue_predictions(image, requested_model="brain-net")
    assert (row.status, row.model_version) == ("queued", brain)


def test_an_unknown_model_is_an_error(chest_model: ModelVersion) -> None:
    installed_model("retired-net", state="retired")
    check_requested_model("")
    check_requested_model(DEFAULT_MODEL)
    for name in ("retired-net", "no-such-net"):
        with pytest.raises(InvalidInput, match=DEFAULT_MODEL) as caught:
            check_requested_model(name)
        assert caught.value.reason_code == "unknown_model"
    with pytest.raises(InvalidInput):
        queue_predictions(image_row(), requested_model="no-such-net")


def test_objects_made_by_chestx_are_not_read(chest_model: ModelVersion) -> None:
    assert queue_predictions(image_row(origin=Origin.OURS)) == []


def test_a_failing_receiver_rolls_everything_back(chest_model: ModelVersion) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("outbox")

    prediction_finished.connect(refuse)
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            queue_predictions(image_row(header=header(Modality="CT")))
    finally:
        prediction_finished.disconnect(refuse)
    assert not Prediction.objects.exists()


def test_raising_the_priority_of_a_study_raises_its_waiting_runs(
    chest_model: ModelVersion,
) -> None:
    study = StudyFactory()
    images = [image_row(series__study=study) for _ in range(3)]
    for image in images:
        queue_predictions(image)
    [at_work] = claim("worker-1")
    set_priority(study, priority=Priority.STAT)
    study.refresh_from_db()
    waiting = Prediction.objects.filter(status="queued")
    assert study.priority == Priority.STAT
    assert {row.priority for row in waiting} == {Priority.STAT}
    assert Prediction.objects.get(pk=at_work.prediction_id).priority == 0
    assert WorklistEntry.objects.get().priority == Priority.STAT


def test_a_duplicate_of_higher_priority_raises_waiting_runs(
    chest_model: ModelVersion,
) -> None:
    image = image_row()
    queue_predictions(image)
    study = image.series.study
    study.priority = Priority.URGENT
    study.save()
    queue_predictions(image, created=False)
    assert Prediction.objects.get().priority == Priority.URGENT


def test_a_failed_run_is_retried_once(claimed: Claimed) -> None:
    fail(claimed, reason_code="worker_lost")
    failed = Prediction.objects.get(pk=claimed.prediction_id)
    person = UserFactory()
    again = retry_prediction(failed, actor=person)
    assert (again.run, again.status, again.requested_by) == (2, "queued", person)
    with pytest.raises(Conflict) as caught:
        retry_prediction(failed, actor=person)
    assert caught.value.reason_code == "already_retried"
    assert WorklistEntry.objects.get().status == "queued"


def test_only_failed_runs_are_retried(queued: Prediction) -> None:
    with pytest.raises(Conflict) as caught:
        retry_prediction(queued, actor=None)
    assert caught.value.reason_code == "not_failed"


@pytest.mark.django_db
def test_an_excluded_age_in_the_record_rejects_the_image() -> None:
    installed_model(age_years=[18, 99])
    patient = PatientFactory(birth_date=date(2015, 5, 1))
    study = StudyFactory(patient=patient, study_date=date(2021, 5, 1))
    [row] = queue_predictions(image_row(series__study=study))
    assert (row.status, row.reason_code) == ("rejected", "wrong_age")
