"""REST: the worklist, with the result of the models in use."""

from __future__ import annotations

import pytest

from accounts.models import Role
from diagnoses.models import Finding
from patients.models import Priority
from tests.clients import program
from tests.diagnoses.pages.page_rows import read, study_with_image, waiting
from tests.factories import DepartmentFactory

pytestmark = pytest.mark.django_db
URL = "/api/v1/worklist/"


def test_a_row_has_the_sentence_of_the_worklist_and_its_parts() -> None:
    run = read(study_with_image(), Tuberculosis=0.8)
    [row] = program().get(URL).json()["results"]
    study = run.instance.series.study
    assert row["study"] == str(study.pk)
    assert row["patient"] == str(study.patient_id)
    assert row["sentence"] == "Tuberculosis flagged by 1 of 1 · highest 0.80"
    assert (row["flagged"], row["label"], row["highest"]) == (True, "Tuberculosis", 0.8)
    assert (row["models_flagging"], row["models_reading"]) == (1, 1)
    assert (row["instance"], row["image_number"]) == (str(run.instance_id), 1)
    assert row["prediction"] == str(run.pk)
    assert program().get(f"{URL}{study.pk}/").json() == row


def test_rows_come_by_priority_and_then_longest_waiting_first() -> None:
    for minutes, priority in ((1, 0), (9, 0), (5, 0), (2, Priority.STAT)):
        waiting(study_with_image(minutes_ago=minutes, priority=priority))
    rows = program().get(URL).json()["results"]
    assert [row["priority"] for row in rows] == ["stat", *["routine"] * 3]
    received = [row["received_at"] for row in rows[1:]]
    assert received == sorted(received)


def test_flagged_studies_can_be_listed() -> None:
    flagged = read(study_with_image(), Tuberculosis=0.8)
    read(study_with_image(), Normal=0.8)
    [row] = program().get(f"{URL}?flagged=true").json()["results"]
    assert row["study"] == str(flagged.instance.series.study_id)


def test_without_the_right_to_results_a_row_has_none() -> None:
    read(study_with_image(), Tuberculosis=0.8)
    read(study_with_image(), Normal=0.8)
    rows = program(Role.AUDITOR).get(f"{URL}?flagged=true").json()["results"]
    assert len(rows) == 2, "the filter would tell the result"
    assert all(
        row["sentence"] is row["flagged"] is row["label"] is None for row in rows
    )


def test_studies_of_other_departments_are_not_listed() -> None:
    image = study_with_image(department=DepartmentFactory(code="elsewhere"))
    waiting(image)
    client = program()
    assert client.get(URL).json()["results"] == []
    assert client.get(f"{URL}{image.series.study_id}/").status_code == 404


def test_predictions_can_be_listed_by_a_flagged_label() -> None:
    run = read(study_with_image(), Tuberculosis=0.8, Normal=0.9)
    predictions = "/api/v1/predictions/?flagged="
    client = program()
    [listed] = client.get(f"{predictions}Tuberculosis").json()["results"]
    assert listed["id"] == str(run.pk)
    assert {f["label"] for f in listed["findings"] if f["flagged"]} == {"Tuberculosis"}
    assert client.get(f"{predictions}Normal").json()["results"] == []
    run.model_version.claimed_labels = []
    run.model_version.save()
    assert client.get(f"{predictions}Tuberculosis").json()["results"] == []
    assert Finding.objects.filter(positive=True).count() == 2
