"""Loss, weights, dropout and early end of a run, on made-up numbers and images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ml.architectures.build import build
from ml.datasets.ground_truth import GroundTruth
from ml.datasets.manifest import ManifestRow
from ml.errors import TrainingError
from ml.training.checkpoints import load_state, restore
from ml.training.compile import set_dropout
from ml.training.held_out import best_epoch, is_enough, log_loss
from ml.training.losses import class_weights, sigmoid_loss, softmax_loss
from ml.training.recipes import Recipe, Refinements, Stage
from ml.training.run import Budget, TrainingRun, gather
from tests.ml.image_factory import write_images
from tests.ml.training.test_run import NAMES, RECIPE

pytestmark = pytest.mark.slow

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -40.0]], np.float32)
ONE_HOT = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
EVEN = np.ones(3, np.float32)


def ground_truth(positive: np.ndarray, known: np.ndarray | None = None) -> GroundTruth:
    rows = tuple(
        ManifestRow(str(i), "", "train", str(i), "", "", ())
        for i in range(len(positive))
    )
    positive = positive.astype(bool)
    known = np.ones_like(positive) if known is None else known.astype(bool)
    return GroundTruth(rows, positive, known, (), ())


def value(loss: Any, targets: np.ndarray, logits: np.ndarray = LOGITS) -> float:
    return float(keras.ops.convert_to_numpy(loss(targets, logits)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_refinements_the_losses_equal_those_of_keras(smoothing: float) -> None:
    usual = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing
    )
    own = softmax_loss(EVEN, gamma=0, smoothing=smoothing)
    assert value(own, ONE_HOT) == pytest.approx(value(usual, ONE_HOT), rel=1e-5)
    binary = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=smoothing
    )
    own = sigmoid_loss(EVEN, gamma=0, smoothing=smoothing)
    assert value(own, ONE_HOT) == pytest.approx(value(binary, ONE_HOT), rel=1e-5)


def test_focal_losses_equal_those_of_keras() -> None:
    usual = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=2.0, from_logits=True
    )
    own = softmax_loss(EVEN, gamma=2.0, smoothing=0)
    assert value(own, ONE_HOT) == pytest.approx(value(usual, ONE_HOT), rel=1e-4)
    binary = keras.losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True)
    own = sigmoid_loss(EVEN, gamma=2.0, smoothing=0)
    assert value(own, ONE_HOT) == pytest.approx(value(binary, ONE_HOT), rel=1e-4)


def test_unknown_labels_do_not_change_the_loss() -> None:
    targets = ONE_HOT.copy()
    targets[0, 1:] = targets[1] = -1
    own = sigmoid_loss(EVEN, gamma=0, smoothing=0)
    assert value(own, targets) == pytest.approx(np.log1p(np.exp(-2.0)), rel=1e-5)
    partly_known = ground_truth(targets == 1, targets >= 0)
    assert log_loss("sigmoid", LOGITS, partly_known) == pytest.approx(
        value(own, targets)
    )
    own = softmax_loss(EVEN, gamma=0, smoothing=0)
    assert log_loss("softmax", LOGITS, ground_truth(ONE_HOT)) == pytest.approx(
        value(own, ONE_HOT), rel=1e-5
    )


def test_rare_labels_have_a_higher_weight() -> None:
    images = ground_truth(np.eye(3)[[0, 0, 0, 0, 0, 0, 1, 1, 2]])
    assert class_weights("softmax", images) == pytest.approx([0.5, 1.5, 3.0])
    assert class_weights("sigmoid", images) == pytest.approx([0.5, 3.5, 8.0])
    loss = softmax_loss(np.array([1, 5, 1], np.float32), gamma=0, smoothing=0)
    first, second = (
        value(
            softmax_loss(EVEN, gamma=0, smoothing=0),
            ONE_HOT[i : i + 1],
            LOGITS[i : i + 1],
        )
        for i in range(2)
    )
    assert value(loss, ONE_HOT) == pytest.approx((first + 5 * second) / 2, rel=1e-5)


def test_a_run_ends_when_the_held_out_loss_stops_falling() -> None:
    def history(*losses: float) -> list[dict[str, Any]]:
        return [{"epoch": n, "held_out_loss": x} for n, x in enumerate(losses, 1)]

    assert best_epoch([{"epoch": 1, "loss": 0.3}]) == 0
    assert best_epoch(history(0.5, 0.3, 0.4)) == 2
    assert not is_enough(history(0.5, 0.3, 0.4), patience=2)
    assert is_enough(history(0.5, 0.3, 0.4, 0.3), patience=2)
    assert not is_enough(history(0.5, 0.6, 0.7, 0.8), patience=0)
    assert not is_enough([], patience=3)


def test_dropout_is_set_where_a_network_has_it() -> None:
    network = build("small-cnn", classes=2, size=32)
    set_dropout(network, 0.45)
    assert network.get_layer("dense_dropout").rate == 0.45
    set_dropout(network, None)
    assert network.get_layer("dense_dropout").rate == 0.45


def run_of(root: Path, run_dir: Path, recipe: Recipe, epochs: int) -> TrainingRun:
    return TrainingRun(
        recipe,
        data=gather(recipe, manifest=root / "manifest.csv"),
        root=root,
        run_dir=run_dir,
        cache_dir=root / "cache",
        budget=Budget(epochs=epochs),
    )


def test_an_ended_run_keeps_its_best_epoch(tmp_path: Path) -> None:
    write_images(tmp_path, list(NAMES), each=8, splits={"train": 4, "val": 1})
    # So large a step that the first epochs cannot be the last word.
    recipe = replace(
        RECIPE,
        epoch_images=16,
        stages=(Stage(0.0, 32),),
        peak_learning_rate=0.3,
        refinements=Refinements(patience=2, class_weights=True, focal_gamma=2.0),
    )
    run = run_of(tmp_path, tmp_path / "run", recipe, 40)
    losses: dict[int, list[np.ndarray]] = {}
    run.report = lambda entry: losses.update(
        {entry["epoch"]: [np.array(w) for w in run.network.get_weights()]}
    )
    state = run.train()
    best = best_epoch(state.history)
    assert state.epoch == best + 2 < 40
    kept = build("tiny", classes=3)
    restore(tmp_path / "run", model=kept)
    for actual, expected in zip(kept.get_weights(), losses[best], strict=True):
        assert np.allclose(actual, expected)
    # Started again it has nothing left to do.
    assert run_of(tmp_path, tmp_path / "run", recipe, 40).train().epoch == state.epoch
    assert load_state(tmp_path / "run") is not None


@pytest.mark.slow
def test_early_stopping_needs_held_out_patients(tmp_path: Path) -> None:
    write_images(tmp_path, list(NAMES), each=2, splits={"train": 1})
    recipe = replace(
        RECIPE, held_out_percent=0, refinements=Refinements(patience=1), batch_size=2
    )
    with pytest.raises(TrainingError, match="held out"):
        run_of(tmp_path, tmp_path / "run", recipe, 1).train()
