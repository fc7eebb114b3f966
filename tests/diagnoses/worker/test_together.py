"""Rows of one image whose models share a network: one pass, each with its own end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from diagnoses import tasks
from diagnoses.leases import Claimed, claim
from diagnoses.models import Finding, ModelVersion, Prediction, WorklistEntry
from diagnoses.runs import count_lost_worker, fail, put_back, queue_predictions
from diagnoses.worker import read as worker
from diagnoses.worker.read import LoadedModels
from diagnoses.worker.retries import retry_prediction
from diagnoses.worker.together import read_together
from ml import inference
from ml.errors import ImageRejected, ModelError
from ml.model_output import ModelOutput
from patients.models import Instance
from tests.diagnoses.fakes import (
    LABELS,
    FakeModel,
    fake_loader,
    installed_model,
    stored_image,
)

NAMES = ("chestx6-resnet50", "nih-head", "pneumonia-head")


class Network:
    """The network that the heads share: counts its passes and does as told."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.refused: set[str] = set()
        self.error: Exception | None = None

    def read_together(
        self,
        models: Sequence[FakeModel],
        display: np.ndarray,
        *,
        thresholds: Sequence[Mapping[str, float] | None],
        apply_gate: bool = True,
    ) -> list[ModelOutput | ImageRejected]:
        """Answer for each head from one pass."""
        self.passes.append([model.card.name for model in models])
        if self.error:
            raise self.error
        return [
            ImageRejected("Not a chest.", reason_code="unlike_training_images")
            if apply_gate and model.card.name in self.refused
            else model.read(display, thresholds=own)
            for model, own in zip(models, thresholds, strict=True)
        ]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    shared = Network()
    monkeypatch.setattr(inference, "read_together", shared.read_together)
    return shared


@pytest.fixture
def heads(
    network: Network, models: LoadedModels, monkeypatch: pytest.MonkeyPatch, db: None
) -> list[ModelVersion]:
    monkeypatch.setattr(tasks, "models", models)
    installed = [installed_model(name) for name in NAMES]
    ModelVersion.objects.update(weights_sha256="7" * 64)
    return installed


@pytest.fixture
def queued_heads(heads: list[ModelVersion], image: Instance) -> list[Prediction]:
    return queue_predictions(image)


def ends() -> dict[str, tuple[str, str]]:
    return {
        row.model_version.name: (row.status, row.reason_code)
        for row in Prediction.objects.select_related("model_version").order_by("run")
    }


def row_of(name: str) -> Prediction:
    return Prediction.objects.get(model_version__name=name)


@pytest.mark.usefixtures("queued_heads")
def test_an_image_is_read_in_one_pass_for_all_heads(network: Network) -> None:
    for _ in NAMES:
        tasks.run_next()
    assert [sorted(heads) for heads in network.passes] == [sorted(NAMES)]
    assert ends() == dict.fromkeys(NAMES, ("succeeded", ""))
    assert Finding.objects.count() == len(NAMES) * len(LABELS)
    assert WorklistEntry.objects.get().status == "succeeded"


@pytest.mark.usefixtures("queued_heads")
def test_each_row_has_its_own_threshold_and_provenance(network: Network) -> None:
    point = row_of("nih-head").model_version.operating_points.get()
    tasks.run_next()
    for name in NAMES:
        row = row_of(name)
        assert row.provenance["model"] == name
        assert row.provenance["attempt"] == row.attempt == 1
    finding = Finding.objects.get(
        prediction=row_of("nih-head"), label="Bacterial pneumonia"
    )
    assert finding.operating_point == point


@pytest.mark.usefixtures("queued_heads")
def test_the_pixels_are_decoded_once(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    display_frame = worker.display_frame

    def count(*args: object) -> np.ndarray:
        decoded.append(1)
        return display_frame(*args)

    monkeypatch.setattr(worker, "display_frame", count)
    tasks.run_next()
    assert decoded == [1]


def test_more_heads_of_a_network_take_few_more_queries(
    heads: list[ModelVersion], models: LoadedModels
) -> None:
    """Each has its thresholds and its row; all else is asked and saved once."""

    def queries(count: int) -> int:
        queue_predictions(stored_image())
        claims = claim("worker-1")[:count]
        with CaptureQueriesContext(connection) as captured:
            assert read_together(claims, models=models) == []
        return len(captured)

    assert queries(3) - queries(2) <= 2


@pytest.mark.usefixtures("queued_heads")
def test_a_row_that_was_lost_is_discarded_and_the_others_are_saved(
    network: Network, models: LoadedModels
) -> None:
    claims = claim("worker-1")
    lost = Claimed(row_of("nih-head").pk, 1)
    assert count_lost_worker(lost)
    assert read_together(claims, models=models) == []
    assert ends()["nih-head"] == ("queued", "")
    assert Finding.objects.count() == 2 * len(LABELS)
    tasks.run_next()
    assert len(network.passes) == 1, "one row alone needs no shared pass"
    assert row_of("nih-head").provenance["attempt"] == 2
    assert Finding.objects.count() == 3 * len(LABELS)


@pytest.mark.usefixtures("queued_heads")
def test_a_result_is_saved_once_if_the_answer_of_the_commit_was_lost(
    models: LoadedModels,
) -> None:
    claims = claim("worker-1")
    for _ in range(2):
        assert read_together(claims, models=models) == []
    assert Finding.objects.count() == 3 * len(LABELS)


@pytest.mark.usefixtures("queued_heads")
def test_a_row_that_backs_off_is_read_alone_later(network: Network) -> None:
    [later] = [c for c in claim("worker-1") if c.prediction_id == row_of("nih-head").pk]
    put_back(later, reason_code="storage_unavailable")
    Prediction.objects.filter(pk=later.prediction_id).update(not_before=Now())
    tasks.run_next()
    assert network.passes == []
    assert ends()["nih-head"] == ("succeeded", "")
    assert ends()["pneumonia-head"] == ("running", "")


@pytest.mark.usefixtures("queued_heads")
def test_a_gate_refuses_each_row_for_itself(network: Network) -> None:
    network.refused = {"nih-head"}
    tasks.run_next()
    assert ends() == dict.fromkeys(NAMES, ("succeeded", "")) | {
        "nih-head": ("rejected", "unlike_training_images")
    }


def test_a_drawing_of_the_demo_is_scored_by_all_heads(
    heads: list[ModelVersion], network: Network
) -> None:
    queue_predictions(stored_image(synthetic=True))
    network.refused = set(NAMES)
    tasks.run_next()
    assert ends() == dict.fromkeys(NAMES, ("succeeded", ""))


def test_an_image_that_may_not_be_scored_is_rejected_for_all_heads(
    heads: list[ModelVersion], network: Network
) -> None:
    queue_predictions(stored_image(np.full((64, 48), 700, np.uint16)))
    tasks.run_next()
    assert network.passes == []
    assert ends() == dict.fromkeys(NAMES, ("rejected", "blank_image"))


@pytest.mark.parametrize(
    "error", [ModelError("No memory."), KeyError("unforeseen")], ids=["known", "not"]
)
@pytest.mark.usefixtures("queued_heads")
def test_after_an_error_of_the_pass_each_row_is_read_alone(
    network: Network, error: Exception
) -> None:
    network.error = error
    tasks.run_next()
    assert len(network.passes) == 1
    assert ends() == dict.fromkeys(NAMES, ("succeeded", ""))


@pytest.mark.usefixtures("queued_heads")
def test_a_head_that_cannot_be_loaded_fails_alone(
    heads: list[ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(model_version: ModelVersion) -> object:
        if model_version.name == "nih-head":
            raise ModelError("No gate.", reason_code="gate_missing")
        return fake_loader(model_version)

    monkeypatch.setattr(tasks, "models", LoadedModels(loader=load))
    tasks.run_next()
    assert ends()["nih-head"][0] == "failed"
    assert ends()["chestx6-resnet50"] == ("succeeded", "")
    assert ends()["pneumonia-head"] == ("succeeded", "")


@pytest.mark.usefixtures("queued_heads")
def test_one_head_is_run_again_alone(network: Network) -> None:
    failing = Claimed(row_of("nih-head").pk, 1)
    claim("worker-1")
    fail(failing, reason_code="worker_lost")
    again = retry_prediction(row_of("nih-head"), actor=None)
    tasks.run_next()
    again.refresh_from_db()
    assert (again.status, again.run) == ("succeeded", 2)
    assert network.passes == []


@pytest.mark.usefixtures("queued_heads")
def test_an_erased_row_is_not_saved(models: LoadedModels) -> None:
    claims = claim("worker-1")
    gone = Claimed(uuid.uuid4(), 1)
    assert read_together([*claims, gone], models=models) == [gone]


@pytest.mark.usefixtures("queued_heads")
def test_a_shadow_run_stays_hidden(heads: list[ModelVersion]) -> None:
    Prediction.objects.filter(model_version__name="nih-head").update(shadow=True)
    tasks.run_next()
    assert ends() == dict.fromkeys(NAMES, ("succeeded", ""))
    assert WorklistEntry.objects.get().models_reading == 2
