"""The hyperparameter search resumes, keeps the best trial, and never reads val."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ml.training.tuning.search
from ml.architectures.small import PLAIN_DROPOUT
from ml.errors import TrainingError
from ml.training.checkpoints import load_state
from ml.training.recipes import Recipe, Stage
from ml.training.run import TrainingRun, gather
from ml.training.samples.augmentation import Augmentation
from ml.training.tuning.parameters import read_params, scaled, with_params
from ml.training.tuning.search import Search, own_params, tune
from tests.ml.image_factory import write_images
from tests.ml.training.test_run import NAMES, RECIPE

pytestmark = pytest.mark.slow

# One size: each costs the tracing of a graph.
QUICK = replace(RECIPE, epoch_images=16, stages=(Stage(0.0, 32),))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, list(NAMES), each=8, splits={"train": 4, "val": 1})
    return folder


def search_of(root: Path, study_dir: Path, recipe: Recipe = QUICK) -> Search:
    return Search(
        recipe,
        data=gather(recipe, manifest=root / "manifest.csv"),
        root=root,
        study_dir=study_dir,
        cache_dir=root / "cache",
        epochs=2,
    )


def test_tuned_values_become_a_recipe() -> None:
    params = {"learning_rate": 1e-4, "augmentation": 0.5, "dropout": 0.3}
    tuned = with_params(QUICK, params)
    assert tuned.peak_learning_rate == 1e-4
    assert tuned.weight_decay == QUICK.weight_decay
    assert tuned.refinements.dropout == 0.3
    assert tuned.augmentation == scaled(QUICK.augmentation, 0.5)
    assert with_params(QUICK, {"augmentation": 1.0}) == QUICK


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"batch": 3}, "known: learning_rate"),
        ({"dropout": 0.9}, "from 0 to 0.5"),
        ({"learning_rate": "fast"}, "is 'fast'"),
    ],
)
def test_invalid_tuned_values_are_refused(params: dict[str, Any], match: str) -> None:
    with pytest.raises(TrainingError, match=match):
        with_params(QUICK, params)


def test_variations_are_scaled_from_none_to_more() -> None:
    usual = Augmentation(lung_crop_probability=0.4, mixing=0.2)
    none = scaled(usual, 0.0)
    assert none.aspect_range == (1.0, 1.0)
    assert none.smallest_area == 1.0
    assert (none.rotation_degrees, none.border_probability) == (0, 0)
    assert (none.mixing, none.looks_for_lungs) == (0, False)
    assert none.mirror_probability == usual.mirror_probability
    more = scaled(usual, 1.5)
    assert more.aspect_range[0] < usual.aspect_range[0]
    assert more.smallest_area == pytest.approx(0.325)


def test_a_file_of_values_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text(json.dumps({"params": {"dropout": 0.1}, "trial": 3}))
    assert read_params(path) == {"dropout": 0.1}
    path.write_text(json.dumps({"dropout": 0.2}))
    assert read_params(path) == {"dropout": 0.2}
    path.write_text("[]")
    with pytest.raises(TrainingError, match="no JSON object"):
        read_params(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_params(tmp_path / "none.json")


def test_dropout_is_searched_only_where_there_is_some() -> None:
    assert "dropout" not in own_params(QUICK)
    dense = replace(QUICK, architecture="small-cnn")
    assert own_params(dense)["dropout"] == PLAIN_DROPOUT


def test_an_interrupted_search_resumes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of(root, tmp_path)

    class KilledError(Exception):
        pass

    def killed(self: Any) -> bool:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("optuna.Trial.should_prune", killed)
        with pytest.raises(KilledError):
            tune(search, trials=3)
    [begun] = tmp_path.glob("trial-*")
    reports: list[dict[str, Any]] = []
    looked_at: list[int] = []

    class Watched(TrainingRun):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            looked_at.append(len(self.data.val.rows))
            reports.append({"epochs_before": self.state.epoch})

    monkeypatch.setattr(ml.training.tuning.search, "TrainingRun", Watched)
    best = tune(search, trials=3, report=reports.append)
    # The interrupted trial had one epoch behind it, and came first: the recipe's own.
    assert [r["epochs_before"] for r in reports if "epochs_before" in r] == [1, 0, 0]
    trials = [r for r in reports if "trial" in r]
    assert len(trials) == best["trials"] == 3
    assert trials[0]["learning_rate"] == pytest.approx(QUICK.peak_learning_rate)
    assert len({t["learning_rate"] for t in trials}) == 3
    assert looked_at == [0, 0, 0]
    assert best["held_out_loss"] == min(t["held_out_loss"] for t in trials)
    assert best["held_out_loss"] <= best["recipe_held_out_loss"]
    # What is kept: the study, the best values, and the best trial's checkpoints.
    assert json.loads((tmp_path / "best.json").read_text()) == best
    [kept] = tmp_path.glob("trial-*")
    assert kept.name == best["run"]
    state = load_state(kept)
    assert state is not None
    assert state.epoch == 2
    assert begun.name == kept.name or not begun.exists()
    # Asked for as many again, there is nothing left to do.
    assert tune(search, trials=3, report=reports.append) == best
    assert len([r for r in reports if "trial" in r]) == 3
    assert with_params(QUICK, read_params(tmp_path / "best.json")) != QUICK or (
        best["trial"] in (0, 1)
    )


def test_a_search_ends_at_its_time_limit(root: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No trial was finished"):
        tune(search_of(root, tmp_path), trials=3, minutes=1e-6)
    other = replace(QUICK, seed=1)
    with pytest.raises(TrainingError, match="another recipe"):
        tune(search_of(root, tmp_path, other), trials=1)
