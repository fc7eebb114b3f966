"""What a worker does with an image, and with every kind of error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from django.dispatch import Signal
from pydicom import Dataset
from pytest_django.fixtures import Settings

from diagnoses import tasks
from diagnoses.leases import Claimed, claim
from diagnoses.models import Finding, ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from diagnoses.worker import read as worker
from diagnoses.worker import runner_choice
from diagnoses.worker.read import LoadedModels, claim_next, read_claimed
from diagnoses.worker.runner_choice import threads_per_worker
from ml.errors import ModelError
from patients.models import Instance
from patients.storage import object_key
from tests.diagnoses.fakes import LABELS, FakeModel, installed_model, stored_image


@pytest.fixture
def fake_task_models(models: LoadedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "models", models)


def row_of(claimed: Claimed) -> Prediction:
    return Prediction.objects.get(pk=claimed.prediction_id)


def models_that(happen: Callable[[], None]) -> LoadedModels:
    def load(model_version: ModelVersion) -> FakeModel:
        return FakeModel(worker.card_of(model_version), before=happen)

    return LoadedModels(loader=load)


def raising(error: BaseException) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


@pytest.mark.usefixtures("fake_task_models")
def test_running_the_task_twice_reads_an_image_once(queued: Prediction) -> None:
    tasks.run_next()
    first = Prediction.objects.get(pk=queued.pk)
    tasks.run_next()
    assert first.status == "succeeded"
    assert Prediction.objects.get(pk=queued.pk).finished_at == first.finished_at
    assert Finding.objects.count() == len(LABELS)


@pytest.mark.usefixtures("fake_task_models")
def test_each_hint_reads_one_image(chest_model: ModelVersion) -> None:
    for number in range(3):
        pixels = np.roll(np.arange(64 * 48, dtype=np.uint16) * 20, number)
        queue_predictions(stored_image(pixels.reshape(64, 48)))
    for done in (1, 2, 3, 3):
        tasks.run_next()
        assert Prediction.objects.filter(status="succeeded").count() == done


def test_a_result_has_the_provenance_of_its_input(
    claimed: Claimed, image: Instance, models: LoadedModels
) -> None:
    assert read_claimed(claimed, models=models)
    row = row_of(claimed)
    assert row.pixel_sha256 == image.pixel_sha256
    assert row.provenance["object_sha256"] == image.object_sha256
    assert row.provenance["software_version"]
    assert row.worker == "worker-1"


def test_an_image_is_decoded_once_for_runs_that_follow(
    queued: Prediction, models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_model("other-net")
    queue_predictions(queued.instance, requested_model="other-net", created=False)
    decoded: list[int] = []
    display_frame = worker.display_frame

    def count(dataset: Dataset, frame: int) -> np.ndarray:
        decoded.append(frame)
        return display_frame(dataset, frame)

    monkeypatch.setattr(worker, "display_frame", count)
    for claimed in claim("worker-1", count=2):
        assert read_claimed(claimed, models=models)
    assert decoded == [0]
    queue_predictions(stored_image(), requested_model="other-net")
    read_claimed(*claim("worker-1"), models=models)
    assert decoded == [0, 0]
    assert len(worker._last_image) == 1, "no second image is held in memory"


def test_a_blank_image_is_rejected(
    chest_model: ModelVersion, models: LoadedModels
) -> None:
    queue_predictions(stored_image(np.full((64, 48), 700, np.uint16)))
    [claimed] = claim("worker-1")
    read_claimed(claimed, models=models)
    assert (row_of(claimed).status, row_of(claimed).reason_code) == (
        "rejected",
        "blank_image",
    )


def test_an_undecoded_image_is_checked_for_colour_by_the_worker(
    chest_model: ModelVersion, models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "is_colour", lambda dataset, frame: True)
    queue_predictions(stored_image(colour=None))
    [claimed] = claim("worker-1")
    read_claimed(claimed, models=models)
    assert row_of(claimed).reason_code == "colour_image"


def test_a_damaged_object_fails(
    claimed: Claimed, image: Instance, models: LoadedModels
) -> None:
    with default_storage.open(object_key(image.object_sha256), "r+b") as stored:
        stored.seek(-10, 2)
        stored.write(b"0123456789")
    read_claimed(claimed, models=models)
    default_storage.delete(object_key(image.object_sha256))
    row = row_of(claimed)
    assert (row.status, row.reason_code) == ("failed", "object_damaged")


def test_a_missing_object_fails(
    claimed: Claimed, image: Instance, models: LoadedModels
) -> None:
    default_storage.delete(object_key(image.object_sha256))
    read_claimed(claimed, models=models)
    assert row_of(claimed).reason_code == "object_missing"


def test_a_model_that_cannot_be_loaded_fails(claimed: Claimed) -> None:
    secret = "/srv/secret/weights.keras"
    loader = raising(ModelError(secret, reason_code="weights_missing"))
    read_claimed(claimed, models=LoadedModels(loader=loader))
    row = row_of(claimed)
    assert (row.status, row.reason_message) == ("failed", "prediction.weights_missing")
    assert row.reason_text.startswith("The weights of the model are missing.")


def test_details_of_faults_are_logged_and_not_shown(
    claimed: Claimed, caplog: pytest.LogCaptureFixture
) -> None:
    secret = ModelError("/srv/secret/path", reason_code="model_unusable", shown=False)
    read_claimed(claimed, models=models_that(raising(secret)))
    assert "/srv/secret" not in row_of(claimed).reason_text
    assert "/srv/secret" in caplog.text


@pytest.mark.parametrize(
    "fault",
    [OSError("stale file handle"), ModelError("Busy.", permanent=False)],
    ids=["storage", "model"],
)
def test_a_temporary_fault_is_retried_later(claimed: Claimed, fault: Exception) -> None:
    read_claimed(claimed, models=models_that(raising(fault)))
    row = row_of(claimed)
    assert (row.status, row.attempt) == ("queued", 1)
    assert row.not_before > row.started_at


@pytest.mark.parametrize("fault", [MemoryError(), SoftTimeLimitExceeded()], ids=repr)
def test_faults_that_kill_workers_are_counted(
    claimed: Claimed, fault: BaseException
) -> None:
    read_claimed(claimed, models=models_that(raising(fault)))
    row = row_of(claimed)
    assert (row.status, row.lost_workers) == ("queued", 1)


def test_an_unexpected_error_fails_with_a_neutral_reason(
    queued: Prediction,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "family name"
    monkeypatch.setattr(tasks, "models", models_that(raising(KeyError(secret))))
    for _ in range(2):
        tasks.run_next()
    row = Prediction.objects.get(pk=queued.pk)
    assert (row.status, row.reason_code) == ("failed", "internal_error")
    assert secret not in row.reason_text
    assert "KeyError" in caplog.text


def test_a_run_without_a_database_is_left_to_the_sweeper(
    queued: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "read_claimed", raising(OperationalError("gone")))
    with pytest.raises(OperationalError):
        tasks.run_next()
    assert Prediction.objects.get(pk=queued.pk).status == "running"


def test_a_late_result_is_discarded(claimed: Claimed) -> None:
    def lose_the_row() -> None:
        Prediction.objects.filter(pk=claimed.prediction_id).update(attempt=2)

    assert not read_claimed(claimed, models=models_that(lose_the_row))
    assert row_of(claimed).status == "running"
    assert not Finding.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_database_ends_the_transaction_of_a_frozen_worker() -> None:
    tasks._end_frozen_transactions(connection)
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == (tasks.FROZEN_AFTER,)
    connection.close()


def test_models_are_loaded_once(chest_model: ModelVersion) -> None:
    loaded: list[ModelVersion] = []

    def load(model_version: ModelVersion) -> FakeModel:
        loaded.append(model_version)
        return FakeModel(worker.card_of(model_version))

    models = LoadedModels(loader=load)
    models.warm_up().join()
    assert loaded == [chest_model]
    assert models.get(chest_model) is models.get(chest_model)
    assert loaded == [chest_model]


def test_a_worker_leaves_images_of_cold_models_waiting(
    queued: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others convert their graphs, the network of the default model is free."""
    other, head = installed_model("other-net"), installed_model("nih-head")
    head.weights_sha256 = ModelVersion.objects.get(
        name="chestx6-resnet50"
    ).weights_sha256
    head.save()
    queue_predictions(queued.instance, requested_model="other-net", created=False)
    convert = threading.Event()
    hints: list[int] = []

    def load(model_version: ModelVersion) -> FakeModel:
        if model_version == other:
            assert convert.wait(30)
        return FakeModel(worker.card_of(model_version))

    monkeypatch.setattr(worker, "send_hints", hints.append)
    monkeypatch.setattr(worker, "_waiting", lambda model_version: 1)
    models = LoadedModels(loader=load)
    warming = models.warm_up()
    assert models.cold == {other.pk}
    [first] = claim_next("worker-1", models=models)
    assert first.prediction_id == queued.pk
    assert claim_next("worker-1", models=models) == []
    convert.set()
    warming.join()
    assert (models.cold, hints) == (frozenset(), [1])
    assert len(claim_next("worker-1", models=models)) == 1


@pytest.mark.usefixtures("fake_task_models")
def test_a_worker_process_says_when_the_default_model_is_loaded(
    chest_model: ModelVersion,
    models: LoadedModels,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.INFERENCE_READY_FILE = str(tmp_path / "ready")
    order: list[bool] = []
    monkeypatch.setattr(
        models,
        "warm_up",
        lambda: order.append(Path(settings.INFERENCE_READY_FILE).exists()),
    )
    monkeypatch.setattr(tasks, "connection_created", Signal())
    tasks._warm_up()
    assert order == [False]
    assert Path(settings.INFERENCE_READY_FILE).exists()


def test_a_worker_starts_with_a_broken_model(chest_model: ModelVersion) -> None:
    LoadedModels(loader=raising(ModelError("Damaged."))).warm_up().join()


def test_worker_processes_share_the_cores(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        runner_choice,
        "os",
        SimpleNamespace(sched_getaffinity=lambda pid: set(range(8))),
    )
    settings.INFERENCE_NUM_THREADS, settings.INFERENCE_CONCURRENCY = 0, 4
    assert threads_per_worker() == 2
    settings.INFERENCE_NUM_THREADS = 3
    assert threads_per_worker() == 3
