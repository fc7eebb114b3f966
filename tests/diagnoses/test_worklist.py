"""The worklist entry of a study."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from diagnoses.governance.transitions import Decision, activate, retire
from diagnoses.latest_runs import latest_runs
from diagnoses.leases import claim
from diagnoses.models import ModelVersion, Prediction, WorklistEntry
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels, read_claimed
from diagnoses.worklist import rebuild_worklist, refresh_entry
from patients.models import Instance, Origin, Study
from tests.diagnoses.fakes import fake_loader, image_row, installed_model, stored_image
from tests.factories import (
    FindingFactory,
    ModelVersionFactory,
    PredictionFactory,
    SeriesFactory,
    StudyFactory,
)


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


def test_one_flag_of_another_model_than_the_default_flags_the_study(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.96, 0.5), Tuberculosis=(0.01, 0.5))
    flagging = read(image, installed_model("other-net"), Tuberculosis=(0.9, 0.5))
    entry = entry_of(study)
    assert (entry.label, entry.flagged, entry.prediction) == (
        "Tuberculosis",
        True,
        flagging,
    )
    assert entry.result_sentence == "Tuberculosis flagged by 1 of 2 · highest 0.90"


def test_the_sentence_counts_the_models_that_have_the_label_and_analysed_the_image(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.6, 0.5))
    for number, probability in enumerate((0.83, 0.7, 0.2)):
        read(image, installed_model(f"net-{number}"), Pneumonia=(probability, 0.5))
    PredictionFactory(instance=image, model_version=installed_model("net-9"))
    rejected = installed_model("net-8")
    PredictionFactory(
        instance=image, model_version=rejected, failed=True, status="rejected"
    )
    assert entry_of(study).result_sentence == (
        "Pneumonia flagged by 2 of 3 · highest 0.83"
    )


def test_a_specific_label_counts_for_the_general_one(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(
        image,
        chest_model,
        **{"Bacterial pneumonia": (0.6, 0.5), "Viral pneumonia": (0.2, 0.5)},
    )
    read(image, installed_model("net-a"), Pneumonia=(0.8, 0.5))
    read(image, installed_model("net-b"), Pneumonia=(0.1, 0.5))
    entry = entry_of(study)
    assert (entry.label, entry.models_flagging, entry.models_reading) == (
        "Pneumonia",
        2,
        3,
    )


def test_without_other_models_the_specific_label_is_named(
    study: Study, chest_model: ModelVersion
) -> None:
    read(
        image_row(series__study=study),
        chest_model,
        **{"Bacterial pneumonia": (0.6, 0.5)},
    )
    assert entry_of(study).label == "Bacterial pneumonia"


def test_the_label_with_the_most_flags_is_named_whatever_its_probability(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(image, chest_model, Emphysema=(0.6, 0.5), Tuberculosis=(0.99, 0.5))
    read(image, installed_model("other-net"), Emphysema=(0.7, 0.5))
    entry = entry_of(study)
    assert (entry.label, entry.highest) == ("Emphysema", 0.7)


def test_a_model_counts_once_for_all_images_of_a_study(
    study: Study, chest_model: ModelVersion
) -> None:
    for probability in (0.6, 0.9, 0.1):
        read(image_row(series__study=study), chest_model, Emphysema=(probability, 0.5))
    assert entry_of(study).result_sentence == (
        "Emphysema flagged by 1 of 1 · highest 0.90"
    )


def test_the_image_of_the_finding_is_numbered_as_on_the_study_page(
    study: Study, chest_model: ModelVersion
) -> None:
    series = SeriesFactory(study=study)
    second, first = (
        image_row(series=series, instance_number=number) for number in (7, 3)
    )
    read(first, chest_model, Normal=(0.9, 0.5))
    read(second, chest_model, Emphysema=(0.9, 0.5))
    entry = entry_of(study)
    assert (entry.prediction.instance, entry.image_number) == (second, 2)


def test_a_label_without_a_claimed_accuracy_is_never_flagged(
    study: Study, chest_model: ModelVersion
) -> None:
    ModelVersion.objects.update(claimed_labels=["Normal"])
    read(
        image_row(series__study=study),
        chest_model,
        Normal=(0.3, 0.5),
        Tuberculosis=(0.99, 0.5),
    )
    entry = entry_of(study)
    assert (entry.flagged, entry.label) == (False, "Normal")


def test_models_that_claim_no_accuracy_are_told(
    study: Study, chest_model: ModelVersion
) -> None:
    ModelVersion.objects.update(claimed_labels=[])
    read(image_row(series__study=study), chest_model, Tuberculosis=(0.99, 0.5))
    entry = entry_of(study)
    assert (entry.flagged, entry.label, entry.finding) == (False, "", None)
    assert entry.result_sentence == "Analysed by 1 model that claims no accuracy"


def test_the_runs_of_a_retired_model_do_not_count(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.7, 0.5))
    read(image, installed_model("other-net", state="retired"), Emphysema=(0.9, 0.5))
    assert not entry_of(study).flagged


def test_a_new_version_does_not_hide_what_the_version_before_found(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(image, chest_model, Emphysema=(0.9, 0.5))
    ModelVersion.objects.update(state="retired")
    newer = ModelVersionFactory(name=chest_model.name, version="2")
    assert entry_of(study).flagged
    read(image, newer, Emphysema=(0.1, 0.5))
    assert not entry_of(study).flagged, "the run of the active version counts"


def test_a_study_is_analysed_only_when_no_model_in_use_waits(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.7, 0.5))
    other = installed_model("other-net")
    PredictionFactory(instance=image, model_version=other)
    entry = entry_of(study)
    assert (entry.status, entry.images_waiting) == ("queued", 1)
    other.state = "retired"
    other.save()
    assert entry_of(study).status == "succeeded", "a retired model is not waited for"


def test_an_image_that_one_model_rejected_and_another_analysed_is_analysed(
    study: Study, chest_model: ModelVersion
) -> None:
    image = image_row(series__study=study)
    PredictionFactory(
        instance=image, model_version=chest_model, failed=True, status="rejected"
    )
    read(image, installed_model("other-net"), Emphysema=(0.9, 0.5))
    assert entry_of(study).status == "succeeded"


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


def test_every_row_follows_the_models_in_use(
    study: Study, chest_model: ModelVersion
) -> None:
    other = installed_model("other-net")
    image = image_row(series__study=study)
    read(image, chest_model, Normal=(0.7, 0.5))
    read(image, other, Tuberculosis=(0.9, 0.5))
    entry_of(study)
    assert rebuild_worklist() == 0
    retire(other, decision=Decision(None, "tests", "command"))
    assert rebuild_worklist() == 1
    assert not WorklistEntry.objects.get().flagged
    activate(
        other,
        decision=Decision(None, "tests", "command"),
        without_acceptance="tests",
    )
    assert rebuild_worklist() == 1
    assert WorklistEntry.objects.get().flagged
    ModelVersion.objects.filter(pk=other.pk).update(claimed_labels=[])
    assert rebuild_worklist() == 1
    assert not WorklistEntry.objects.get().flagged
    assert rebuild_worklist() == 0


def test_outdated_rows_are_written_in_portions(
    study: Study, chest_model: ModelVersion
) -> None:
    for _ in range(3):
        queue_predictions(image_row(series__study=StudyFactory()))
    installed_model("other-net")
    assert [rebuild_worklist(most=2) for _ in range(3)] == [2, 1, 0]


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


def test_the_runs_of_an_image_come_with_the_default_model_first(
    study: Study, chest_model: ModelVersion
) -> None:
    brain = installed_model("brain-tumour-xception")
    other = installed_model("another-brain-net")
    slice_of_brain = image_row(series__study=study)
    for model in (other, brain):
        read(slice_of_brain, model, Glioma=(0.9, 0.5))
    runs = latest_runs([slice_of_brain.pk])[slice_of_brain.pk]
    assert [run.model_version for run in runs] == [brain, other]
