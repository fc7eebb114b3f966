"""A run of the tiny network: it learns, resumes after a kill, and becomes a model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.cards.card import read_card
from ml.cards.texts import FACTS
from ml.datasets.manifest import read_manifest, with_split
from ml.errors import TrainingError
from ml.evaluation.scoring import report_of, score_images
from ml.inference import load_model
from ml.labels import CHESTX6_LABELS
from ml.pixels import read_display
from ml.training.checkpoints import load_state
from ml.training.packaging import package
from ml.training.recipes import CHESTX6_RESNET50, Recipe, Stage, get_recipe
from ml.training.run import Budget, TrainingRun, gather, gather_rows
from ml.training.samples.augmentation import Augmentation, mix, vary
from tests.ml.image_factory import chest_like, write_images

pytestmark = pytest.mark.slow

NAMES = ("Normal", "Bacterial pneumonia", "Viral pneumonia")
RECIPE = Recipe(
    name="tiny-run",
    version="0.1.0",
    architecture="tiny",
    labels=tuple(label for label in CHESTX6_LABELS if label.name in NAMES),
    class_shares=dict.fromkeys(NAMES, 1.0),
    stages=(Stage(0.0, 32), Stage(0.5, 48)),
    epoch_images=48,
    batch_size=8,
    peak_learning_rate=3e-3,
    held_out_percent=25,
    measured_dataset="drawn",
    augmentation=Augmentation(
        smallest_area=0.8,
        border_probability=0.0,
        patch_probability=0.0,
        lung_crop_probability=0.3,
    ),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, list(NAMES), each=8, splits={"train": 4, "val": 1})
    return folder


def run_of(
    root: Path, run_dir: Path, epochs: int, recipe: Recipe = RECIPE, **more: Any
) -> TrainingRun:
    return TrainingRun(
        recipe,
        data=gather(recipe, manifest=root / "manifest.csv"),
        root=root,
        run_dir=run_dir,
        cache_dir=root / "cache",
        budget=Budget(epochs=epochs),
        **more,
    )


def test_a_patient_in_both_splits_stops_training(tmp_path: Path) -> None:
    manifest = write_images(
        tmp_path, list(NAMES), each=2, splits={"train": 1, "val": 1}
    )
    manifest.write_text(manifest.read_text().replace("val-0-0,", "train-0-0,"))
    with pytest.raises(TrainingError) as caught:
        gather(RECIPE, manifest=manifest)
    assert caught.value.reason_code == "patients_shared"


def test_a_label_without_images_stops_training(root: Path) -> None:
    with pytest.raises(TrainingError, match="COVID-19"):
        gather(CHESTX6_RESNET50, manifest=root / "manifest.csv")


def test_the_error_for_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(TrainingError, match="chestx6-resnet50"):
        get_recipe("other")


def test_the_learning_rate_rises_and_falls(root: Path, tmp_path: Path) -> None:
    run = run_of(root, tmp_path, 2)
    rates = [run.learning_rate(share) for share in np.linspace(0, 1, 50)]
    peak = int(np.argmax(rates))
    assert 0 < peak < 5
    assert rates[peak] <= RECIPE.peak_learning_rate * 1.03
    assert rates[-1] < 0.001 * rates[peak]


def test_a_budget_in_minutes_is_measured_by_the_clock(
    root: Path, tmp_path: Path
) -> None:
    budget = Budget(minutes=10)
    state = run_of(root, tmp_path, 2).state
    assert budget.progress(state, elapsed_s=300, share=0.9) == 0.5
    assert budget.progress(state, elapsed_s=9999, share=0.0) == 1.0


def test_an_interrupted_run_resumes_to_the_same_history(
    root: Path, tmp_path: Path
) -> None:
    whole = run_of(root, tmp_path / "whole", 4).train()

    class KilledError(Exception):
        pass

    def die(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run_of(root, tmp_path / "cut", 4, report=die).train()
    resumed = run_of(root, tmp_path / "cut", 4)
    assert resumed.state.epoch == 2
    steps_before = int(resumed.classifier.optimizer.iterations)
    assert steps_before == 2 * (RECIPE.epoch_images // RECIPE.batch_size)
    after = resumed.train()
    assert [e["epoch"] for e in after.history] == [e["epoch"] for e in whole.history]
    assert [e["size"] for e in after.history] == [32, 32, 48, 48]
    lines = (tmp_path / "cut" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    # The same images in the same order: resumed or not, nearly the same losses.
    assert after.history[-1]["loss"] == pytest.approx(
        whole.history[-1]["loss"], rel=0.1
    )
    # A finished run started again has nothing left to do.
    assert run_of(root, tmp_path / "cut", 4).train().epoch == 4


def test_a_folder_of_another_run_is_refused(root: Path, tmp_path: Path) -> None:
    run_of(root, tmp_path, 1).train()
    with pytest.raises(TrainingError, match="another recipe"):
        run_of(root, tmp_path, 1, recipe=replace(RECIPE, seed=99))


KILLED_RUN = """
import sys
from pathlib import Path
from tests.ml.training.test_run import run_of
run_of(Path(sys.argv[1]), Path(sys.argv[2]), 200).train()
"""


@pytest.mark.slow
def test_a_killed_run_resumes_from_its_checkpoint(root: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_RUN, str(root), str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 120
        while (state := load_state(tmp_path)) is None or state.epoch < 2:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    begun = load_state(tmp_path)
    assert begun is not None
    resumed = run_of(root, tmp_path, begun.epoch + 1)
    assert resumed.state.epoch == begun.epoch
    assert len(resumed.train().history) == begun.epoch + 1


def test_a_finished_run_exports_a_model_that_reads_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACTS, RECIPE.name, replace(FACTS["chestx6-resnet50"]))
    # More steps than the other runs take: here it has to have learned something.
    recipe = replace(RECIPE, epoch_images=96, peak_learning_rate=1e-2)
    run_of(root, tmp_path / "run", 12, recipe=recipe).train()
    folder = package(
        recipe,
        data=gather(recipe, manifest=root / "manifest.csv"),
        root=root,
        run_dir=tmp_path / "run",
        cache_dir=root / "cache",
        weights_dir=tmp_path / "weights",
        command=["train", "it"],
    )
    assert sorted(p.name for p in folder.iterdir()) == [
        "card.json",
        "curves.svg",
        "weights.keras",
    ]
    assert [p.name for p in folder.parent.iterdir()] == ["0.1.0"]
    card = read_card(folder / "card.json")
    assert card.calibrated
    assert set(card.raw["operating_points"]) > {"youden", "plain_0.5"}
    assert card.raw["uncertainty"]["method"] == "conformal"
    assert card.training is not None
    assert card.training.epochs == 12
    assert card.training.command == ("train", "it")
    assert {row.label for row in card.training_data} == set(NAMES)
    model = load_model(card, cache_dir=root / "cache")
    val = with_split(read_manifest(root / "manifest.csv"), "val")
    scored = score_images(model, val, root=root)
    measured = report_of(scored, weights_sha256=model.weights_sha256)
    assert measured["n"] == 24
    # Drawn images are easy: a run that learns nothing stays at a third.
    assert measured["balanced_accuracy"]["value"] > 0.6
    model_output = model.read(read_display((root / "val-0-0.png").read_bytes()))
    assert sum(score.probability for score in model_output.scores) == pytest.approx(1)


def test_variations_keep_shape_and_range() -> None:
    image = (chest_like(120, 90) // 257).astype(np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(50):
        varied = vary(image, size=48, rng=rng, strength=Augmentation())
        assert varied.shape == (48, 48, 1)
        assert varied.dtype == np.float32
        assert np.isfinite(varied).all()
        assert np.abs(varied).max() < 6


def test_images_of_other_sources_are_used_only_without_listed_ones(
    root: Path,
) -> None:
    rows = read_manifest(root / "manifest.csv")
    ours = replace(RECIPE, datasets=("kermany",))
    assert len(gather_rows(ours, rows).train.rows) > 0
    mixed = [replace(row, dataset="kermany") for row in rows[::2]] + rows[1::2]
    learned = gather_rows(ours, mixed).train.rows
    assert {row.dataset for row in learned} == {"kermany"}


def test_mixed_images_have_the_shares_of_their_targets() -> None:
    inputs = np.stack([np.full((4, 4, 1), i, np.float32) for i in range(8)])
    images, targets = mix(
        inputs, np.eye(8, dtype=np.float32), rng=np.random.default_rng(0), alpha=0.5
    )
    assert images.dtype == targets.dtype == np.float32
    assert np.allclose(targets.sum(axis=1), 1)
    assert np.allclose(images[:, 0, 0, 0], targets @ np.arange(8), atol=1e-5)
    assert (targets.max(axis=1) < 1).any()


def test_variations_are_determined_by_the_seed() -> None:
    image = (chest_like(120, 90) // 257).astype(np.uint8)
    one, two, other = (
        vary(image, size=48, rng=np.random.default_rng(s), strength=Augmentation())
        for s in (1, 1, 2)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
