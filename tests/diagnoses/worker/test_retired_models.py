"""Results of versions that left the code are still shown and reproduced."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.urls import reverse
from pytest_django.fixtures import Settings

from accounts.models import Role
from diagnoses.governance.installation import sync_models, weights_key
from diagnoses.governance.retirement import retire_former_versions
from diagnoses.governance.transitions import activate_for_demo
from diagnoses.leases import claim
from diagnoses.models import Prediction
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels, read_claimed
from ml.cards import card as cards
from ml.cards.contents import Successor
from ml.cards.retirement import retire_card
from ml.evaluation.ensemble_card import build_ensemble_card, write_card
from tests.clients import html, person
from tests.diagnoses.fakes import stored_image
from tests.ml.conftest import install, tiny_network

# Keras is slow to import: one process runs them.
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    pytest.mark.xdist_group("keras"),
]
MODELS = ("both", "net-a", "net-b")


@pytest.fixture
def results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> dict[str, Prediction]:
    """Return what two networks and their ensemble found, all of them retired since."""
    folder = tmp_path / "weights"
    monkeypatch.setattr(cards, "WEIGHTS_DIR", folder)
    settings.INFERENCE_CACHE_DIR = tmp_path / "inference"
    settings.INFERENCE_RUNNER = "keras"
    members = [
        install(folder, tiny_network(seed=seed), name=name)
        for seed, name in enumerate(MODELS[1:])
    ]
    write_card(build_ensemble_card(members, name="both"), weights_dir=folder)
    sync_models()
    activate_for_demo()
    queued = queue_predictions(stored_image())
    models = LoadedModels()
    for claimed in claim("worker-1", count=len(queued)):
        assert read_claimed(claimed, models=models)
    for name in MODELS:
        retire_card(
            cards.get_card(name, weights_dir=folder),
            on="2026-12-01",
            in_favour_of=[Successor("next", "1.0.0")],
            weights_dir=folder,
        )
    assert len(retire_former_versions()) == len(MODELS)
    shutil.rmtree(settings.INFERENCE_CACHE_DIR)
    found = Prediction.objects.filter(status="succeeded", model_version__isnull=False)
    return {str(each.model_version.name): each for each in found}


def reproduced(prediction: Prediction) -> str:
    """Return what the command says."""
    output = StringIO()
    try:
        call_command("reproduce", str(prediction.pk), stdout=output)
    except CommandError as refused:
        return str(refused)
    return output.getvalue()


def test_results_agree_as_long_as_the_storage_has_the_weights(
    results: dict[str, Prediction], settings: Settings
) -> None:
    assert set(results) == set(MODELS)
    for prediction in results.values():
        assert reproduced(prediction).startswith("agree: The input is the same")
    gone = results["net-a"].model_version
    assert gone is not None
    default_storage.delete(weights_key(gone.weights_sha256))
    shutil.rmtree(settings.INFERENCE_CACHE_DIR)
    for name in ("net-a", "both"):
        assert reproduced(results[name]) == (
            "not comparable: The weights of net-a 1.0.0 are not in the storage. It is "
            "retired, so they do not come with the code."
        )
    assert reproduced(results["net-b"]).startswith("agree")


def test_results_stay_shown_with_the_model_one_click_away(
    results: dict[str, Prediction],
) -> None:
    client = person(Role.RADIOLOGIST)
    study = results["net-a"].instance.series.study
    page = html(client, reverse("study", args=[study.pk]))
    for name in MODELS:
        address = f"/models/{name}/?version=1.0.0"
        assert address in page
        assert "in favour of next 1.0.0" in html(client, address)
