"""The certainty of a run: stored with it, shown on the page and over REST."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accounts.models import Role
from diagnoses.governance.versions import card_of
from diagnoses.leases import Claimed
from diagnoses.models import ModelVersion, Prediction
from diagnoses.pages.words.certainty import RunCertainty
from diagnoses.runs import RunResult, complete_prediction
from diagnoses.worklist import refresh_entry
from tests.clients import html, person
from tests.diagnoses.fakes import LABELS, FakeModel, gradient_image, installed_model
from tests.diagnoses.pages.page_rows import study_with_image
from tests.factories import FindingFactory, PredictionFactory

pytestmark = pytest.mark.django_db
WORDS = dict(zip(LABELS, ("confident", "borderline", "not sure"), strict=True))
PROBABILITIES = (0.1, 0.7, 0.2)


def sure_run() -> Prediction:
    """Return a run whose provenance says how sure it was."""
    run: Prediction = PredictionFactory(
        instance=study_with_image(),
        model_version=installed_model(),
        succeeded=True,
        provenance={"certainty": WORDS, "label_set": list(LABELS[1:])},
    )
    for i, label in enumerate(LABELS):
        FindingFactory(
            prediction=run, position=i, label=label, probability=PROBABILITIES[i]
        )
    refresh_entry(run.instance.series.study_id)
    return run


def test_the_page_shows_certainty_in_words() -> None:
    run = sure_run()
    address = f"/studies/{run.instance.series.study_id}/"
    shown = html(person(Role.RADIOLOGIST), address)
    assert '<span class="certainty">borderline</span>' in shown
    assert '<span class="certainty">not sure</span>' in shown
    assert '<span class="certainty">confident</span>' not in shown
    assert f"cannot rule out: {LABELS[1]} or {LABELS[2]}." in shown


def test_a_label_without_a_claimed_accuracy_has_no_certainty_anywhere() -> None:
    run = sure_run()
    ModelVersion.objects.update(claimed_labels=[LABELS[1]])
    client = person(Role.RADIOLOGIST)
    shown = html(client, f"/studies/{run.instance.series.study_id}/")
    assert shown.count('class="certainty"') == 1
    answer = client.get(f"/api/v1/predictions/{run.pk}/").json()
    findings = {finding["label"]: finding for finding in answer["findings"]}
    assert [findings[label]["certainty"] for label in LABELS] == ["", "borderline", ""]
    assert [findings[label]["accuracy_claimed"] for label in LABELS] == [
        False,
        True,
        False,
    ]


def test_the_api_has_the_same_certainty() -> None:
    run = sure_run()
    answer = person(Role.RADIOLOGIST).get(f"/api/v1/predictions/{run.pk}/").json()
    assert {f["label"]: f["certainty"] for f in answer["findings"]} == WORDS
    assert answer["label_set"] == list(LABELS[1:])


def test_certainty_is_stored_with_the_run(
    chest_model: ModelVersion, claimed: Claimed
) -> None:
    model_output = FakeModel(card_of(chest_model)).read(gradient_image())
    scores = tuple(
        replace(score, certainty=WORDS[score.label]) for score in model_output.scores
    )
    model_output = replace(model_output, scores=scores, label_set=(LABELS[1],))
    assert complete_prediction(claimed, run=RunResult(model_output))
    stored = Prediction.objects.get(pk=claimed.prediction_id).provenance
    assert (stored["certainty"], stored["label_set"]) == (WORDS, [LABELS[1]])


def test_a_single_label_needs_no_sentence() -> None:
    certain = RunCertainty({}, ("Normal",))
    assert certain.sentence({}) == ""
    both = replace(certain, label_set=("Normal", "Edema"))
    sentence = both.sentence({"Edema": "Pulmonary oedema"})
    assert sentence == "The model cannot rule out: Normal or Pulmonary oedema."


def test_a_confident_negative_has_no_certainty_word() -> None:
    certain = RunCertainty({"Normal": "confident"})
    assert certain.word("Normal", positive=True) == "confident"
    assert certain.word("Normal", positive=False) == ""
    assert certain.word("Edema", positive=True) == ""
