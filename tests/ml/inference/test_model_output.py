"""The output of a model at the age of the patient."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from ml.cards.card import parse_card
from ml.model_output import ModelOutput, at_age, scores_of
from ml.preprocessing import preprocess
from tests.ml.conftest import TINY_LABELS, card_json

AGES = {"Bacterial pneumonia": [[1, 5]], "Normal": [[1, 5], [18, 120]]}
PROBABILITY = (0.1, 0.7, 0.2)


@pytest.fixture
def output() -> ModelOutput:
    """Return an output whose first two labels were measured at certain ages."""
    labels = [
        {"name": n, "display": n, "snomed": "1", "age_years": AGES.get(n, [])}
        for n in TINY_LABELS
    ]
    card = parse_card(card_json(labels=labels), folder=Path())
    scores, _ = scores_of(
        card,
        np.array(PROBABILITY),
        thresholds={},
        grids=np.zeros((3, 2, 2), np.float16),
        scales=np.zeros(3),
    )
    _, geometry = preprocess(np.zeros((64, 48), np.uint16), size=32)
    return ModelOutput(
        model="tiny",
        version="1.0.0",
        weights_sha256="0" * 64,
        preprocessing_version="1",
        backend="fake",
        precision="float32",
        library_versions=MappingProxyType({}),
        input_sha256="0" * 64,
        geometry=geometry,
        scores=scores,
        milliseconds=1.0,
        label_set=TINY_LABELS,
    )


def test_an_adult_has_no_score_of_what_was_measured_in_children(
    output: ModelOutput,
) -> None:
    adult = at_age(output, 40.0)
    assert adult.not_scored == {"Bacterial pneumonia": "not_measured_in_adults"}
    assert [score.label for score in adult.scores] == ["Normal", "Viral pneumonia"]
    assert adult.label_set == ("Normal", "Viral pneumonia")


def test_the_other_scores_stay_as_they_are(output: ModelOutput) -> None:
    """What the model gives to bacterial pneumonia goes to no other label."""
    kept = at_age(output, 40.0).scores
    assert [score.probability for score in kept] == [PROBABILITY[0], PROBABILITY[2]]


def test_a_child_of_the_measured_ages_has_every_score(output: ModelOutput) -> None:
    child = at_age(output, 4.0)
    assert (child.scores, child.not_scored) == (output.scores, {})


def test_an_age_between_the_measured_ones_has_neither(output: ModelOutput) -> None:
    assert at_age(output, 12.0).not_scored == dict.fromkeys(
        ("Normal", "Bacterial pneumonia"), "not_measured_at_this_age"
    )


def test_an_unknown_age_is_scored_and_the_labels_are_named(
    output: ModelOutput,
) -> None:
    unknown = at_age(output, None)
    assert unknown.scores == output.scores
    assert unknown.age_unknown == ("Normal", "Bacterial pneumonia")
