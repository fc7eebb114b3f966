"""Shortened trainings on a frozen trunk, measured on other people."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.datasets.manifest import read_manifest
from ml.errors import TrainingError
from ml.evaluation.trials import folds
from ml.evaluation.trials.branch import METHODS, Features, train_branch
from ml.evaluation.trials.measure import Trial, run_trial
from ml.evaluation.trials.trunk import Shortened, split_network
from ml.training.heads import ground_truth_of_heads
from ml.training.recipes import Head
from tests.ml.image_factory import write_images
from tests.ml.training.test_run import NAMES, RECIPE

pytestmark = pytest.mark.slow

SHORT = Shortened(size=32, variations=1, epochs=1, init="random")
HEAD = Head("three", RECIPE.labels, datasets=("one", "two"))
SHARED = replace(RECIPE, shared_by=(HEAD,), class_shares={})
TRIAL = Trial(SHARED, shortened=SHORT)


@pytest.fixture(autouse=True)
def no_near_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images count as two that differ at all: those that are drawn look alike."""
    monkeypatch.setattr(folds, "MOST_DIFFERENT_BITS", 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images of two sources with 20 images of each label."""
    folder = tmp_path_factory.mktemp("images")
    manifest = write_images(folder, list(NAMES), each=40, splits={"train": 1})
    with manifest.open() as lines:
        rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows):
        row["dataset"] = ("one", "two")[number % 2]
    with manifest.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_folds_are_measured_beside_the_baseline(root: Path) -> None:
    rows = read_manifest(root / "manifest.csv")
    report = run_trial(
        replace(TRIAL, folds=2), rows, root=root, cache_dir=root / "cache"
    )
    by_task = {(e["source"], e["task"], e["metric"]): e for e in report["results"]}
    assert ("one", "three", "balanced_accuracy") in by_task
    entry = by_task["two", f"three: {NAMES[0]}", "auc"]
    low, high = entry["interval"]
    assert 0 <= low <= entry["value"] <= high <= 1
    assert entry["baseline_interval"][0] <= entry["baseline"]
    assert entry["lead"] == pytest.approx(entry["value"] - entry["baseline"], abs=2e-4)
    assert (entry["images"], entry["folds"], entry["left_out"]) == (60, 2, [])
    assert "32 px, 1 epochs" in entry["shortened_how"]


def test_methods_are_compared_on_a_source_that_is_left_out(root: Path) -> None:
    rows = read_manifest(root / "manifest.csv")
    trial = replace(TRIAL, left_out=("two",), datasets=("one",))
    report = run_trial(trial, rows, root=root, cache_dir=root / "cache")
    entry = report["results"][0]
    assert (entry["source"], entry["left_out"]) == ("two", ["two"])
    assert set(entry["learned_from"]) == {"one"}
    assert entry["learned_from"]["one"] + entry["near_duplicates_dropped"] == 60


@pytest.mark.parametrize("method", METHODS)
def test_each_way_of_training_changes_the_branch_alone(method: str, root: Path) -> None:
    train = ground_truth_of_heads(SHARED, read_manifest(root / "manifest.csv"))
    network = split_network(3, SHORT)
    features = Features()
    shape = (
        len(train.rows),
        2,
        *network.trunk.compute_output_shape((1, 32, 32, 1))[1:],
    )
    drawn = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    features.add([row.path for row in train.rows], drawn)
    before = network.trunk.get_weights()
    branch = train_branch(
        network, SHARED, train, features, method=method, settings=SHORT
    )
    after = branch.get_weights()
    changed = [
        not np.allclose(one, other)
        for one, other in zip(network.start, after, strict=True)
    ]
    assert all(changed)
    for one, other in zip(before, network.trunk.get_weights(), strict=True):
        assert np.array_equal(one, other)
    assert branch.outputs[0].shape[-1] == 3


def test_training_against_one_source_is_refused(root: Path) -> None:
    rows = read_manifest(root / "manifest.csv")
    trial = replace(
        TRIAL, datasets=("one",), left_out=("two",), methods=("adversarial",)
    )
    with pytest.raises(TrainingError, match="needs two sources"):
        run_trial(trial, rows, root=root, cache_dir=root / "cache")


def test_unknown_heads_and_unclear_plans_are_refused(root: Path) -> None:
    rows = read_manifest(root / "manifest.csv")
    for trial, message in (
        (replace(TRIAL, folds=2, heads=("other",)), "has no head other"),
        (TRIAL, "either folds or sources"),
        (replace(TRIAL, left_out=("one", "two")), "No source is left"),
    ):
        with pytest.raises(TrainingError, match=message):
            run_trial(trial, rows, root=root, cache_dir=root / "cache")


def test_nothing_is_learned_from_what_is_measured(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "MOST_DIFFERENT_BITS", 256)
    rows = read_manifest(root / "manifest.csv")
    with pytest.raises(TrainingError, match="looks like one that is measured"):
        run_trial(replace(TRIAL, folds=2), rows, root=root, cache_dir=root / "cache")
