"""Several heads that share a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from ml.cards.card import heads_of, read_card
from ml.cards.texts import FACTS
from ml.datasets.manifest import ManifestRow, read_manifest, with_split
from ml.evaluation.scoring import score_images
from ml.inference import LoadedModel, load_model, read_together
from ml.labels import PNEUMONIA_LABELS, TUBERCULOSIS_LABELS
from ml.model_output import ModelOutput
from ml.training.checkpoints import load_state
from ml.training.gate import fit as gate_fitting
from ml.training.heads import (
    columns_of,
    ground_truth_of_heads,
    of_head,
    recipe_of_model,
)
from ml.training.losses import loss_of, sigmoid_loss, softmax_loss
from ml.training.packaging import package
from ml.training.recipes import RECIPES, Head
from ml.training.run import Budget, TrainingRun, gather, targets_of
from ml.training.samples.augmentation import mix
from tests.ml.image_factory import chest_like, write_images
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


def test_a_shared_network_learns_all_heads_and_becomes_a_model_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_images(
        tmp_path, list(NAMES), each=8, splits={"train": 4, "val": 1}
    )
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

    names = [f"{recipe.name}-three", f"{recipe.name}-pneumonia"]
    for name in names:
        facts = replace(FACTS["chestx6-resnet50"], default=name == names[0])
        monkeypatch.setitem(FACTS, name, facts)
    weights_dir = tmp_path / "weights"
    folder = package(
        recipe,
        data=run.data,
        root=tmp_path,
        run_dir=run_dir,
        cache_dir=tmp_path / "cache",
        weights_dir=weights_dir,
        command=["train", "it"],
    )
    assert {path.name for path in folder.iterdir()} == {"curves.svg", "weights.keras"}
    assert "val, pneumonia: mean AUC" in (folder / "curves.svg").read_text()
    cards = heads_of(recipe.name, weights_dir=weights_dir)
    assert [card.name for card in cards] == names
    for card, head in zip(cards, recipe.heads, strict=True):
        assert [path.name for path in card.card_file.parent.iterdir()] == ["card.json"]
        assert card.raw["weights"]["file"] == "../../tiny-run/0.1.0/weights.keras"
        assert (card.task, card.label_names) == (head.task, head.label_names)
        assert list(card.calibration["sizes_tried"]) == [str(card.input_size)]
        assert set(card.operating_points["youden"]) == set(head.label_names)
        assert card.training is not None
        assert card.training.command == ("train", "it")
        known = {row.label for row in card.training_data} - {"none of the labels"}
        assert known == set(head.label_names)
    assert [card.contents.default for card in cards] == [True, False]
    assert len({(card.weights_sha256, card.input_size) for card in cards}) == 1

    models = [load_model(card, cache_dir=tmp_path / "graphs") for card in cards]
    heads = [model for model in models if isinstance(model, LoadedModel)]
    assert heads[0].network is heads[1].network
    assert len(list((tmp_path / "graphs" / "graphs").iterdir())) == 1
    three, pneumonia = read_together(heads, chest_like(), thresholds=[None, None])
    assert isinstance(three, ModelOutput)
    assert isinstance(pneumonia, ModelOutput)
    by_keras = load_model(cards[1], cache_dir=tmp_path, runner="keras")
    [score] = by_keras.read(chest_like()).scores
    assert pneumonia.scores[0].probability == pytest.approx(score.probability, abs=1e-5)
    assert pneumonia.scores[0].scale == pytest.approx(score.scale, rel=1e-3)
    val = with_split(read_manifest(manifest), "val")
    assert score_images(heads[1], val, root=tmp_path).scores.shape == (24, 1)

    monkeypatch.setattr(gate_fitting, "PROBE_STEPS", 5)
    rows = with_split(read_manifest(manifest), "train")
    entry = gate_fitting.fit_gate(
        cards[1].card_file.parent, rows[:12], rows[12:24], tmp_path, tmp_path / "graphs"
    )
    assert (folder / "gate.npz").exists()
    gated = [read_card(card.card_file) for card in cards]
    assert [card.raw["gate"] for card in gated] == [entry, entry]
    again = [load_model(card, cache_dir=tmp_path / "graphs") for card in gated]
    gates = [model.gate for model in again if isinstance(model, LoadedModel)]
    assert gates[0] is gates[1] is not None


def test_the_models_of_the_chest_network_have_recipes_and_texts() -> None:
    for head in RECIPES["chest-efficientnet"].heads:
        name = f"chest-efficientnet-{head.name}"
        own = recipe_of_model(name)
        assert own is not None
        assert (own.labels, own.task) == (head.labels, head.task)
        assert "rsna-normal" not in own.datasets
        planned = FACTS[name].measurements
        assert {dataset for each in planned for dataset in each.datasets} <= set(
            own.datasets
        )
        assert FACTS[name].default == (head.name == "chestx6")
    assert recipe_of_model("chest-efficientnet") is None
    resnet = recipe_of_model("chestx6-resnet50")
    assert resnet is RECIPES["chestx6-resnet50"]


def test_the_sources_of_the_chest_network_may_be_learned_from() -> None:
    recipe = RECIPES["chest-efficientnet"]
    assert "rsna-normal" not in recipe.datasets
    for head in recipe.heads:
        assert set(head.datasets) <= set(recipe.datasets)
    assert len(recipe.labels) == sum(len(head.labels) for head in recipe.heads)
