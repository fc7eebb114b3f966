"""A label that was not measured at the patient's age has a reason and no finding."""

from __future__ import annotations

from datetime import date

import pytest

from accounts.models import Role
from diagnoses.leases import claim
from diagnoses.models import HeatMap, ModelVersion, Prediction, WorklistEntry
from diagnoses.runs import queue_predictions
from diagnoses.worker.batches import read_batch
from diagnoses.worker.read import LoadedModels, read_claimed
from diagnoses.worker.reproduction import reproduce
from tests.clients import html, person
from tests.diagnoses.fakes import LABELS, installed_model, stored_image
from tests.factories import PatientFactory, StudyFactory

pytestmark = pytest.mark.django_db
BACTERIAL = LABELS[1]
STUDY_DATE = date(2021, 5, 1)


def model_of_children() -> ModelVersion:
    """Return an active model that learned bacterial pneumonia from children."""
    version = installed_model()
    for label in version.card["labels"]:
        if label["name"] == BACTERIAL:
            label["age_years"] = [[1, 5]]
    version.claimed_labels = list(LABELS)
    version.save()
    return version


def queued_run(birth_date: date | None) -> Prediction:
    model_of_children()
    patient = PatientFactory(birth_date=birth_date)
    study = StudyFactory(patient=patient, study_date=STUDY_DATE)
    return queue_predictions(stored_image(series__study=study))[0]


def finished_run(birth_date: date | None, models: LoadedModels) -> Prediction:
    run = queued_run(birth_date)
    assert read_claimed(claim("worker-1")[0], models=models)
    run.refresh_from_db()
    return run


@pytest.fixture
def adult_run(models: LoadedModels) -> Prediction:
    return finished_run(date(1960, 2, 29), models)


def test_an_adult_has_no_finding_heat_map_or_flag_of_a_childrens_label(
    adult_run: Prediction,
) -> None:
    found = set(adult_run.findings.values_list("label", flat=True))
    assert found == set(LABELS) - {BACTERIAL}
    assert not HeatMap.objects.filter(finding__label=BACTERIAL).exists()
    assert adult_run.provenance["not_scored"] == {BACTERIAL: "not_measured_in_adults"}
    entry = WorklistEntry.objects.get()
    assert (entry.flagged, entry.models_flagging) == (False, 0)


def test_a_batch_follows_the_same_rule(models: LoadedModels) -> None:
    run = queued_run(date(1960, 2, 29))
    assert read_batch([claim("worker-1")[0]], models=models) == []
    assert not run.findings.filter(label=BACTERIAL).exists()
    assert run.findings.exists()


def test_a_child_of_the_measured_ages_is_scored_and_flagged(
    models: LoadedModels,
) -> None:
    run = finished_run(date(2017, 3, 1), models)
    assert run.findings.get(label=BACTERIAL).positive
    assert run.provenance["not_scored"] == {}
    assert WorklistEntry.objects.get().flagged


def test_page_and_api_say_why_there_is_no_score(adult_run: Prediction) -> None:
    client = person(Role.RADIOLOGIST)
    page = html(client, f"/studies/{adult_run.instance.series.study_id}/")
    assert f"{BACTERIAL}: not measured in adults" in page
    answer = client.get(f"/api/v1/predictions/{adult_run.pk}/").json()
    assert answer["not_scored"] == [
        {
            "label": BACTERIAL,
            "reason_code": "not_measured_in_adults",
            "reason": "not measured in adults",
        }
    ]
    assert BACTERIAL not in {finding["label"] for finding in answer["findings"]}


def test_an_unknown_age_is_scored_and_the_page_says_so(models: LoadedModels) -> None:
    run = finished_run(None, models)
    assert run.findings.get(label=BACTERIAL).positive
    client = person(Role.RADIOLOGIST)
    page = html(client, f"/studies/{run.instance.series.study_id}/")
    assert "age is not known. Measured at these ages only: " in page
    assert f"{BACTERIAL} (1–5 years)" in page
    answer = client.get(f"/api/v1/predictions/{run.pk}/").json()
    assert answer["age_unknown"] == [BACTERIAL]


def test_a_run_without_a_label_is_reproduced(
    adult_run: Prediction, models: LoadedModels
) -> None:
    assert reproduce(adult_run, models=models).verdict == "agree"
