"""Imported models are installed, activated and run like shipped ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command

from diagnoses.governance.installation import sync_models
from diagnoses.governance.transitions import Decision, activate, activate_for_demo
from diagnoses.leases import Claimed, claim
from diagnoses.models import Finding, HeatMap, ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels, read_claimed
from diagnoses.worker.reproduction import reproduce
from ml.model_output import ModelOutput
from ml.networks.gradcam import no_grids
from patients.models import Instance
from tests.diagnoses.fakes import LABELS, FakeModel, card_json, fake_loader
from tests.factories import ModelVersionFactory
from tests.ml.exchange import foreign

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


class BlindModel(FakeModel):
    """Scores without a heat map, as a SavedModel does."""

    def read(self, *args: Any, **options: Any) -> ModelOutput:
        model_output = super().read(*args, **options)
        grids, _ = no_grids(len(model_output.scores))
        scores = tuple(
            replace(score, grid=grid, scale=0.0)
            for score, grid in zip(model_output.scores, grids, strict=True)
        )
        return replace(model_output, scores=scores)


def test_a_model_without_heat_maps_stores_findings_without_grids(
    claimed: Claimed,
) -> None:
    def load(model_version: ModelVersion) -> BlindModel:
        return BlindModel(fake_loader(model_version).card)

    assert read_claimed(claimed, models=LoadedModels(loader=load))
    assert Finding.objects.count() == len(LABELS)
    assert not HeatMap.objects.exists()


def test_the_demo_does_not_activate_imported_models() -> None:
    card = card_json("theirs") | {"imported": {"file": "theirs.keras"}}
    ModelVersionFactory(name="theirs", card=card, state="installed")
    assert activate_for_demo() == []


@pytest.mark.filterwarnings("ignore")  # TensorFlow warns of its own SavedModel code
def test_an_imported_model_can_be_installed_activated_used_and_reproduced(
    image: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.flat_cnn(augmented=False).export(tmp_path / "theirs", verbose=False)
    weights_dir = tmp_path / "weights"
    call_command(
        "import_model",
        str(tmp_path / "theirs"),
        f"--labels={','.join(LABELS)}",
        "--activation=probabilities",
        f"--out={weights_dir}",
    )
    monkeypatch.setattr("ml.cards.card.WEIGHTS_DIR", weights_dir)
    [version] = sync_models()
    assert queue_predictions(image)[0].model_version is None
    decision = Decision(None, "tests", "command")
    activate(version, decision=decision, without_acceptance="measured elsewhere")
    queue_predictions(image, requested_model="theirs")
    [claimed] = claim("worker-1")
    models = LoadedModels()
    assert read_claimed(claimed, models=models)
    prediction = Prediction.objects.get(pk=claimed.prediction_id)
    assert prediction.status == "succeeded"
    stored = dict(prediction.findings.values_list("label", "probability"))
    assert sum(stored.values()) == pytest.approx(1)
    assert np.isfinite(list(stored.values())).all()
    assert not HeatMap.objects.exists()
    assert reproduce(prediction, models=models).verdict == "agree"
