"""The worklist entry of a study."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from diagnoses.latest_runs import latest_runs
from diagnoses.leases import claim
from diagnoses.models import ModelVersion, Prediction, WorklistEntry
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels, read_claimed
from diagnoses.worklist import rebuild_worklist, refresh_entry
from patients.models import Instance, Origin, Study
from tests.diagnoses.fakes import fake_loader, image_row, installed_model, stored_image
from tests.factories import FindingFactory, PredictionFactory, StudyFactory


@pytest.fixture
def study(db: None) -> Study:
    return StudyFactory()


def read(
    image: Instance, model: ModelVersion, **scores: tuple[float, float]
) -> Prediction:
    """Return a finished run; `Normal=(probability, threshold)`."""
    prediction = PredictionFactory(instance=image, model_version=model, succeeded=True)
    for position, (label, (probability, threshold)) in enumerate(scores.items()):
        FindingFactory(
            prediction=prediction,
            position=position,
            label=label,
            probability=probability,
            threshold=threshold,
        )
    return prediction


def entry_of(study: Study) -> WorklistEntry:
    refresh_entry(study.pk)
    return WorklistEntry.objects.select_related("finding").get(study=study)


def test_the_first_image_of_a_study_adds_its_worklist_entry(
    study: Study, chest_model: ModelVersion
) -> None:
    queue_predictions(image_row(series__study=study))
    entry = WorklistEntry.objects.get(study=study)
    assert (entry.status, entry.images, entry.images_waiting) == ("queued", 1, 1)
    assert (entry.finding, entry.flagged) == (None, False)


def test_the_entry_shows_the_strongest_positive_finding(
    study: Study, chest_model: ModelVersion
) -> None:
    image, other = (image_row(series__study=study) for _ in range(2))
    read(image, chest_model, Normal=(0.99, 0.5), Tuberculosis=(0.6, 0.5))
    strongest = read(other, chest_model, Normal=(0.1, 0.5), Emphysema=(0.8, 0.5))
    entry = entry_of(study)
    assert (entry.finding.label, entry.flagged) == ("Emphysema", True)
    assert entry.prediction == strongest, "it says which image"


def test_without_positive_findings_the_highest_score_is_shown_unflagged(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.7, 0.5), Tuberculosis=(0.2, 0.5))
    entry = entry_of(study)
    assert (entry.finding.label, entry.flagged) == ("Normal", False)


def test_lateral_images_are_not_shown_in_the_entry(
    study: Study, chest_model: ModelVersion
) -> None:
    lateral = image_row(series__study=study, view_position="LL")
    read(lateral, chest_model, Tuberculosis=(0.9, 0.5))
    assert entry_of(study).finding is None


def test_the_entry_shows_the_default_model_only(
    study: Study, chest_model: ModelVersion
) -> None:
    other = installed_model("other-net")
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.7, 0.5))
    read(image, other, Tuberculosis=(0.9, 0.5))
    entry = entry_of(study)
    assert (entry.finding.label, entry.flagged) == ("Normal", False)


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (["succeeded", "succeeded"], "succeeded"),
        (["succeeded", "queued"], "queued"),
        (["succeeded", "running"], "queued"),
        (["queued", "rejected"], "rejected"),
        (["rejected", "failed"], "failed"),
    ],
)
def test_the_entry_has_the_worst_status_of_its_images(
    study: Study, chest_model: ModelVersion, statuses: list[str], worst: str
) -> None:
    for status in statuses:
        image = image_row(series__study=study)
        queue_predictions(image)
        row = Prediction.objects.filter(instance=image)
        if status == "running":
            claim("worker-1")
        elif status != "queued":
            row.update(
                status=status,
                finished_at="2026-01-01T00:00Z",
                reason_code="why",
                input_sha256="a" * 64,
            )
    entry = entry_of(study)
    assert entry.status == worst
    assert entry.images == 2
    assert entry.images_waiting == sum(s in ("queued", "running") for s in statuses)
    assert entry.images_unread == sum(s in ("rejected", "failed") for s in statuses)


def test_a_new_run_replaces_the_failed_one_in_the_entry(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    PredictionFactory(instance=image, model_version=chest_model, failed=True)
    assert entry_of(study).status == "failed"
    PredictionFactory(instance=image, model_version=chest_model, run=2, succeeded=True)
    assert entry_of(study).status == "succeeded"


def test_objects_made_by_chestx_have_no_worklist_entry(
    study: Study, chest_model: ModelVersion
) -> None:
    image_row(series__study=study, origin=Origin.OURS)
    refresh_entry(study.pk)
    assert not WorklistEntry.objects.exists()


def test_refreshing_twice_changes_nothing(
    study: Study, chest_model: ModelVersion
) -> None:
    queue_predictions(image_row(series__study=study))
    before = WorklistEntry.objects.values().get()
    refresh_entry(study.pk)
    assert WorklistEntry.objects.values().get() == before


def test_a_new_default_model_is_shown_in_every_entry(
    study: Study, chest_model: ModelVersion, settings: Settings
) -> None:
    other = installed_model("other-net")
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.7, 0.5))
    read(image, other, Tuberculosis=(0.9, 0.5))
    entry_of(study)
    assert rebuild_worklist() == 0
    settings.DEFAULT_MODEL = "other-net"
    assert rebuild_worklist() == 1
    assert WorklistEntry.objects.get().finding.label == "Tuberculosis"
    assert rebuild_worklist() == 0


@pytest.mark.django_db(transaction=True)
def test_concurrently_finished_images_are_both_counted() -> None:
    installed_model()
    study = StudyFactory()
    for _ in range(4):
        queue_predictions(stored_image(series__study=study))
    start = threading.Barrier(4)

    def work(name: str, models: LoadedModels) -> None:
        start.wait()
        [claimed] = claim(name)
        read_claimed(claimed, models=models)
        connection.close()

    threads = [
        threading.Thread(target=work, args=(f"w{n}", LoadedModels(fake_loader)))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry = WorklistEntry.objects.get(study=study)
    assert (entry.status, entry.images_waiting) == ("succeeded", 0)


def test_a_normal_result_is_never_flagged(
    study: Study, chest_model: ModelVersion
) -> None:
    brain = installed_model("brain-tumour-xception")
    image = image_row(series__study=study)
    read(image, brain, **{"No tumour": (0.9, 0.5), "Glioma": (0.1, 0.5)})
    entry = entry_of(study)
    assert (entry.finding.label, entry.flagged) == ("No tumour", False)


def test_an_image_outside_the_default_model_shows_its_own_model(
    study: Study, chest_model: ModelVersion
) -> None:
    brain = installed_model("brain-tumour-xception")
    other = installed_model("another-brain-net")
    slice_of_brain = image_row(series__study=study)
    read(slice_of_brain, other, Glioma=(0.95, 0.5))
    assert entry_of(study).finding is None
    strongest = read(slice_of_brain, brain, Glioma=(0.9, 0.5))
    entry = entry_of(study)
    assert (entry.prediction, entry.flagged) == (strongest, True)
    runs = latest_runs([slice_of_brain.pk])[slice_of_brain.pk]
    assert [run.model_version for run in runs] == [brain, other]
    # Turned away by the chest model, at somebody's wish: the other still speaks.
    Prediction.objects.create(
        instance=slice_of_brain,
        model_version=chest_model,
        status="rejected",
        reason_code="wrong_modality",
        reason="MR.",
        finished_at=Now(),
    )
    assert entry_of(study).prediction == strongest
    assert rebuild_worklist() == 0
