"""A student learns from the probabilities of a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from ml.architectures.build import build
from ml.errors import TrainingError
from ml.labels import PNEUMONIA_LABELS
from ml.networks.weights_file import save_weights
from ml.training.compile import compiled
from ml.training.distillation import distillation_loss, open_teacher
from ml.training.losses import loss_of
from ml.training.recipes import RECIPES, Distillation, Head, Recipe
from ml.training.run import Budget, TrainingRun, fingerprint_of, gather, targets_of
from tests.ml.conftest import install, tiny_network
from tests.ml.image_factory import write_images
from tests.ml.training.test_run import NAMES, RECIPE

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 1)).astype(np.float32)
# Weights on disk are float16.
ROUNDED = 2e-2


def student(teacher: object, share: float = 0.5) -> Recipe:
    return replace(RECIPE, distillation=Distillation(str(teacher), share=share))


def logits_of(network: keras.Model) -> np.ndarray:
    return np.asarray(network(IMAGES, training=False)[0])


def test_an_installed_model_teaches_in_the_order_of_the_student(
    tmp_path: Path,
) -> None:
    network = tiny_network()
    backwards = [vars(label) for label in reversed(RECIPE.labels)]
    install(tmp_path, network, labels=backwards)
    teacher = open_teacher(student("tiny/1.0.0"), weights_dir=tmp_path)
    answer = np.asarray(teacher(IMAGES))
    assert np.allclose(answer, logits_of(network)[:, ::-1], atol=ROUNDED)
    assert not teacher.trainable_variables


def test_the_head_of_a_pre_training_that_knows_the_labels_teaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = (
        Head("pneumonia", PNEUMONIA_LABELS, task="sigmoid"),
        Head("three", RECIPE.labels),
    )
    labels = tuple(label for head in heads for label in head.labels)
    shared = replace(RECIPE, name="shared", labels=labels, shared_by=heads)
    monkeypatch.setitem(RECIPES, "shared", shared)
    network = tiny_network(classes=len(labels))
    path = tmp_path / "shared.keras"
    save_weights(network, path, architecture="tiny")
    answer = np.asarray(open_teacher(student(path))(IMAGES))
    assert np.allclose(answer, logits_of(network)[:, 1:], atol=ROUNDED)


def test_a_teacher_without_the_labels_is_refused(
    tiny_weights_dir: Path, tmp_path: Path
) -> None:
    other = replace(student("tiny/1.0.0"), labels=PNEUMONIA_LABELS)
    with pytest.raises(TrainingError, match=r"does not know.*Pneumonia"):
        open_teacher(other, weights_dir=tiny_weights_dir)
    of_another_kind = replace(student("tiny/1.0.0"), task="sigmoid")
    with pytest.raises(TrainingError, match="in a head of the same kind"):
        open_teacher(of_another_kind, weights_dir=tiny_weights_dir)
    with pytest.raises(TrainingError, match="There is no teacher"):
        open_teacher(student(tmp_path / "none.keras"))
    with pytest.raises(TrainingError, match="There is no model none"):
        open_teacher(student("none"), weights_dir=tiny_weights_dir)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, list(NAMES), each=8, splits={"train": 4, "val": 1})
    return folder


def test_the_loss_has_its_share_from_the_teacher(root: Path) -> None:
    truth = gather(RECIPE, manifest=root / "manifest.csv").train
    targets = targets_of(truth)[:4]
    rng = np.random.default_rng(1)
    logits, taught = (rng.normal(size=(4, 3)).astype(np.float32) for _ in range(2))
    both = np.concatenate([logits, taught], axis=1)
    of_labels = loss_of(RECIPE, truth)

    def loss_with(share: float) -> float:
        loss = distillation_loss(student("any", share), of_labels)
        return float(keras.ops.convert_to_numpy(loss(targets, both)))

    half = np.exp(taught / 2)
    wanted = half / half.sum(axis=1, keepdims=True)
    logged = logits / 2 - np.log(np.exp(logits / 2).sum(axis=1, keepdims=True))
    expected = 4 * -(wanted * logged).sum(axis=1).mean()
    assert loss_with(1.0) == pytest.approx(expected, rel=1e-5)
    labels_alone = float(keras.ops.convert_to_numpy(of_labels(targets, logits)))
    assert loss_with(0.0) == pytest.approx(labels_alone, rel=1e-5)
    between = 0.5 * (expected + labels_alone)
    assert loss_with(0.5) == pytest.approx(between, rel=1e-5)


def test_a_student_comes_near_its_teacher(
    root: Path,
    tiny_weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(RECIPES, RECIPE.name, RECIPE)
    weights = tiny_weights_dir / "tiny" / "1.0.0" / "weights.keras"
    named = tmp_path / f"{RECIPE.name}.keras"
    named.write_bytes(weights.read_bytes())
    recipe = replace(student(named, share=1.0), average_decay=0.9)
    run = TrainingRun(
        recipe,
        data=gather(recipe, manifest=root / "manifest.csv"),
        root=root,
        run_dir=tmp_path / "run",
        cache_dir=root / "cache",
        budget=Budget(epochs=4),
    )
    history = run.train().history
    assert history[-1]["loss"] < history[0]["loss"]
    assert 0 <= history[-1]["accuracy"] <= 1


def test_frozen_layers_do_not_learn(root: Path) -> None:
    recipe = replace(RECIPE, frozen=("stem", "stage1"))
    truth = gather(recipe, manifest=root / "manifest.csv").train
    network = build("tiny", classes=3)
    learned = compiled(network, recipe, truth, head_only=False).trainable_variables
    names = {variable.path.split("_")[0] for variable in learned}
    assert names == {"stage2", "logits/kernel", "logits/bias"}


def test_another_teacher_is_another_run(root: Path) -> None:
    data = gather(RECIPE, manifest=root / "manifest.csv")
    assert fingerprint_of(RECIPE, data) != fingerprint_of(student("any"), data)
    assert fingerprint_of(RECIPE, data) != fingerprint_of(
        replace(RECIPE, frozen=("stem",)), data
    )
