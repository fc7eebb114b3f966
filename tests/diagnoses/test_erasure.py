"""Erasing a patient removes everything except the audit event."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from accounts.models import AuditChange, AuditEvent, AuditSubject, Role, User
from diagnoses.erasure import erase_patient, erase_study
from diagnoses.leases import claim
from diagnoses.models import Finding, HeatMap, ModelVersion, Prediction, WorklistEntry
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels, read_claimed
from ml.model_output import ModelOutput
from patients.conflicts import duplicates
from patients.conflicts.duplicates import Recognised
from patients.identity.corrections import correct_patient
from patients.incoming import IncomingImage
from patients.models import (
    IdentityDiscrepancy,
    Instance,
    Patient,
    PatientCorrection,
    Series,
    Study,
    Upload,
)
from patients.storage import object_key, quarantine_key
from tests.diagnoses.fakes import stored_image
from tests.dicom_factory import grey_pixels, image_bytes, png
from tests.factories import UploadFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.slow


RECORD = (Patient, Study, Series, Instance, Upload)
SAID = (Prediction, Finding, HeatMap, WorklistEntry)


@pytest.fixture
def admin(db: None) -> User:
    return UserFactory(username="root", role=Role.ADMIN)


@pytest.fixture
def read_image(
    chest_model: ModelVersion, models: LoadedModels, image: Instance
) -> Instance:
    UploadFactory(instance=image)
    queue_predictions(image)
    [claimed] = claim("worker-1")
    read_claimed(claimed, models=models)
    return image


@pytest.mark.django_db(transaction=True)
def test_a_patient_is_erased_with_everything(read_image: Instance, admin: User) -> None:
    patient = read_image.series.study.patient
    erased = erase_patient(patient, actor=admin, reason="court order")
    for model in RECORD + SAID:
        assert not model.objects.exists(), model
    assert not default_storage.exists(object_key(read_image.object_sha256))
    assert erased.counts()["findings"] == 3
    event = AuditEvent.objects.get(action="delete")
    assert (event.object_uuid, event.detail["reason"]) == (patient.pk, "court order")
    assert AuditSubject.objects.get(event=event).patient_uuid == patient.pk


@pytest.mark.django_db(transaction=True)
def test_refused_and_quarantined_files_of_an_erased_patient_say_nothing(
    admin: User,
) -> None:
    """Neither does the trail, which keeps every event."""
    doe = {"PatientID": "MRN-4711", "PatientName": "Doe^John"}
    stored = send(image_bytes(**doe, StudyInstanceUID="1.2"))
    send(image_bytes(PatientID="MRN-0815", StudyInstanceUID="1.3"))
    conflict = send(image_bytes(**doe, StudyInstanceUID="1.3"))
    refused = send(b"no image", name="doe_john.dcm", patient_id="MRN-4711")
    events = AuditEvent.objects.count()
    erased = erase_patient(stored.patient, actor=admin, reason="court order")
    assert (erased.uploads, erased.cleared) == (2, 1)
    [left] = Upload.objects.filter(instance=None)
    assert left.pk == refused.upload.pk
    assert (left.original_name, left.submitted_identity) == ("", {})
    assert not default_storage.exists(quarantine_key(conflict.upload.sha256))
    assert AuditEvent.objects.count() == events + 1
    assert "4711" not in repr(list(AuditEvent.objects.values()))


@pytest.mark.django_db(transaction=True)
def test_a_study_is_erased_and_the_patient_stays(
    read_image: Instance, admin: User
) -> None:
    other = stored_image(series__study__patient=read_image.series.study.patient)
    queue_predictions(other)
    erase_study(read_image.series.study, actor=admin, reason="sent by mistake")
    assert Study.objects.get() == other.series.study
    assert Prediction.objects.get().instance == other
    assert Patient.objects.count() == 1
    assert default_storage.exists(object_key(other.object_sha256)), "the same bytes"


def test_a_result_after_the_erasure_is_discarded(
    image: Instance,
    chest_model: ModelVersion,
    models: LoadedModels,
    admin: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue_predictions(image)
    [claimed] = claim("worker-1")
    model = models.get(chest_model)
    original = model.read

    def erase_meanwhile(*args: Any, **kwargs: Any) -> ModelOutput:
        erase_study(image.series.study, actor=admin, reason="meanwhile")
        return original(*args, **kwargs)

    monkeypatch.setattr(model, "read", erase_meanwhile)
    assert not read_claimed(claimed, models=models)
    assert not Prediction.objects.exists()


def test_the_erase_command_needs_an_administrator(
    read_image: Instance, admin: User
) -> None:
    UserFactory(username="reader", role=Role.RADIOLOGIST)
    patient = read_image.series.study.patient
    order = ("patient", str(patient.pk), "--reason", "court order")
    with pytest.raises(CommandError, match="administrator"):
        call_command("erase", *order, "--user", "reader")
    output = StringIO()
    call_command("erase", *order, "--user", "root", stdout=output)
    assert "1 studies" in output.getvalue()
    with pytest.raises(CommandError, match="no such patient"):
        call_command("erase", *order, "--user", "root")


@pytest.mark.django_db(transaction=True)
def test_a_copy_of_an_image_erased_meanwhile_is_stored_as_new(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = image_bytes()
    first = send(content)
    recognise = duplicates.recognise

    def erase_meanwhile(image: IncomingImage, known: Instance) -> Recognised:
        recognised = recognise(image, known)
        erase_study(known.series.study, actor=admin, reason="meanwhile")
        return recognised

    monkeypatch.setattr(duplicates, "recognise", erase_meanwhile)
    again = send(content)
    assert again.outcome == Upload.Outcome.STORED
    assert Instance.objects.get().pk == again.instance.pk != first.instance.pk
    assert default_storage.exists(object_key(again.instance.object_sha256))


def test_corrections_discrepancies_and_originals_are_erased_too(
    admin: User, django_capture_on_commit_callbacks: Any
) -> None:
    picture = send(png(), patient_id="P-1").instance
    send(image_bytes(PatientSex="F", pixels=grey_pixels(1)))
    patient = Patient.objects.get(patient_id="P-1")
    correct_patient(patient, {"sex": "M"}, actor=admin, reason="typo")
    assert IdentityDiscrepancy.objects.exists()

    with django_capture_on_commit_callbacks(execute=True):
        erase_patient(patient, actor=admin, reason="court order")

    assert not IdentityDiscrepancy.objects.exists()
    assert not PatientCorrection.objects.exists()
    assert not AuditChange.objects.exists()
    assert not default_storage.exists(object_key(picture.original_sha256))
