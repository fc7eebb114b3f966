"""Labels, metrics and calibration, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.calibration import probabilities, softmax
from ml.labels import CHESTX6_LABELS, resolve
from ml.metrics import (
    auc,
    balanced_accuracy,
    confusion,
    expected_calibration_error,
    mean_auc,
)
from ml.training.calibration import fit_temperature
from ml.training.operating_points import youden_threshold

CHESTX6 = [label.name for label in CHESTX6_LABELS]


@pytest.mark.parametrize(
    ("labels", "label", "reason"),
    [
        (["Pneumonia", "Bacterial pneumonia"], "Bacterial pneumonia", ""),
        (["No Finding"], "Normal", ""),
        (["Emphysema", "Mass"], "Emphysema", ""),
        (["Pneumonia"], None, "ambiguous"),
        (["Tuberculosis", "COVID-19"], None, "ambiguous"),
        (["Glioma"], None, "unknown"),
        ([], None, "unknown"),
    ],
)
def test_the_most_specific_label_is_used(
    labels: list[str], label: str | None, reason: str
) -> None:
    resolved = resolve(labels, CHESTX6)
    assert (resolved.label, resolved.reason) == (label, reason)


def test_a_model_of_the_general_label_accepts_the_specific_one() -> None:
    names = ["Normal", "Pneumonia"]
    assert resolve(["Pneumonia", "Bacterial pneumonia"], names).label == "Pneumonia"


def test_auc_counts_pairs_and_halves_ties() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    positive = np.array([False, True, False, True])
    assert auc(scores, positive) == pytest.approx(3.5 / 4)
    assert math.isnan(auc(scores, np.ones(4, bool)))


def test_mean_auc_omits_labels_without_both_classes() -> None:
    scores = np.array([[0.1, 0.3], [0.9, 0.4]])
    ground_truth = np.array([[False, True], [True, True]])
    assert mean_auc(scores, ground_truth, np.ones_like(ground_truth)) == 1.0


def test_balanced_accuracy_is_over_the_classes_present() -> None:
    ground_truth = np.array([0, 0, 0, 1])
    assert balanced_accuracy(ground_truth, np.array([0, 0, 2, 1])) == pytest.approx(
        5 / 6
    )


def test_confusion_has_a_row_for_each_true_class() -> None:
    table = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2)
    assert table.tolist() == [[1, 1], [0, 1]]


def test_softmax_probabilities_sum_to_one() -> None:
    logits = np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]])
    values = probabilities(logits, task="softmax", calibration={"temperature": 2.0})
    assert np.allclose(values.sum(axis=1), 1)
    assert np.isfinite(values).all()


def test_sigmoid_probabilities_are_independent() -> None:
    values = probabilities(np.array([0.0, 800.0, -800.0]), task="sigmoid")
    assert values.tolist() == [0.5, 1.0, 0.0]


def test_the_temperature_corrects_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 3)) * 1.5
    cumulative = softmax(honest).cumsum(axis=1)
    ground_truth = (rng.random((4000, 1)) > cumulative).sum(axis=1)
    assert fit_temperature(honest * 3.0, ground_truth) == pytest.approx(3.0, rel=0.1)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidence = np.full(100, 0.95)
    right = np.arange(100) < 70
    assert expected_calibration_error(confidence, right) == pytest.approx(0.25)


def test_the_threshold_is_in_the_middle_of_the_gap() -> None:
    scores = np.array([0.1, 0.2, 0.6, 0.9])
    positive = np.array([False, False, True, True])
    assert youden_threshold(scores, positive) == pytest.approx(0.4)
    assert youden_threshold(scores, np.ones(4, bool)) == 0.5
