"""Ensembles: installation with their members, results made of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnoses.governance.installation import sync_models
from diagnoses.governance.versions import card_of, members_of
from diagnoses.leases import claim
from diagnoses.models import ModelVersion
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels, read_claimed
from diagnoses.worker.reproduction import reproduce
from ml.cards import card as registry
from ml.ensemble import EnsembleModel
from ml.errors import ModelError
from ml.evaluation.ensemble_card import build_ensemble_card
from tests.diagnoses.fakes import FakeModel, card_json, stored_image


def write_model(folder: Path, raw: dict[str, Any], weights: bytes = b"") -> None:
    target = folder / raw["name"] / raw["version"]
    target.mkdir(parents=True)
    (target / "card.json").write_text(json.dumps(raw))
    if weights:
        (target / "weights.keras").write_bytes(weights)


def member_card(name: str, weights: bytes) -> dict[str, Any]:
    return card_json(name) | {
        "calibration": {"calibrated": True},
        "weights": {
            "file": "weights.keras",
            "sha256": hashlib.sha256(weights).hexdigest(),
        },
    }


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two models and the ensemble of them."""
    monkeypatch.setattr(registry, "WEIGHTS_DIR", tmp_path)
    for name in ("net-a", "net-b"):
        write_model(tmp_path, member_card(name, name.encode()), name.encode())
    members = [registry.get_card(name) for name in ("net-a", "net-b")]
    write_model(tmp_path, build_ensemble_card(members, name="both"))
    return tmp_path


class Member(FakeModel):
    """A fake with the weights that its card names."""

    def __init__(self, card: registry.Card) -> None:
        super().__init__(card)
        self.weights_sha256 = str(card.weights_sha256)


def fake_models() -> LoadedModels:
    return LoadedModels(loader=lambda version: Member(card_of(version)))


@pytest.mark.django_db
@pytest.mark.usefixtures("cards")
def test_an_ensemble_is_installed_with_its_identity_and_no_file() -> None:
    installed = {version.name: version for version in sync_models()}
    assert set(installed) == {"net-a", "net-b", "both"}
    both = installed["both"]
    assert both.weights_sha256 == registry.get_card("both").weights_sha256
    assert members_of(both) == [installed["net-a"], installed["net-b"]]
    assert sync_models() == []


@pytest.mark.django_db
def test_an_ensemble_without_its_members_is_not_installed(
    cards: Path,
) -> None:
    (cards / "net-b" / "1" / "card.json").unlink()
    with pytest.raises(ModelError) as caught:
        sync_models()
    assert caught.value.reason_code == "member_missing"


@pytest.mark.django_db
@pytest.mark.usefixtures("cards")
def test_an_ensemble_reads_images_and_its_results_are_reproducible() -> None:
    sync_models()
    ModelVersion.objects.filter(name="both").update(state="active")
    models = fake_models()
    pixels = np.linspace(0, 65535, 64 * 48).reshape(64, 48).astype(np.uint16)
    [prediction] = queue_predictions(stored_image(pixels))
    [claimed] = claim("worker-1")
    assert read_claimed(claimed, models=models)
    prediction.refresh_from_db()
    assert prediction.status == "succeeded"
    probabilities = dict(prediction.findings.values_list("label", "probability"))
    assert probabilities["Tuberculosis"] == pytest.approx(0.2)
    assert prediction.provenance["weights_sha256"] == (
        prediction.model_version.weights_sha256
    )
    assert reproduce(prediction, models=models).verdict == "agree"


@pytest.mark.django_db
@pytest.mark.usefixtures("cards")
def test_members_are_loaded_once_and_shared_with_the_ensemble() -> None:
    installed = {version.name: version for version in sync_models()}
    loaded: list[str] = []

    def load(version: ModelVersion) -> Member:
        loaded.append(version.name)
        return Member(card_of(version))

    models = LoadedModels(loader=load)
    models.get(installed["net-a"])
    assert isinstance(models.get(installed["both"]), EnsembleModel)
    assert loaded == ["net-a", "net-b"]
