"""Models are installed from their cards, once, and activated by decisions."""

from __future__ import annotations

import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from accounts.errors import Conflict
from diagnoses.governance.installation import local_weights, sync_models, weights_key
from diagnoses.governance.transitions import Decision, activate, activate_for_demo
from diagnoses.governance.versions import active_models
from diagnoses.models import ModelVersion, OperatingPoint
from ml.cards import card as registry
from ml.cards.claims import claimed_labels
from ml.errors import ModelError
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import LABELS, card_json, default_model
from tests.factories import ModelVersionFactory, UserFactory

SHIPPED = registry.WEIGHTS_DIR


class Library:
    """A folder of cards and weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        version: str,
        weights: bytes | None,
        name: str = DEFAULT_MODEL,
        gate: bytes | None = None,
    ) -> None:
        folder = self.folder / name / version
        folder.mkdir(parents=True, exist_ok=True)
        card = card_json(name) | {"version": version}
        sha256 = hashlib.sha256(weights).hexdigest() if weights else None
        card["weights"] = {"file": "weights.keras", "sha256": sha256}
        if gate:
            learned = hashlib.sha256(gate).hexdigest()
            card["gate"] = {"file": "gate.npz", "sha256": learned, "threshold": 1.0}
            (folder / "gate.npz").write_bytes(gate)
        (folder / "card.json").write_text(json.dumps(card))
        if weights:
            (folder / "weights.keras").write_bytes(weights)


@pytest.fixture
def library(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(registry, "WEIGHTS_DIR", tmp_path)
    return Library(tmp_path)


def test_installing_a_card_stores_a_version_with_thresholds_and_weights(
    library: Library,
) -> None:
    library.add("1", b"network")
    [version] = sync_models()
    sha256 = hashlib.sha256(b"network").hexdigest()
    assert (version.state, version.weights_sha256) == ("installed", sha256)
    points = OperatingPoint.objects.filter(model_version=version)
    assert {point.label: point.value for point in points} == dict.fromkeys(LABELS, 0.5)
    with default_storage.open(weights_key(sha256)) as stored:
        assert stored.read() == b"network"
    assert local_weights(version).read_bytes() == b"network"
    assert active_models() == []


def test_synchronising_again_changes_nothing(library: Library) -> None:
    library.add("1", b"network")
    sync_models()
    assert sync_models() == []
    assert ModelVersion.objects.count() == 1
    assert OperatingPoint.objects.count() == len(LABELS)


def test_the_same_version_with_other_weights_is_refused(library: Library) -> None:
    library.add("1", b"network")
    sync_models()
    library.add("1", b"another network")
    with pytest.raises(Conflict, match="new version number") as caught:
        sync_models()
    assert caught.value.reason_code == "model_version_differs"
    with pytest.raises(CommandError, match="new version number"):
        call_command("sync_models")


def test_an_installed_card_of_an_old_schema_is_upgraded(library: Library) -> None:
    library.add("1", b"network")
    [version] = sync_models()
    former = card_json() | {"version": "1", "weights": version.card["weights"]}
    assert "schema_version" not in former
    ModelVersion.objects.filter(pk=version.pk).update(card=former)
    assert sync_models() == []
    version.refresh_from_db()
    assert version.card["schema_version"] == 2
    assert version.card["measurements"] == []
    assert "metrics" not in version.card


def test_an_old_card_with_other_decisions_is_not_upgraded(
    library: Library,
) -> None:
    library.add("1", b"network")
    [version] = sync_models()
    former = card_json() | {"version": "1", "weights": version.card["weights"]}
    former["thresholds"] = {"values": dict.fromkeys(LABELS, 0.7)}
    ModelVersion.objects.filter(pk=version.pk).update(card=former)
    assert sync_models() == []
    version.refresh_from_db()
    assert version.card == former


def test_weights_with_another_hash_than_the_card_are_refused(library: Library) -> None:
    library.add("1", b"network")
    (library.folder / DEFAULT_MODEL / "1" / "weights.keras").write_bytes(b"evil")
    with pytest.raises(ModelError, match="sha256"):
        sync_models()
    assert not ModelVersion.objects.exists()


def test_a_card_without_weights_is_listed_and_installed_later(
    library: Library,
) -> None:
    library.add("1", None)
    for _ in range(2):
        assert sync_models() == []
    listed = ModelVersion.objects.get()
    assert (listed.state, listed.has_weights) == ("installed", False)
    assert activate_for_demo() == []
    library.add("1", b"trained elsewhere")
    [version] = sync_models()
    assert (version.pk, version.has_weights) == (listed.pk, True)
    assert version.operating_points.count() == len(LABELS)
    library.add("1", None)
    with pytest.raises(Conflict, match="new version number"):
        sync_models()


def test_the_gate_file_is_stored_with_its_version(library: Library) -> None:
    library.add("1", b"network", gate=b"statistics")
    [version] = sync_models()
    assert local_weights(version).with_name("gate.npz").read_bytes() == b"statistics"


def test_a_gate_with_another_hash_than_the_card_is_refused(library: Library) -> None:
    library.add("1", b"network", gate=b"statistics")
    (library.folder / f"{DEFAULT_MODEL}/1/gate.npz").write_bytes(b"of another fit")
    with pytest.raises(ModelError, match="the card names"):
        sync_models()


def test_heads_of_a_backbone_share_one_file_in_storage_and_on_disk(
    library: Library,
) -> None:
    shared = library.folder / "net" / "1"
    shared.mkdir(parents=True)
    hashes = {}
    for name, content in (("weights.keras", b"network"), ("gate.npz", b"statistics")):
        (shared / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    for name, begin in (("net-a", 0), ("net-b", len(LABELS))):
        card = card_json(name) | {
            "version": "1",
            "weights": {
                "file": "../../net/1/weights.keras",
                "sha256": hashes["weights.keras"],
            },
            "gate": {
                "file": "../../net/1/gate.npz",
                "sha256": hashes["gate.npz"],
                "threshold": 1.0,
            },
            "backbone": {
                "name": "net",
                "version": "1",
                "columns": [begin, begin + len(LABELS)],
            },
        }
        folder = library.folder / name / "1"
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps(card))
    versions = sync_models()
    assert [version.name for version in versions] == ["net-a", "net-b"]
    keys = {weights_key(version.weights_sha256) for version in versions}
    assert keys == {weights_key(hashes["weights.keras"])}
    [local] = {local_weights(version) for version in versions}
    assert local.read_bytes() == b"network"
    assert local.with_name("gate.npz").read_bytes() == b"statistics"
    assert sync_models() == []


def test_the_error_names_missing_weights(library: Library) -> None:
    library.add("1", b"gone")
    [version] = sync_models()
    default_storage.delete(weights_key(version.weights_sha256))
    with pytest.raises(ModelError, match="sync_models"):
        local_weights(version)


def test_the_demo_activates_the_newest_version(library: Library) -> None:
    library.add("1", b"network")
    output = StringIO()
    for _ in range(2):
        call_command("sync_models", activate_for_demo=True, stdout=output)
    assert default_model().version == "1"
    assert default_model().state_reason == "demo"
    assert output.getvalue().count("activated") == 1
    library.add("2", b"better network")
    call_command("sync_models", activate_for_demo=True, stdout=output)
    assert default_model().version == "2"


def card_at_chance(name: str) -> dict[str, Any]:
    """Return a card whose mean area under the curve may be that of a guess."""
    mean_auc = {"value": 0.5, "low": 0.4, "high": 0.6}
    return card_json(name) | {
        "metrics": {"val_nih": {"n": 9, "patients": 9, "mean_auc": mean_auc}}
    }


@pytest.mark.django_db
def test_the_demo_does_not_use_a_model_that_is_no_better_than_chance() -> None:
    cards = {"guess": card_at_chance("guess"), "other": card_json("other")}
    for name, card in cards.items():
        ModelVersionFactory(name=name, card=card, state="installed")
    assert [version.name for version in activate_for_demo()] == ["other"]


@pytest.mark.django_db
def test_the_demo_retires_a_model_at_chance_that_it_activated_before() -> None:
    before = ModelVersionFactory(
        name="guess", card=card_at_chance("guess"), state_reason="demo"
    )
    assert activate_for_demo() == []
    before.refresh_from_db()
    assert before.state == "retired"
    assert activate_for_demo() == []


def test_the_claimed_labels_are_stored_with_the_version(library: Library) -> None:
    library.add("1", b"network")
    [version] = sync_models()
    assert version.claimed_labels == []
    shipped = registry.get_card(DEFAULT_MODEL, weights_dir=SHIPPED)
    ModelVersion.objects.update(card=dict(shipped.raw))
    sync_models()
    version.refresh_from_db()
    assert tuple(version.claimed_labels) == claimed_labels(shipped) != ()


def test_the_demo_keeps_the_decision_of_a_person(library: Library) -> None:
    library.add("1", b"network")
    [version] = sync_models()
    decision = Decision(UserFactory(), "validated here", "command")
    activate(version, decision=decision, without_acceptance="validated elsewhere")
    library.add("2", b"better network")
    sync_models()
    assert activate_for_demo() == []
    assert default_model().version == "1"


def test_damaged_weights_in_the_storage_are_refused(library: Library) -> None:
    library.add("1", b"a network of its own")
    [version] = sync_models()
    with default_storage.open(weights_key(version.weights_sha256), "r+b") as stored:
        stored.write(b"evil")
    with pytest.raises(ModelError, match="sha256"):
        local_weights(version)
    default_storage.delete(weights_key(version.weights_sha256))
