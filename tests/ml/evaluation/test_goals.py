"""Goals are held against the cards; a figure that no card has is not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml.cards.card import Card, parse_card
from ml.cards.measurements import Estimate
from ml.evaluation.goals import GOALS, Goal, Target, outcomes_of
from tests.ml.cards.test_schema import MEASUREMENT, current

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (Target(at_least=0.8), True),
        (Target(at_least=0.81), False),
        (Target(at_most=0.8), True),
        (Target(at_most=0.79), False),
        (Target(at_least=0.8, low_over=0.7), False),
        (Target(low_over=0.69), True),
        (Target(high_under=0.9), False),
        (Target(times_baseline=2.0), True),
        (Target(times_baseline=2.1), False),
    ],
    ids=str,
)
def test_every_condition_of_a_target_counts(target: Target, reached: bool) -> None:
    assert target.is_reached(Estimate(0.8, 0.7, 0.9), Estimate(0.4)) is reached


def test_an_undefined_value_reaches_nothing() -> None:
    for target in (Target(at_most=1.0), Target(low_over=0.0), Target(high_under=1.0)):
        assert not target.is_reached(Estimate(None))
    assert not Target(times_baseline=2.0).is_reached(Estimate(0.8))


def card(name: str, **changes: Any) -> Card:
    return parse_card(current(name=name, **changes), folder=Path())


def goal(words: str) -> Goal:
    [found] = [each for each in GOALS if words in each.measure]
    return found


def accuracy(value: float, **changes: Any) -> dict[str, Any]:
    metric = {"name": "balanced_accuracy", "value": value, "low": value, "high": value}
    return {**MEASUREMENT, "metrics": [metric], **changes}


def test_a_figure_is_found_by_data_and_not_on_changed_images() -> None:
    kermany = goal("normal, bacterial, viral")
    plain = card("chestx6-resnet50", measurements=[accuracy(0.9)])
    [outcome] = outcomes_of(kermany, [plain, card("other")])
    assert outcome.reached is True
    for other in ({"change": "noise"}, {"datasets": ["nih"]}, {"split": "train"}):
        changed = card("chestx6-resnet50", measurements=[accuracy(0.9, **other)])
        [outcome] = outcomes_of(kermany, [changed])
        assert outcome.figure is None
        assert outcome.reached is None


def test_a_model_that_is_not_there_has_no_outcome() -> None:
    assert outcomes_of(goal("normal, bacterial, viral"), [card("other")]) == []


def test_of_a_goal_for_every_model_the_worst_is_shown() -> None:
    def calibrated(name: str, error: float) -> Card:
        ece = {"name": "expected_calibration_error", "value": error}
        return card(name, measurements=[{**MEASUREMENT, "metrics": [ece]}])

    cards = [calibrated("good", 0.02), calibrated("bad", 0.07), card("none")]
    [outcome] = outcomes_of(goal("calibration error"), cards)
    assert (outcome.card.name, outcome.reached) == ("bad", False)


def test_a_source_that_training_left_out_is_never_one_that_it_saw() -> None:
    name = "chest-efficientnet-pneumonia"
    area = {"name": "auc", "value": 0.9, "low": 0.8, "high": 1.0}
    nih = {
        **MEASUREMENT,
        "datasets": ["nih"],
        "labels": [{"label": "Pneumonia", "metrics": [area]}],
    }
    trained = card(name, measurements=[nih], training_data=[{"dataset": "nih"}])
    [unseen] = outcomes_of(goal("not trained on it"), [trained])
    [seen] = outcomes_of(goal("the same, trained on it"), [trained])
    assert unseen.figure is None
    assert seen.reached is True
    trial = {
        "task": "pneumonia: Pneumonia",
        "source": "nih",
        "metric": "auc",
        "value": {"value": 0.6, "low": 0.5, "high": 0.7},
        "images": 9,
        "patients": 9,
        "command": ["x"],
        "left_out": ["nih", "rsna-normal"],
    }
    adversarial = {**trial, "method": "adversarial", "value": {"value": 0.9}}
    [unseen] = outcomes_of(
        goal("not trained on it"), [card(name, cross_source=[adversarial, trial])]
    )
    assert unseen.reached is False
