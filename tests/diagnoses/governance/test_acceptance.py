"""Acceptance: a version is measured on images of the hospital."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent, Role
from diagnoses.governance.acceptance import LabelledImages, accept_model
from diagnoses.governance.transitions import Decision, activate
from diagnoses.models import ModelVersion, SiteAcceptance
from diagnoses.worker.read import LoadedModels
from ml.errors import ModelError, TrainingError
from ml.inference import LoadedModel
from tests.clients import html, person, program
from tests.diagnoses.fakes import fake_loader, gradient_image, installed_model
from tests.factories import UserFactory

COMMAND = "diagnoses.management.commands.accept_model.LoadedModels"


@pytest.fixture
def version(db: None) -> ModelVersion:
    return installed_model(state="installed")


@pytest.fixture
def images(tmp_path: Path) -> LabelledImages:
    """Six images of three people, half of them with what the fake model says."""
    lines = ["path,labels,patient_id"]
    for number in range(6):
        name = f"Doe-Jane-{number}.png"
        cv2.imwrite(str(tmp_path / name), np.rot90(gradient_image(), number % 2))
        label = "Bacterial pneumonia" if number % 2 else "Tuberculosis"
        lines.append(f"{name},{label},patient-{number // 2}")
    lines += ["gone.png,Tuberculosis,patient-9", "other.png,Fracture,patient-8"]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines))
    return LabelledImages(manifest, tmp_path)


def loaded(version: ModelVersion) -> LoadedModel:
    model = fake_loader(version)
    model.weights_sha256 = version.weights_sha256
    return model


def measure(version: ModelVersion, images: LabelledImages) -> SiteAcceptance:
    return accept_model(version, images=images, model=loaded(version), actor=None)


def test_measurements_are_stored_with_intervals_and_their_images(
    version: ModelVersion, images: LabelledImages
) -> None:
    acceptance = measure(version, images)
    assert (acceptance.images, acceptance.patients) == (6, 3)
    digest = hashlib.sha256(images.manifest.read_bytes()).hexdigest()
    assert acceptance.manifest_sha256 == digest
    accuracy = acceptance.figures["accuracy"]
    assert accuracy["low"] <= accuracy["value"] == 0.5 <= accuracy["high"]
    # By what images are judged here and now, not by the card.
    assert acceptance.figures["thresholds"]["Bacterial pneumonia"] == 0.6
    # Names of files may be names of people.
    assert "Doe" not in json.dumps(acceptance.figures)
    assert acceptance.figures["failed"] == 1
    event = AuditEvent.objects.get(object_kind="site_acceptance")
    assert event.object_uuid == acceptance.pk


def test_activation_uses_the_measurement_and_the_page_shows_it(
    version: ModelVersion, images: LabelledImages
) -> None:
    acceptance = measure(version, images)
    change = activate(version, decision=Decision(None, "good enough", "command"))
    assert change.acceptance == acceptance
    page = html(person(Role.CLINICIAN), f"/models/{version.name}/")
    assert "6 images, 3 patients" in page
    assert acceptance.manifest_sha256 in page
    assert "Measured here on 6 images of 3 patients." in page
    [shown] = (
        program(Role.CLINICIAN)
        .get(f"/api/v1/models/{version.name}/")
        .json()["acceptances"]
    )
    assert shown["figures"]["accuracy"]["value"] == 0.5


def test_an_acceptance_without_measurements_is_not_stored(
    version: ModelVersion, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,labels\nother.png,Fracture\n")
    with pytest.raises(ModelError, match="Nothing was measured"):
        measure(version, LabelledImages(manifest, tmp_path))
    with pytest.raises(TrainingError):
        measure(version, LabelledImages(tmp_path / "no.csv", tmp_path))
    assert not SiteAcceptance.objects.exists()


def test_acceptance_can_be_measured_by_command(
    version: ModelVersion,
    images: LabelledImages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(COMMAND, partial(LoadedModels, loader=loaded))
    UserFactory(username="chief", role=Role.ADMIN)
    given = ("--manifest", str(images.manifest), "--root", str(images.root))
    call_command("accept_model", version.name, *given, "--user", "chief")
    call_command("accept_model", version.name, "--version", "1", *given)
    latest, first = SiteAcceptance.objects.all()
    assert (first.measured_by.username, latest.measured_by) == ("chief", None)
    assert "accuracy: 0.5" in capsys.readouterr().out
    version.refresh_from_db()
    assert version.state == "installed"
    with pytest.raises(CommandError, match="no such installed version"):
        call_command("accept_model", version.name, "--version", "9", *given)


def test_a_version_without_weights_cannot_be_measured(
    version: ModelVersion, images: LabelledImages
) -> None:
    ModelVersion.objects.update(weights_sha256="")
    with pytest.raises(CommandError, match="has no weights"):
        call_command(
            "accept_model",
            *(version.name, "--manifest", str(images.manifest)),
            *("--root", str(images.root)),
        )
