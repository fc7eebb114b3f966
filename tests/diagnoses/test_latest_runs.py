"""The latest run of each model on an image."""

from __future__ import annotations

import pytest

from diagnoses.latest_runs import latest_runs
from diagnoses.models import ModelVersion
from patients.models import Study
from tests.diagnoses.fakes import image_row, installed_model
from tests.factories import PredictionFactory, StudyFactory


@pytest.fixture
def study(db: None) -> Study:
    return StudyFactory()


def test_the_latest_runs_have_the_default_model_first(
    study: Study, chest_model: ModelVersion
) -> None:
    another = installed_model("a-net")
    image, unread = (image_row(series__study=study) for _ in range(2))
    second = PredictionFactory(instance=image, model_version=another)
    PredictionFactory(instance=image, model_version=chest_model, failed=True)
    latest = PredictionFactory(instance=image, model_version=chest_model, run=2)
    runs = latest_runs([image.pk, unread.pk])
    assert runs == {image.pk: [latest, second], unread.pk: []}
