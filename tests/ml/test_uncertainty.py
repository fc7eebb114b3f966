"""Coverage on images that were not used to fit it; words from label sets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.calibration import sigmoid, softmax
from ml.training.uncertainty import conformal_quantile, fit_uncertainty
from ml.uncertainty import certainty_of, conformal_sets, not_ruled_out

NAMES = ("a", "b", "c")


def test_the_conformal_quantile_has_the_finite_sample_correction() -> None:
    values = np.arange(1.0, 20.0)
    assert conformal_quantile(values, 0.9) == 18.0
    assert conformal_quantile(values, 0.95) == 19.0
    assert conformal_quantile(values[:8], 0.9) == math.inf


def drawn_softmax(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3)) * [2.0, 1.0, 1.0]
    probabilities = softmax(logits)
    ground_truth = (
        (rng.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    )
    # Overconfident, and most so in one class: sets must still cover each.
    return softmax(logits * [3.0, 1.5, 1.0]), np.eye(3, dtype=bool)[ground_truth]


def test_conformal_sets_cover_every_class_of_unseen_images() -> None:
    scores, positive = drawn_softmax(3000, 0)
    uncertainty = fit_uncertainty(
        scores,
        positive,
        np.ones_like(positive),
        task="softmax",
        names=NAMES,
        patients=[str(i) for i in range(3000)],
    )
    fresh, ground_truth = drawn_softmax(6000, 1)
    covered, left_open = not_ruled_out(
        fresh, ground_truth, names=NAMES, uncertainty=uncertainty
    )
    for i in range(3):
        assert covered[ground_truth[:, i]].mean() == pytest.approx(0.9, abs=0.025)
    assert 0 < left_open.mean() < 1
    assert conformal_sets(fresh, NAMES, uncertainty).any(axis=1).all()


def test_bands_cover_images_with_and_without_the_label() -> None:
    def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        positive = rng.random((4000, 1)) < 0.2
        return sigmoid(rng.normal(-2, 1.5, (4000, 1)) + 3.0 * positive), positive

    scores, positive = drawn(0)
    uncertainty = fit_uncertainty(
        scores,
        positive,
        np.ones_like(positive),
        task="sigmoid",
        names=("a",),
        patients=[str(i) for i in range(4000)],
    )
    fresh, ground_truth = drawn(1)
    covered, left_open = not_ruled_out(
        fresh, ground_truth, names=("a",), uncertainty=uncertainty
    )
    assert covered[ground_truth].mean() == pytest.approx(0.9, abs=0.03)
    assert covered[~ground_truth].mean() == pytest.approx(0.9, abs=0.03)
    assert 0.1 < left_open.mean() < 0.9


def test_labels_with_few_images_have_no_certainty() -> None:
    scores = np.array([[0.2], [0.8]] * 6)
    uncertainty = fit_uncertainty(
        scores,
        scores > 0.5,
        np.ones_like(scores, bool),
        task="sigmoid",
        names=("a",),
        patients=[str(i) for i in range(12)],
    )
    assert uncertainty["too_few"] == ["a"]
    certainty = certainty_of(
        np.array([0.9]), np.array([True]), names=("a",), uncertainty=uncertainty
    )
    assert (certainty.words, certainty.label_set) == (("",), ("a",))


SETS = {
    "method": "conformal",
    "quantile": 0.7,
    "quantiles": {},
    "stricter_quantile": 0.9,
    "stricter_quantiles": {},
}


@pytest.mark.parametrize(
    ("probabilities", "words", "label_set"),
    [
        ([0.95, 0.03, 0.02], ("confident", "confident", "confident"), ("a",)),
        ([0.80, 0.15, 0.05], ("borderline", "borderline", "confident"), ("a",)),
        ([0.55, 0.40, 0.05], ("not sure", "not sure", "confident"), ("a", "b")),
    ],
)
def test_words_follow_the_sets(
    probabilities: list[float], words: tuple[str, ...], label_set: tuple[str, ...]
) -> None:
    values = np.array(probabilities)
    certainty = certainty_of(values, values >= 0.5, names=NAMES, uncertainty=SETS)
    assert (certainty.words, certainty.label_set) == (words, label_set)


def test_a_positive_label_outside_the_set_is_not_sure() -> None:
    certainty = certainty_of(
        np.array([0.8, 0.15, 0.05]),
        np.array([True, True, False]),
        names=NAMES,
        uncertainty=SETS,
    )
    assert certainty.words[1] == "not sure"


@pytest.mark.parametrize(
    ("value", "called", "word"),
    [
        (0.9, True, "confident"),
        (0.65, True, "borderline"),
        (0.5, True, "not sure"),
        (0.25, False, "borderline"),
        (0.1, False, "confident"),
        (0.25, True, "not sure"),
    ],
)
def test_words_follow_the_bands(value: float, called: bool, word: str) -> None:
    bands = {
        "method": "abstain",
        "bands": {"a": [0.3, 0.6]},
        "stricter_bands": {"a": [0.2, 0.7]},
    }
    certainty = certainty_of(
        np.array([value]), np.array([called]), names=("a",), uncertainty=bands
    )
    assert certainty.words == (word,)


def test_a_card_without_uncertainty_gives_no_words() -> None:
    certainty = certainty_of(
        np.array([0.5]), np.array([True]), names=("a",), uncertainty=None
    )
    assert (certainty.words, certainty.label_set) == (("",), ())
