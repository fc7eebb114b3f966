"""What tests of runs and of the queue ask for."""

from __future__ import annotations

import pytest
from celery import current_app

from diagnoses.leases import Claimed, claim
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels
from patients.models import Instance
from tests.diagnoses.fakes import fake_loader, installed_model, stored_image

QUEUE = "inference"


@pytest.fixture
def chest_model(db: None) -> ModelVersion:
    """Return the default model, active."""
    return installed_model()


@pytest.fixture
def models() -> LoadedModels:
    """Return the models of a worker, all fake."""
    return LoadedModels(loader=fake_loader)


@pytest.fixture
def image(db: None) -> Instance:
    """Return a chest image in the storage that nothing was queued for."""
    return stored_image()


@pytest.fixture
def queued(chest_model: ModelVersion, image: Instance) -> Prediction:
    """Return a queued run of the default model on a stored image."""
    return queue_predictions(image)[0]


@pytest.fixture
def claimed(queued: Prediction) -> Claimed:
    """Return the claim of a worker on that run."""
    return claim("worker-1")[0]


@pytest.fixture
def empty_broker() -> None:
    """Delete what other tests left in the queue."""
    with current_app.connection_for_write() as connection:
        connection.default_channel.client.delete(QUEUE)
