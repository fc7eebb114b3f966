"""Real objects that are no chest radiograph: stored, shown, and read by no model."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.urls import reverse

from accounts.models import Role
from diagnoses.models import ModelVersion, Prediction
from patients.models import Instance, Patient, Upload
from tests.clients import html, person, program
from tests.diagnoses.fakes import installed_model

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
WITHOUT_PIXELS = (
    "agfa_cr_chest_pa_japanese_name",
    "highdicom_sr_tid1500",
    "offis_report_basic_text_sr",
    "pydicom_test_sr",
)


@pytest.fixture
def model(db: None) -> ModelVersion:
    return installed_model()


def stored(folder: Path, name: str) -> Instance:
    """Send one file of the folder by REST."""
    path = folder / "dicom-more" / f"{name}.dcm"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the folder of real data")
    sent = SimpleUploadedFile(path.name, path.read_bytes())
    answer = program().post(reverse("upload-list"), {"file": sent})
    (file,) = answer.json()["files"]
    assert file["outcome"] == "stored", file
    return Instance.objects.select_related("series__study").get(pk=file["instance"])


@pytest.mark.parametrize("name", WITHOUT_PIXELS)
def test_an_object_without_pixels_is_kept_and_shown_as_such(
    chestx_data: Path, model: ModelVersion, name: str
) -> None:
    instance = stored(chestx_data, name)
    assert instance.rows is None
    assert [run.reason_code for run in instance.predictions.all()] == ["no_pixels"]
    study = reverse("study", args=[instance.series.study_id])
    assert "no pixels" in html(person(Role.RADIOLOGIST), study)


def test_the_thorax_of_a_dog_is_not_read(
    chestx_data: Path, model: ModelVersion
) -> None:
    stored(chestx_data, "fuji_dx_dog_lateral_thorax_mono1")
    run = Prediction.objects.get()
    assert (run.status, run.reason_code) == ("rejected", "wrong_species")


def test_every_file_is_answered_alike_by_every_source(
    chestx_data: Path, model: ModelVersion, tmp_path: Path
) -> None:
    files = sorted((chestx_data / "dicom-more").glob("*.dcm"))
    if not files:
        pytest.skip("the folder of real data has no dicom-more")
    rest, web = program(), person(Role.TECHNOLOGIST)
    for path in files:
        content = path.read_bytes()
        sent = [SimpleUploadedFile(path.name, content) for _ in range(2)]
        rest.post(reverse("upload-list"), {"file": sent[0]})
        web.post("/upload/", {"file": sent[1]})
        shutil.copyfile(path, tmp_path / path.name)
    call_command("import_studies", str(tmp_path))

    outcomes = Counter(Upload.objects.values_list("source", "outcome"))
    assert outcomes == {
        ("rest", "stored"): len(files),
        ("web", "duplicate"): len(files),
        ("folder", "duplicate"): len(files),
    }


def test_a_japanese_name_is_right_on_every_page(
    chestx_data: Path, model: ModelVersion
) -> None:
    instance = stored(chestx_data, "agfa_cr_chest_pa_japanese_name")
    patient = Patient.objects.get()
    assert (patient.family_name, patient.given_name) == ("やまだ", "たろう")
    client = person(Role.RADIOLOGIST)
    for page in (
        reverse("study", args=[instance.series.study_id]),
        reverse("patient", args=[patient.pk]),
        reverse("worklist"),
        f"{reverse('worklist')}?q=やまだ",
    ):
        assert "やまだ, たろう" in html(client, page)
