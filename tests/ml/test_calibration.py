"""Calibrated probabilities, by the method of the card."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration import calibrated_labels, probabilities, sigmoid
from ml.training.calibration import fit_calibration, fit_intercepts, fit_platt


def test_platt_scaling_has_a_slope_and_an_intercept_per_label() -> None:
    calibration = {"platt": {"b": [2.0, -1.0], "a": [1.0, 0.0]}}
    calibrated = probabilities(
        np.array([0.5, 0.5]), task="sigmoid", names=("a", "b"), calibration=calibration
    )
    assert calibrated == pytest.approx([sigmoid(np.array(0.5)), 0.5])


def test_platt_scaling_corrects_overconfidence_and_prevalence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(-1.0, 1.5, 6000)
    positive = rng.random(6000) < sigmoid(honest)
    slope, intercept = fit_platt(honest * 2.5 + 1.0, positive)
    assert slope == pytest.approx(1 / 2.5, rel=0.1)
    assert intercept == pytest.approx(-1 / 2.5, abs=0.1)


def test_few_images_change_little_and_keep_the_order() -> None:
    logits = np.array([3.0, -1.0, 0.5, 2.0])
    worst = fit_platt(logits, np.array([False, True, True, False]))
    assert worst[0] > 0
    assert fit_platt(logits, np.zeros(4, bool)) == (1.0, 0.0)
    apart = np.array([5.0, 6.0, -5.0, -6.0])
    separated = fit_platt(apart, apart > 0)
    assert 0.3 < separated[0] < 3.0


def test_labels_with_few_images_stay_uncalibrated() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(200, 2))
    positive = logits > 0
    known = np.ones_like(positive)
    known[:, 1] = False
    known[:12, 1] = True
    calibration = fit_calibration(
        logits, positive, known, task="sigmoid", names=("often", "rarely")
    )
    assert calibration["too_few"] == ["rarely"]
    assert calibrated_labels(("often", "rarely"), calibration) == {"often"}
    assert calibrated_labels(("often",), {"calibrated": False}) == frozenset()


def test_a_softmax_model_is_calibrated_with_a_temperature() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(500, 3)) * 2
    positive = np.eye(3, dtype=bool)[logits.argmax(axis=1)]
    calibration = fit_calibration(
        logits, positive, np.ones_like(positive), task="softmax", names="abc"
    )
    assert calibration["method"] == "intercepts, then temperature"
    assert calibration["temperature"] < 0.5


def test_intercepts_correct_a_favoured_class_and_leave_an_absent_one() -> None:
    rng = np.random.default_rng(2)
    classes = rng.choice(3, 3000, p=(0.7, 0.2, 0.1))
    honest = rng.normal(size=(3000, 4))
    honest[np.arange(3000), classes] += 2.0
    intercepts = fit_intercepts(honest + np.array([1.5, 0.0, 0.0, 0.0]), classes)
    assert intercepts[0] - intercepts[1] == pytest.approx(-1.5, abs=0.2)
    assert intercepts[2] - intercepts[1] == pytest.approx(0.0, abs=0.25)
    assert intercepts[3] == 0.0


def test_intercepts_are_added_before_the_temperature() -> None:
    calibration = {"intercepts": {"b": 1.0, "a": 0.0}, "temperature": 2.0}
    calibrated = probabilities(
        np.array([1.0, 0.0]), task="softmax", names=("a", "b"), calibration=calibration
    )
    assert calibrated == pytest.approx([0.5, 0.5])
