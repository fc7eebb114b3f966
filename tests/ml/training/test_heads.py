"""Several heads that share a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from ml.datasets.manifest import ManifestRow
from ml.labels import PNEUMONIA_LABELS, TUBERCULOSIS_LABELS
from ml.training.checkpoints import load_state
from ml.training.heads import columns_of, ground_truth_of_heads, of_head
from ml.training.losses import loss_of, sigmoid_loss, softmax_loss
from ml.training.recipes import RECIPES, Head
from ml.training.run import Budget, TrainingRun, gather, targets_of
from ml.training.samples.augmentation import mix
from tests.ml.image_factory import write_images
from tests.ml.training.test_run import NAMES, RECIPE

pytestmark = pytest.mark.slow

THREE = Head("three", RECIPE.labels, measured_dataset="drawn")
PNEUMONIA = Head(
    "pneumonia", PNEUMONIA_LABELS, task="sigmoid", datasets=("kermany",), weight=0.5
)
TUBERCULOSIS = Head(
    "tuberculosis", TUBERCULOSIS_LABELS, task="sigmoid", datasets=("sakha-tb",)
)
HEADS = (THREE, PNEUMONIA, TUBERCULOSIS)
SHARED = replace(
    RECIPE,
    labels=tuple(label for head in HEADS for label in head.labels),
    shared_by=HEADS,
    class_shares={},
)


def row(dataset: str, *labels: str) -> ManifestRow:
    name = f"{dataset}-{'-'.join(labels)}"
    return ManifestRow(name, dataset, "train", name, "", "", labels)


ROWS = (
    row("kermany", "Normal"),
    row("kermany", "Pneumonia", "Viral pneumonia"),
    row("sakha-tb", "Tuberculosis"),
    row("nih", "Cardiomegaly"),
)


def test_each_head_knows_the_labels_of_its_sources_only() -> None:
    truth = ground_truth_of_heads(SHARED, ROWS)
    assert [one.dataset for one in truth.rows] == ["kermany", "kermany", "sakha-tb"]
    assert truth.unknown == ("nih-Cardiomegaly",)
    assert targets_of(truth).tolist() == [
        [1, 0, 0, 0, -1],
        [0, 0, 1, 1, -1],
        [-1, -1, -1, -1, 1],
    ]
    chosen, own = of_head(truth, slice(4, 5))
    assert (chosen.tolist(), own.positive.tolist()) == ([2], [[True]])


def test_the_loss_is_the_sum_of_the_heads_by_weight() -> None:
    truth = ground_truth_of_heads(SHARED, ROWS)
    logits = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    targets = targets_of(truth)
    expected = 0.0
    for head, columns in columns_of(SHARED):
        loss = softmax_loss if head.task == "softmax" else sigmoid_loss
        own = loss(
            np.ones(len(head.labels), np.float32),
            gamma=0,
            smoothing=SHARED.label_smoothing,
        )
        known = of_head(truth, columns)[0]
        part = own(targets[known, columns], logits[known, columns])
        expected += head.weight * float(keras.ops.convert_to_numpy(part))
    whole = loss_of(SHARED, truth)(targets, logits)
    assert float(keras.ops.convert_to_numpy(whole)) == pytest.approx(expected, rel=1e-5)


def test_images_are_mixed_with_images_of_the_same_known_labels() -> None:
    targets = targets_of(ground_truth_of_heads(SHARED, ROWS))
    targets = np.repeat(targets, 4, axis=0)
    images = np.zeros((12, 2, 2, 1), np.float32)
    _, mixed = mix(images, targets, rng=np.random.default_rng(0), alpha=0.5)
    assert ((mixed < 0) == (targets < 0)).all()


def test_a_shared_network_learns_all_heads(
    tmp_path: Path,
) -> None:
    write_images(tmp_path, list(NAMES), each=8, splits={"train": 4, "val": 1})
    head = replace(PNEUMONIA, datasets=())
    recipe = replace(
        SHARED,
        labels=(*THREE.labels, *head.labels),
        shared_by=(THREE, head),
        trunk_rate=0.5,
    )
    run_dir = tmp_path / "run"
    run = TrainingRun(
        recipe,
        data=gather(recipe, manifest=tmp_path / "manifest.csv"),
        root=tmp_path,
        run_dir=run_dir,
        cache_dir=tmp_path / "cache",
        budget=Budget(epochs=2),
    )
    run.train()
    state = load_state(run_dir)
    assert state is not None
    assert {"val_three", "val_pneumonia"} <= set(state.history[-1])


def test_the_sources_of_the_chest_network_may_be_learned_from() -> None:
    recipe = RECIPES["chest-efficientnet"]
    assert "rsna-normal" not in recipe.datasets
    for head in recipe.heads:
        assert set(head.datasets) <= set(recipe.datasets)
    assert len(recipe.labels) == sum(len(head.labels) for head in recipe.heads)
