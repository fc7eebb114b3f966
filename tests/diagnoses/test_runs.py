"""A run ends once, by the attempt that holds it, completely or not at all."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from django.db import ProgrammingError, connection
from pytest_django.fixtures import Settings

from diagnoses import runs
from diagnoses.governance.versions import card_of, thresholds_of
from diagnoses.leases import Claimed, claim
from diagnoses.models import (
    Finding,
    HeatMap,
    ModelVersion,
    OperatingPoint,
    Prediction,
    WorklistEntry,
)
from diagnoses.runs import (
    RunResult,
    complete_prediction,
    count_lost_worker,
    fail,
    put_back,
    reject,
)
from diagnoses.signals import prediction_finished
from ml.errors import ImageRejected
from tests.diagnoses.fakes import LABELS, FakeModel, gradient_image
from tests.owner import by_owner


@pytest.fixture
def run(chest_model: ModelVersion) -> RunResult:
    thresholds = thresholds_of(chest_model)
    model_output = FakeModel(card_of(chest_model)).read(
        gradient_image(), thresholds={k: t.value for k, t in thresholds.items()}
    )
    return RunResult(
        model_output, thresholds, object_sha256="b" * 64, pixel_sha256="c" * 64
    )


def given_back(claimed: Claimed) -> Claimed:
    """Let the sweeper give the row to another worker, who claims it."""
    assert count_lost_worker(claimed)
    [second] = claim("worker-2")
    assert second == Claimed(claimed.prediction_id, claimed.attempt + 1)
    return second


def row_of(claimed: Claimed) -> Prediction:
    return Prediction.objects.get(pk=claimed.prediction_id)


def test_a_result_is_saved_in_one_transaction(claimed: Claimed, run: RunResult) -> None:
    finished: list[Prediction] = []

    def note(*, prediction: Prediction, **_: object) -> None:
        finished.append(prediction)

    prediction_finished.connect(note)
    try:
        assert complete_prediction(claimed, run=run)
    finally:
        prediction_finished.disconnect(note)
    row = row_of(claimed)
    assert (row.status, row.lease_expires_at) == ("succeeded", None)
    assert row.input_sha256 == run.model_output.input_sha256
    assert row.pixel_sha256 == "c" * 64
    assert row.geometry == run.model_output.geometry.to_json()
    assert row.provenance["backend"] == "fake"
    assert row.provenance["object_sha256"] == "b" * 64
    assert row.provenance["attempt"] == row.attempt
    assert [finding.label for finding in row.findings.all()] == list(LABELS)
    assert finished == [row]
    assert WorklistEntry.objects.get().status == "succeeded"


def test_findings_keep_their_threshold_and_its_origin(
    claimed: Claimed, run: RunResult
) -> None:
    complete_prediction(claimed, run=run)
    point = OperatingPoint.objects.get()
    by_point = Finding.objects.get(label="Bacterial pneumonia")
    assert (by_point.threshold, by_point.threshold_source) == (0.6, "operating_point")
    assert by_point.operating_point == point
    assert by_point.positive
    by_card = Finding.objects.get(label="Normal")
    assert (by_card.threshold, by_card.threshold_source) == (0.5, "card")


def test_stored_grids_are_read_back_unchanged(claimed: Claimed, run: RunResult) -> None:
    complete_prediction(claimed, run=run)
    heat_map = HeatMap.objects.first()
    shape = (heat_map.rows, heat_map.columns)
    grid = np.frombuffer(heat_map.values, "<f2").reshape(shape)
    assert np.array_equal(grid, np.eye(3))
    assert heat_map.scale == 2.0


def test_completing_twice_changes_nothing(claimed: Claimed, run: RunResult) -> None:
    assert complete_prediction(claimed, run=run)
    first = row_of(claimed)
    assert complete_prediction(claimed, run=run), "it is mine, and finished"
    assert row_of(claimed).finished_at == first.finished_at
    assert Finding.objects.count() == len(LABELS)


def test_a_late_result_is_discarded(claimed: Claimed, run: RunResult) -> None:
    second = given_back(claimed)
    assert not complete_prediction(claimed, run=run)
    assert row_of(claimed).status == "running"
    assert not Finding.objects.exists()
    assert complete_prediction(second, run=run)
    assert not complete_prediction(claimed, run=run)
    assert row_of(claimed).provenance["attempt"] == 2
    assert Finding.objects.count() == len(LABELS)


@pytest.mark.parametrize("late", ["fail", "reject", "put_back", "count_lost_worker"])
def test_late_reports_of_a_lost_worker_are_ignored(claimed: Claimed, late: str) -> None:
    second = given_back(claimed)
    rejection = ImageRejected("Blank.", reason_code="blank_image")
    counted = {
        "fail": lambda: fail(claimed, reason_code="late"),
        "reject": lambda: reject(claimed, rejection=rejection),
        "put_back": lambda: put_back(claimed, reason_code="late"),
        "count_lost_worker": lambda: count_lost_worker(claimed),
    }[late]()
    assert not counted
    row = row_of(second)
    assert (row.status, row.attempt, row.lost_workers) == ("running", 2, 1)


def test_a_result_for_an_erased_image_is_discarded(run: RunResult, db: None) -> None:
    gone = Claimed(uuid.uuid4(), 1)
    assert not complete_prediction(gone, run=run)


def without_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody end a row: status and attempt are not asked for any more."""
    monkeypatch.setattr(
        runs,
        "held",
        lambda claimed: Prediction.objects.filter(pk=claimed.prediction_id),
    )


def two_workers_finish(claimed: Claimed, run: RunResult) -> None:
    second = given_back(claimed)
    complete_prediction(claimed, run=run)
    complete_prediction(second, run=run)


def assert_finished_once(claimed: Claimed) -> None:
    row = row_of(claimed)
    assert row.status == "succeeded"
    assert row.provenance["attempt"] == row.attempt, "finished by its holder"
    assert row.findings.count() == len(LABELS)


def test_with_the_fence_two_workers_leave_one_result(
    claimed: Claimed, run: RunResult
) -> None:
    two_workers_finish(claimed, run)
    assert_finished_once(claimed)


def test_without_the_fence_the_database_still_refuses(
    claimed: Claimed, run: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_fence(monkeypatch)
    with pytest.raises(ProgrammingError, match="row-level security"):
        two_workers_finish(claimed, run)


def test_without_fence_and_triggers_findings_are_duplicated(
    claimed: Claimed, run: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_fence(monkeypatch)
    with by_owner(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            "ALTER TABLE diagnoses_prediction DISABLE TRIGGER USER;"
            "ALTER TABLE diagnoses_finding DISABLE ROW LEVEL SECURITY;"
            "ALTER TABLE diagnoses_heatmap DISABLE ROW LEVEL SECURITY;"
            "ALTER TABLE diagnoses_finding DROP CONSTRAINT finding_once_per_label;"
        )
    two_workers_finish(claimed, run)
    with pytest.raises(AssertionError):
        assert_finished_once(claimed)
    assert row_of(claimed).findings.count() == 2 * len(LABELS)


def test_a_temporary_fault_backs_off_longer_each_time(claimed: Claimed) -> None:
    pauses = []
    for attempt in range(1, 4):
        held = Claimed(claimed.prediction_id, attempt)
        assert put_back(held, reason_code="storage_unavailable")
        row = row_of(held)
        assert (row.status, row.lease_expires_at) == ("queued", None)
        pauses.append((row.not_before - row.started_at).total_seconds())
        Prediction.objects.filter(pk=row.pk).update(not_before=row.queued_at)
        claim("worker-1")
    assert [round(pause) for pause in pauses] == [1, 2, 4]


def test_a_repeated_temporary_fault_fails_the_run(claimed: Claimed) -> None:
    last = Claimed(claimed.prediction_id, runs.MOST_ATTEMPTS)
    Prediction.objects.filter(pk=last.prediction_id).update(attempt=last.attempt)
    assert put_back(last, reason_code="storage_unavailable")
    row = row_of(last)
    assert (row.status, row.reason_code) == ("failed", "storage_unavailable")


def test_an_image_that_kills_its_workers_fails(
    claimed: Claimed, settings: Settings
) -> None:
    settings.INFERENCE_MAX_LOST_WORKERS = 3
    for lost in range(2):
        claimed = given_back(claimed)
        assert row_of(claimed).lost_workers == lost + 1
    assert count_lost_worker(claimed)
    row = row_of(claimed)
    assert (row.status, row.reason_code) == ("failed", "worker_lost")
    assert row.reason == ""
    assert row.reason_params == {"workers": 3}
    assert "3 workers" in row.reason_text


def test_a_rejected_image_has_a_reason_and_no_findings(claimed: Claimed) -> None:
    rejection = ImageRejected("The image is blank.", reason_code="blank_image")
    for _ in range(2):
        assert reject(claimed, rejection=rejection)
    row = row_of(claimed)
    assert (row.status, row.reason_code) == ("rejected", "blank_image")
    assert not row.findings.exists()
