"""The demo patients: marked SYNTHETIC everywhere, created once."""

from typing import Any

import numpy as np
import pytest

from patients.models import Instance, Patient, Priority, Study, Upload
from patients.phantom import dataset as phantom
from patients.phantom import load
from patients.phantom.load import IMAGES, create_demo_patients
from tests.dicom_factory import grey_pixels

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _quick_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the drawing, which has tests of its own."""

    def noise(seed: int, **_: Any) -> np.ndarray:
        return grey_pixels(seed)

    monkeypatch.setattr(phantom, "draw_chest", noise)


def test_demo_images_are_marked_synthetic_with_the_source_demo() -> None:
    assert create_demo_patients() == len(IMAGES)
    assert Instance.objects.count() == len(IMAGES)
    assert set(Instance.objects.values_list("synthetic", flat=True)) == {True}
    assert set(Upload.objects.values_list("source", flat=True)) == {"demo"}
    assert set(Upload.objects.values_list("outcome", flat=True)) == {"stored"}
    names = {patient.display_name for patient in Patient.objects.all()}
    assert "DEMO, Chidi" in names
    assert len(names) == 12


def test_demo_patients_have_histories_and_priorities_and_no_flags() -> None:
    create_demo_patients()
    studies = Study.objects.select_related("patient")
    assert {study.priority for study in studies} == set(Priority)
    histories = [p for p in Patient.objects.all() if p.studies.count() > 1]
    assert len(histories) >= 2
    assert [study.flags for study in studies] == [[]] * len(IMAGES)


def test_creating_demo_patients_again_adds_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "IMAGES", IMAGES[:3])
    create_demo_patients()
    assert create_demo_patients() == 0
    assert Upload.objects.count() == 3


def test_interrupted_demo_patients_are_completed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "IMAGES", IMAGES[:3])
    create_demo_patients()
    last = Upload.objects.order_by("created_at").last()
    study = last.instance.series.study
    Study.objects.filter(pk=study.pk).update(accession_number="")
    assert create_demo_patients() == 1
