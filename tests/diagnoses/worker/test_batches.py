"""Several images in one pass: each ends on its own."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from pytest_django.fixtures import Settings

from diagnoses import tasks
from diagnoses.leases import claim
from diagnoses.models import Finding, ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from diagnoses.worker import read as worker
from diagnoses.worker.batches import read_batch
from diagnoses.worker.read import LoadedModels
from ml.errors import ImageRejected, ModelError
from ml.model_output import ModelOutput
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import LABELS, FakeModel, installed_model, stored_image


def queue_images(count: int) -> list[Prediction]:
    queued: list[Prediction] = []
    for number in range(count):
        pixels = np.roll(np.arange(64 * 48, dtype=np.uint16) * 20, 7 * number)
        queued += queue_predictions(stored_image(pixels.reshape(64, 48)))
    return queued


def ends() -> list[tuple[str, str]]:
    rows = Prediction.objects.order_by("status", "reason_code")
    return [(row.status, row.reason_code) for row in rows]


class OneModel(LoadedModels):
    """Models of which each is the same object, to ask it afterwards."""

    def __init__(self, model: FakeModel) -> None:
        super().__init__(loader=lambda model_version: model)
        self.model = model


@pytest.fixture
def one_model(chest_model: ModelVersion) -> OneModel:
    return OneModel(FakeModel(worker.card_of(chest_model)))


def test_a_batch_is_read_in_one_pass(one_model: OneModel) -> None:
    queue_images(3)
    assert read_batch(claim("gpu-1", count=8), models=one_model) == []
    assert one_model.model.batches == [3]
    assert ends() == [("succeeded", "")] * 3
    assert Finding.objects.count() == 3 * len(LABELS)


def test_the_task_reads_a_batch_where_the_worker_takes_batches(
    one_model: OneModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "models", one_model)
    settings.INFERENCE_BATCH_SIZE = 2
    queue_images(3)
    for _ in range(3):
        tasks.run_next()
    assert one_model.model.batches == [2]
    assert ends() == [("succeeded", "")] * 3


def test_the_leases_of_a_failed_batch_are_kept_until_each_image_is_read(
    one_model: OneModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "models", one_model)
    settings.INFERENCE_BATCH_SIZE = 3
    kept: list[int] = []
    read = one_model.model.read

    def no_memory(*args: object, **kwargs: object) -> list[ModelOutput]:
        raise MemoryError

    def count_heartbeats(*args: object, **kwargs: object) -> ModelOutput:
        kept.append(sum(t.name == "heartbeat" for t in threading.enumerate()))
        return read(*args, **kwargs)

    monkeypatch.setattr(one_model.model, "read_many", no_memory)
    monkeypatch.setattr(one_model.model, "read", count_heartbeats)
    queue_images(3)
    tasks.run_next()
    assert kept == [1, 1, 1], "one thread renews the leases of the batch"
    assert ends() == [("succeeded", "")] * 3


def test_an_unreadable_image_does_not_fail_its_batch(
    one_model: OneModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "models", one_model)
    settings.INFERENCE_BATCH_SIZE = 8
    queue_images(2)
    queue_predictions(stored_image(np.full((64, 48), 700, np.uint16)))
    tasks.run_next()
    assert one_model.model.batches == [2]
    assert ends() == [("rejected", "blank_image"), *[("succeeded", "")] * 2]


def test_images_refused_by_the_gate_are_rejected_and_the_others_read(
    one_model: OneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_the_first(
        displays: list[np.ndarray], **options: object
    ) -> list[ModelOutput | ImageRejected]:
        first = ImageRejected("Not a chest.", reason_code="unlike_training_images")
        return [first, *(one_model.model.read(display) for display in displays[1:])]

    monkeypatch.setattr(one_model.model, "read_many", refuse_the_first)
    queue_images(2)
    assert read_batch(claim("gpu-1", count=8), models=one_model) == []
    assert ends() == [("rejected", "unlike_training_images"), ("succeeded", "")]


def test_a_batch_that_fails_is_read_image_by_image(
    one_model: OneModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(displays: object, **options: object) -> None:
        raise ModelError("No memory on the device.")

    monkeypatch.setattr(one_model.model, "read_many", fail)
    monkeypatch.setattr(tasks, "models", one_model)
    settings.INFERENCE_BATCH_SIZE = 8
    queue_images(3)
    tasks.run_next()
    assert ends() == [("succeeded", "")] * 3


def test_after_an_unexpected_error_a_batch_is_read_image_by_image(
    one_model: OneModel,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(displays: object, **options: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(one_model.model, "read_many", fail)
    monkeypatch.setattr(tasks, "models", one_model)
    settings.INFERENCE_BATCH_SIZE = 8
    queue_images(2)
    tasks.run_next()
    assert "unforeseen" in caplog.text
    assert ends() == [("succeeded", "")] * 2


def test_each_image_of_a_batch_is_read_by_its_model(db: None) -> None:
    installed_model()
    installed_model("other")
    seen: list[FakeModel] = []

    def load(model_version: ModelVersion) -> FakeModel:
        seen.append(FakeModel(worker.card_of(model_version)))
        return seen[-1]

    queue_images(2)
    assert read_batch(claim("gpu-1", count=8), models=LoadedModels(loader=load)) == []
    assert sorted(model.card.name for model in seen) == [DEFAULT_MODEL, "other"]
    assert [model.batches for model in seen] == [[2], [2]]


def test_a_model_runs_only_where_its_card_says(db: None) -> None:
    anywhere, gpu_only = installed_model(), installed_model("other")
    gpu_only.card = {**gpu_only.card, "runs_on": ["gpu"]}
    gpu_only.save(update_fields=("card",))
    queue_images(1)
    [on_cpu] = claim("cpu-1", count=8)
    [on_gpu] = claim("gpu-1", count=8, device="gpu")
    rows = {row.pk: row.model_version for row in Prediction.objects.all()}
    assert rows[on_cpu.prediction_id] == anywhere
    assert rows[on_gpu.prediction_id] == gpu_only
