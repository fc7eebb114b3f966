"""Reproducing a stored result: agree, differ, or not comparable."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from accounts.errors import Conflict
from diagnoses.leases import Claimed
from diagnoses.models import ModelVersion, Prediction
from diagnoses.worker import read as worker
from diagnoses.worker import reproduction
from diagnoses.worker.read import LoadedModels, read_claimed
from diagnoses.worker.reproduction import reproduce
from ml.errors import ModelError
from ml.model_output import ModelOutput
from patients.storage import local_path
from tests.diagnoses.fakes import PROBABILITIES, FakeModel


@pytest.fixture
def succeeded(claimed: Claimed, models: LoadedModels) -> Prediction:
    assert read_claimed(claimed, models=models)
    return Prediction.objects.get(pk=claimed.prediction_id)


def changed_models(**attributes: Any) -> LoadedModels:
    def load(model_version: ModelVersion) -> FakeModel:
        model = FakeModel(worker.card_of(model_version))
        read = model.read

        def read_changed(
            display: np.ndarray,
            *,
            thresholds: Mapping[str, float] | None = None,
            apply_gate: bool = True,
        ) -> ModelOutput:
            model_output = read(display, thresholds=thresholds, apply_gate=apply_gate)
            for name, value in attributes.items():
                object.__setattr__(model_output, name, value)
            return model_output

        model.read = read_changed
        return model

    return LoadedModels(loader=load)


def test_the_same_image_and_weights_agree(
    succeeded: Prediction, models: LoadedModels
) -> None:
    for _ in range(2):
        made = reproduce(succeeded, models=models)
        assert (made.verdict, made.greatest_difference) == ("agree", 0.0)


def test_different_probabilities_differ_with_the_amount(
    succeeded: Prediction, models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROBABILITIES, "Tuberculosis", 0.45)
    made = reproduce(succeeded, models=models)
    assert made.verdict == "differ"
    assert made.greatest_difference == pytest.approx(0.25)


def test_a_different_input_differs(succeeded: Prediction) -> None:
    made = reproduce(succeeded, models=changed_models(input_sha256="f" * 64))
    assert made.verdict == "differ"
    assert made.explanation.startswith("The input differs")


@pytest.mark.parametrize("condition", ["preprocessing_version", "precision"])
def test_other_conditions_are_not_comparable(
    succeeded: Prediction, condition: str
) -> None:
    made = reproduce(succeeded, models=changed_models(**{condition: "other"}))
    assert made.verdict == "not comparable"
    assert condition.partition("_")[0] in made.explanation


def test_another_runner_is_compared_as_closely(
    succeeded: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = changed_models(backend="onnxruntime")
    assert reproduce(succeeded, models=others).verdict == "agree"
    monkeypatch.setitem(PROBABILITIES, "Tuberculosis", 0.2002)
    assert reproduce(succeeded, models=others).verdict == "differ"


def test_another_precision_may_differ_by_what_the_card_says(
    succeeded: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = {"largest_difference": 0.01, "flags_changed": 0, "refusals_changed": 0}
    measured = {"images": 300, "patients": 200, "command": ["python"]}
    precisions = {**measured, "bfloat16": {**check, "offered": True}}
    model_version = succeeded.model_version
    assert model_version is not None
    model_version.card = {**model_version.card, "precisions": precisions}
    others = changed_models(precision="bfloat16")
    monkeypatch.setitem(PROBABILITIES, "Tuberculosis", 0.219)
    assert reproduce(succeeded, models=others).verdict == "agree"
    monkeypatch.setitem(PROBABILITIES, "Tuberculosis", 0.221)
    assert reproduce(succeeded, models=others).verdict == "differ"
    not_measured = changed_models(precision="int8")
    assert reproduce(succeeded, models=not_measured).verdict == "not comparable"


def test_without_the_stored_image_a_result_is_not_comparable(
    succeeded: Prediction, models: LoadedModels
) -> None:
    with local_path(succeeded.instance) as path:
        path.unlink()
    made = reproduce(succeeded, models=models)
    assert (made.verdict, made.greatest_difference) == ("not comparable", None)
    assert "cannot be read" in made.explanation


def test_without_its_weights_a_result_is_not_comparable(succeeded: Prediction) -> None:
    def missing(model_version: ModelVersion) -> FakeModel:
        raise ModelError("The weights are not in the storage.")

    made = reproduce(succeeded, models=LoadedModels(loader=missing))
    assert made.verdict == "not comparable"
    assert "weights" in made.explanation


def test_a_run_without_a_result_cannot_be_reproduced(queued: Prediction) -> None:
    with pytest.raises(Conflict, match="Queued"):
        reproduce(queued)


def test_the_command_reports_by_text_and_exit_status(
    succeeded: Prediction, models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduction, "LoadedModels", lambda: models)
    output = StringIO()
    call_command("reproduce", str(succeeded.pk), stdout=output)
    assert output.getvalue().startswith("agree: The input is the same")
    monkeypatch.setitem(PROBABILITIES, "Tuberculosis", 0.45)
    with pytest.raises(CommandError, match="differ"):
        call_command("reproduce", str(succeeded.pk))
