"""Operating points: the threshold of each label keeps what its name promises."""

from __future__ import annotations

import numpy as np
import pytest

from ml.training.operating_points import operating_points, threshold_for_sensitivity

pytestmark = pytest.mark.slow


NAMES = ("Mass", "Hernia")


def points(task: str = "sigmoid") -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(1)
    positive = np.zeros((200, 2), bool)
    positive[:80, 0] = True
    positive[:3, 1] = True
    scores = np.clip(rng.normal(0.3, 0.15, (200, 2)) + 0.3 * positive, 0, 1)
    thresholds = operating_points(
        scores, positive, np.ones_like(positive), names=NAMES, task=task
    )
    called = scores[positive[:, 0], 0] >= thresholds["sensitivity_95"]["Mass"]
    assert called.mean() >= 0.95
    return thresholds


def test_a_stated_sensitivity_is_reached_on_the_images_it_was_fitted_on() -> None:
    thresholds = points()
    assert thresholds["sensitivity_98"]["Mass"] <= thresholds["sensitivity_95"]["Mass"]


def test_the_thresholds_of_published_systems_are_included() -> None:
    assert points()["plain_0.4"] == {"Mass": 0.4, "Hernia": 0.4}


def test_a_label_with_few_images_gets_no_fitted_threshold() -> None:
    assert points("softmax")["youden"]["Hernia"] == 0.5


def test_the_highest_threshold_with_the_sensitivity_is_taken() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    ground_truth = np.array([True, True, True, False])
    assert threshold_for_sensitivity(scores, ground_truth, 0.66) == 0.8
