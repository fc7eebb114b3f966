"""The sweeper releases expired leases and repeats lost hints."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from diagnoses.hints import hints_waiting, send_hints
from diagnoses.leases import Claimed, claim
from diagnoses.models import ModelVersion, Prediction
from diagnoses.worker import sweeper
from diagnoses.worker.sweeper import (
    analysis_delay,
    give_back_expired,
    keep_sweeping,
    repeat_lost_hints,
    stalled,
    sweep_once,
)
from patients.models import Priority
from tests.diagnoses.conftest import QUEUE
from tests.factories import PredictionFactory

pytestmark = pytest.mark.usefixtures("empty_broker")


def ago(seconds: float) -> object:
    return Now() - timedelta(seconds=seconds)


def expire(claimed: Claimed) -> None:
    Prediction.objects.filter(pk=claimed.prediction_id).update(
        lease_expires_at=ago(1), started_at=ago(60)
    )


def test_an_expired_lease_is_returned_to_the_queue_once(claimed: Claimed) -> None:
    assert give_back_expired() == 0
    expire(claimed)
    assert (give_back_expired(), give_back_expired()) == (1, 0)
    row = Prediction.objects.get(pk=claimed.prediction_id)
    assert (row.status, row.attempt, row.lost_workers) == ("queued", 1, 1)
    assert row.lease_expires_at is None


def test_an_image_that_loses_too_many_workers_fails(
    claimed: Claimed, settings: Settings
) -> None:
    settings.INFERENCE_MAX_LOST_WORKERS = 1
    expire(claimed)
    assert give_back_expired() == 1
    row = Prediction.objects.get(pk=claimed.prediction_id)
    assert (row.status, row.reason_code) == ("failed", "worker_lost")


def test_a_returned_run_gets_a_hint_at_once(claimed: Claimed) -> None:
    expire(claimed)
    sweep = sweep_once()
    assert (sweep.given_back, sweep.hints) == (1, 1)
    assert hints_waiting() == {QUEUE: 1}


@pytest.mark.django_db(transaction=True)
def test_a_locked_row_does_not_stop_the_sweep(
    chest_model: ModelVersion,
) -> None:
    PredictionFactory.create_batch(2, model_version=chest_model)
    first, second = claim("worker-1", count=2)
    expire(first)
    expire(second)
    locked, swept = threading.Event(), threading.Event()

    def freeze() -> None:
        with transaction.atomic():
            Prediction.objects.select_for_update().get(pk=first.prediction_id)
            locked.set()
            swept.wait(20)
        connection.close()

    frozen = threading.Thread(target=freeze)
    frozen.start()
    assert locked.wait(5)
    assert give_back_expired() == 1
    swept.set()
    frozen.join()
    assert give_back_expired() == 1


def test_hints_of_an_emptied_broker_are_repeated(chest_model: ModelVersion) -> None:
    PredictionFactory.create_batch(5, model_version=chest_model, hinted_at=ago(10))
    assert repeat_lost_hints() == 5
    assert hints_waiting() == {QUEUE: 5}
    assert repeat_lost_hints() == 0, "they were hinted just now"


def test_repeated_hints_do_not_accumulate(chest_model: ModelVersion) -> None:
    PredictionFactory.create_batch(5, model_version=chest_model, hinted_at=ago(10))
    send_hints(3)
    assert repeat_lost_hints() == 2
    Prediction.objects.update(hinted_at=ago(10))
    assert repeat_lost_hints() == 0
    assert hints_waiting() == {QUEUE: 5}


def test_a_fresh_run_gets_no_second_hint(chest_model: ModelVersion) -> None:
    PredictionFactory(model_version=chest_model, hinted_at=ago(1))
    assert repeat_lost_hints() == 0


def test_a_run_that_backs_off_gets_its_hint_when_it_is_due(
    chest_model: ModelVersion,
) -> None:
    row = PredictionFactory(
        model_version=chest_model,
        hinted_at=None,
        not_before=Now() + timedelta(seconds=60),
    )
    assert repeat_lost_hints() == 0
    Prediction.objects.filter(pk=row.pk).update(not_before=ago(0))
    assert repeat_lost_hints() == 1


def test_expired_leases_are_returned_without_a_broker(
    claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise ConnectionRefusedError

    monkeypatch.setattr(sweeper, "hints_waiting", refuse)
    expire(claimed)
    with pytest.raises(ConnectionRefusedError):
        sweep_once()
    assert Prediction.objects.get(pk=claimed.prediction_id).status == "queued"


class TestStalled:
    @pytest.fixture
    def long_waiting(self, chest_model: ModelVersion) -> Prediction:
        return PredictionFactory(
            model_version=chest_model, queued_at=ago(100), not_before=ago(100)
        )

    def test_unclaimed_runs_with_hints_are_a_stall(
        self, long_waiting: Prediction
    ) -> None:
        send_hints()
        assert stalled()

    def test_an_empty_queue_is_no_stall(self, chest_model: ModelVersion) -> None:
        send_hints()
        assert not stalled()

    def test_runs_without_hints_are_no_stall(self, long_waiting: Prediction) -> None:
        assert not stalled()

    def test_running_work_is_no_stall(
        self, long_waiting: Prediction, queued: Prediction
    ) -> None:
        send_hints()
        assert claim("worker-1")[0].prediction_id == long_waiting.pk
        Prediction.objects.filter(pk=queued.pk).update(queued_at=ago(100))
        Prediction.objects.filter(pk=queued.pk).update(not_before=ago(100))
        Prediction.objects.filter(pk=long_waiting.pk).update(started_at=ago(90))
        assert not stalled()

    def test_a_recent_claim_is_no_stall(
        self, long_waiting: Prediction, chest_model: ModelVersion
    ) -> None:
        send_hints()
        PredictionFactory(model_version=chest_model, failed=True, started_at=ago(3))
        assert not stalled()

    def test_runs_that_back_off_are_no_stall(self, long_waiting: Prediction) -> None:
        send_hints()
        later = Now() + timedelta(seconds=60)
        Prediction.objects.filter(pk=long_waiting.pk).update(not_before=later)
        assert not stalled()


def test_a_delay_has_a_start_time(chest_model: ModelVersion) -> None:
    assert analysis_delay() is None
    row = PredictionFactory(model_version=chest_model)
    assert analysis_delay() is None
    Prediction.objects.update(queued_at=ago(300), not_before=ago(200))
    row.refresh_from_db()
    assert analysis_delay() == sweeper.Delay(row.not_before, busy=False)
    busy = PredictionFactory(model_version=chest_model, priority=Priority.STAT)
    assert claim("worker-1")[0].prediction_id == busy.pk
    assert analysis_delay() == sweeper.Delay(row.not_before, busy=True)


def test_a_sweep_writes_worklist_rows_of_other_models_in_use(
    queued: Prediction, empty_broker: None
) -> None:
    ModelVersion.objects.update(claimed_labels=["Normal"])
    assert [sweep_once().worklist_rows for _ in range(2)] == [1, 0]


@pytest.mark.django_db(transaction=True)
def test_the_sweeper_waits_for_an_absent_database(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SWEEP_INTERVAL_S = 0.01
    stop = threading.Event()
    sweeps: list[int] = []

    def sweep() -> sweeper.Sweep:
        sweeps.append(1)
        if len(sweeps) < 3:
            raise OperationalError("gone")
        stop.set()
        return sweeper.Sweep(given_back=0, hints=0)

    monkeypatch.setattr(sweeper, "sweep_once", sweep)
    monkeypatch.setattr(sweeper, "sweep_orphans", lambda: 0)
    keep_sweeping(stop)
    assert len(sweeps) == 3
