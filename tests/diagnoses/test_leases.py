"""Claims and leases: which worker gets which row, in which order, for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from diagnoses.leases import (
    Claimed,
    Heartbeat,
    claim,
    on_fresh_connection,
    renew_leases,
)
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from patients.models import Priority
from tests.diagnoses.fakes import image_row, installed_model
from tests.factories import PredictionFactory

pytestmark = pytest.mark.slow


def waiting(
    priority: Priority, *, for_s: float, model: ModelVersion, synthetic: bool = False
) -> Prediction:
    prediction = PredictionFactory(
        model_version=model, priority=priority, instance__synthetic=synthetic
    )
    waited = Now() - timedelta(seconds=for_s)
    Prediction.objects.filter(pk=prediction.pk).update(queued_at=waited)
    return prediction


def claim_one() -> Prediction:
    [claimed] = claim("worker-1")
    return Prediction.objects.get(pk=claimed.prediction_id)


def test_a_claim_raises_the_attempt_and_sets_a_lease(
    queued: Prediction, settings: Settings
) -> None:
    settings.INFERENCE_LEASE_S = 30
    [claimed] = claim("worker-1")
    row = Prediction.objects.get(pk=queued.pk)
    assert claimed == Claimed(queued.pk, 1)
    assert (row.status, row.attempt, row.worker) == ("running", 1, "worker-1")
    assert row.lease_expires_at - row.started_at == timedelta(seconds=30)


def test_a_claimed_run_cannot_be_claimed_again(queued: Prediction) -> None:
    assert len(claim("worker-1")) == 1
    assert claim("worker-2") == []


def test_stat_images_are_claimed_before_waiting_routine_images(
    chest_model: ModelVersion, settings: Settings
) -> None:
    settings.INFERENCE_AGEING_S = 600
    for n in range(40):
        waiting(Priority.ROUTINE, for_s=14 * n, model=chest_model)
    stat = waiting(Priority.STAT, for_s=0, model=chest_model)
    assert claim_one() == stat


def test_within_a_priority_the_longest_waiting_run_is_first(
    chest_model: ModelVersion,
) -> None:
    for for_s in (5, 50, 20):
        waiting(Priority.URGENT, for_s=for_s, model=chest_model)
    order = [claim_one().queued_at for _ in range(3)]
    assert order == sorted(order)


def test_routine_images_are_claimed_under_constant_stat_load(
    chest_model: ModelVersion, settings: Settings
) -> None:
    settings.INFERENCE_AGEING_S = 1
    routine = [
        waiting(Priority.ROUTINE, for_s=10 + n, model=chest_model) for n in range(3)
    ]
    taken = []
    for _ in range(6):
        waiting(Priority.STAT, for_s=0, model=chest_model)
        taken.append(claim_one())
    assert set(routine) <= set(taken)


def test_first_results_of_an_image_come_before_second_ones(
    chest_model: ModelVersion, settings: Settings
) -> None:
    settings.INFERENCE_AGEING_S = 600
    other = installed_model(name="other-net")
    second = waiting(Priority.ROUTINE, for_s=30, model=other)
    first = waiting(Priority.ROUTINE, for_s=0, model=chest_model)
    urgent = waiting(Priority.URGENT, for_s=0, model=other)
    assert [claim_one() for _ in range(3)] == [urgent, first, second]


def test_drawings_of_the_demo_are_claimed_after_all_other_images(
    chest_model: ModelVersion,
) -> None:
    drawing = waiting(Priority.STAT, for_s=60, model=chest_model, synthetic=True)
    shadow = waiting(Priority.ROUTINE, for_s=0, model=installed_model("other-net"))
    Prediction.objects.filter(pk=shadow.pk).update(shadow=True)
    routine = waiting(Priority.ROUTINE, for_s=0, model=chest_model)
    assert [claim_one() for _ in range(3)] == [routine, shadow, drawing]


def head(name: str, *, state: str = "active") -> ModelVersion:
    """Return a model that shares its network with the others made here."""
    model_version = installed_model(name, state=state)
    model_version.weights_sha256 = "7" * 64
    model_version.save(update_fields=("weights_sha256",))
    return model_version


def test_a_claim_takes_the_rows_of_an_image_whose_models_share_a_network(
    db: None,
) -> None:
    heads = [head("chestx6-resnet50"), head("nih-head"), head("shadow", state="shadow")]
    installed_model("other-net")
    for _ in range(2):
        queue_predictions(image_row())
    claimed = {claimed.prediction_id for claimed in claim("worker-1")}
    rows = Prediction.objects.filter(pk__in=claimed)
    assert {row.model_version for row in rows} == set(heads)
    assert len({row.instance_id for row in rows}) == 1
    others = [len(claim("worker-2")) for _ in range(4)]
    assert others == [len(heads), 1, 1, 0], "the second image, then the other network"


def test_a_claim_leaves_rows_that_may_not_be_read_now(db: None) -> None:
    head("chestx6-resnet50")
    gpu_only, backing_off = head("gpu-head"), head("nih-head")
    gpu_only.card = {**gpu_only.card, "runs_on": ["gpu"]}
    gpu_only.save(update_fields=("card",))
    queue_predictions(image_row())
    later = Now() + timedelta(seconds=60)
    Prediction.objects.filter(model_version=backing_off).update(not_before=later)
    [claimed] = claim("worker-1")
    row = Prediction.objects.get(pk=claimed.prediction_id)
    assert row.model_version.name == "chestx6-resnet50"


def test_a_claim_leaves_the_rows_of_named_versions(db: None) -> None:
    models = [head("chestx6-resnet50"), head("nih-head")]
    queue_predictions(image_row())
    [claimed] = claim("worker-1", without=[models[0].pk])
    row = Prediction.objects.get(pk=claimed.prediction_id)
    assert row.model_version == models[1]
    assert claim("worker-1", without=[models[0].pk]) == []


def test_a_run_that_backs_off_is_not_claimed(queued: Prediction) -> None:
    later = Now() + timedelta(seconds=60)
    Prediction.objects.filter(pk=queued.pk).update(not_before=later)
    assert claim("worker-1") == []


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_claim_distinct_runs(
    chest_model: ModelVersion,
) -> None:
    PredictionFactory.create_batch(12, model_version=chest_model)
    start = threading.Barrier(4)
    taken: list[Claimed] = []

    def work(name: str) -> None:
        start.wait()
        while claimed := claim(name):
            taken.extend(claimed)
        connection.close()

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 12
    assert len({claimed.prediction_id for claimed in taken}) == 12


def test_only_the_holder_renews_a_lease(claimed: Claimed) -> None:
    assert renew_leases([claimed])
    assert renew_leases([claimed])
    assert not renew_leases([Claimed(claimed.prediction_id, claimed.attempt + 1)])


def test_a_renewal_extends_the_rows_that_are_still_held(
    chest_model: ModelVersion,
) -> None:
    PredictionFactory.create_batch(2, model_version=chest_model)
    held, lost = claim("worker-1", count=2)
    rows = Prediction.objects
    rows.filter(pk=lost.prediction_id).update(attempt=2)
    before = rows.get(pk=lost.prediction_id).lease_expires_at
    assert renew_leases([held, lost])
    assert rows.get(pk=held.prediction_id).lease_expires_at > before
    assert rows.get(pk=lost.prediction_id).lease_expires_at == before


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_keeps_the_lease_of_long_work(
    claimed: Claimed, settings: Settings
) -> None:
    settings.INFERENCE_LEASE_S = 0.3
    renew_leases([claimed])
    before = Prediction.objects.get(pk=claimed.prediction_id).lease_expires_at
    with Heartbeat([claimed]) as heartbeat:
        time.sleep(0.5)
    after = Prediction.objects.get(pk=claimed.prediction_id).lease_expires_at
    assert after - before > timedelta(seconds=0.2)
    assert not heartbeat.lost.is_set()


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_ends_when_the_lease_is_lost(
    claimed: Claimed, settings: Settings
) -> None:
    settings.INFERENCE_LEASE_S = 0.15
    with Heartbeat([claimed]) as heartbeat:
        Prediction.objects.filter(pk=claimed.prediction_id).update(attempt=7)
        assert heartbeat.lost.wait(2)


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_stops_renewing_hanging_work(
    claimed: Claimed, settings: Settings
) -> None:
    settings.INFERENCE_LEASE_S = 0.15
    settings.INFERENCE_HARD_LIMIT_S = 0.1
    with Heartbeat([claimed]) as heartbeat:
        assert heartbeat.lost.wait(2)


@pytest.mark.django_db(transaction=True)
def test_a_query_cut_off_by_a_database_restart_is_repeated() -> None:
    answers: Iterator[Exception | str] = iter(
        [OperationalError("gone"), OperationalError("gone"), "back"]
    )

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert on_fresh_connection(ask) == "back"


@pytest.mark.django_db(transaction=True)
def test_a_lost_database_is_an_error_after_the_patience() -> None:
    def ask() -> None:
        raise OperationalError("gone")

    with pytest.raises(OperationalError):
        on_fresh_connection(ask, patience_s=0.3)
