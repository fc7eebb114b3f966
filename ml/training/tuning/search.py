"""Search for the best hyperparameters of a recipe, kept in an SQLite file.

Each trial trains the recipe with other values for as many epochs and is judged by the
likelihood of train patients held out from it; val is never looked at. Trials that fall
behind are given up. A study goes on where it was: what was interrupted is taken up
again from its own checkpoint.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from ml.architectures.build import build
from ml.datasets.ground_truth import images_of
from ml.errors import TrainingError
from ml.training.compile import dropout_of
from ml.training.held_out import HELD_OUT_LOSS
from ml.training.recipes import Recipe
from ml.training.run import Budget, TrainingData, TrainingRun, fingerprint_of
from ml.training.tuning.parameters import LOGARITHMIC, RANGES, with_params

STUDY_NAME = "study.sqlite3"
BEST_NAME = "best.json"
# Values drawn at random before the search learns from them.
RANDOM_TRIALS = 6
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class OutOfTimeError(Exception):
    """The time for the search ended during a trial."""


@dataclass(frozen=True)
class Search:
    """Settings of a study: images, folders, and the length of a trial."""

    recipe: Recipe
    data: TrainingData
    root: Path
    study_dir: Path
    cache_dir: Path
    epochs: int
    precision: str = "float32"


def tune(
    search: Search,
    *,
    trials: int,
    minutes: float = 0.0,
    report: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Search until the study has `trials` finished trials or the minutes are over.

    Returns:
        The best trial, as it is kept in `best.json`: its params are what
        `train_model --params` takes.

    Raises:
        TrainingError: The folder holds a study of other images, another search works
            on it, or no trial was finished in time.
    """
    ends = time.monotonic() + 60.0 * minutes if minutes else None
    own = own_params(search.recipe)
    with _opened(search, own) as study:
        _give_back_interrupted(study)
        while _finished(study) < trials:
            try:
                report(_next_trial(search, study, tuple(own), ends))
            except OutOfTimeError:
                break
            _keep_best(search, study, own)
        if not study.get_trials(states=(TrialState.COMPLETE,)):
            raise TrainingError(
                "No trial was finished in time. Start the search again to continue it."
            )
        return _keep_best(search, study, own)


@contextmanager
def _opened(search: Search, own: Mapping[str, float]) -> Iterator[optuna.Study]:
    """Open the study of a folder, for one process at a time."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search.study_dir.mkdir(parents=True, exist_ok=True)
    with (search.study_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                "Another search is running in %(folder)s.",
                params={"folder": search.study_dir},
            ) from error
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{search.study_dir / STUDY_NAME}"
        )
        try:
            yield _study(search, storage, own)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _study(
    search: Search, storage: optuna.storages.RDBStorage, own: Mapping[str, float]
) -> optuna.Study:
    study = optuna.create_study(
        study_name=search.recipe.name,
        storage=storage,
        direction="minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS),
        load_if_exists=True,
    )
    begun = len(study.trials)
    # Seeded by how far it is: taken up again, it draws no value a second time.
    study.sampler = optuna.samplers.TPESampler(
        seed=search.recipe.seed + begun, n_startup_trials=RANDOM_TRIALS
    )
    about = f"{fingerprint_of(search.recipe, search.data)} {search.epochs}"
    if study.user_attrs.get("about", about) != about:
        raise TrainingError(
            "%(folder)s holds a study of another recipe, other images or another "
            "number of epochs. Choose another --run folder.",
            params={"folder": search.study_dir},
        )
    study.set_user_attr("about", about)
    if not begun:
        study.enqueue_trial(dict(own))
    return study


def own_params(recipe: Recipe) -> dict[str, float]:
    """Return a recipe's own values, with which every search begins."""
    values = {
        "learning_rate": recipe.peak_learning_rate,
        "weight_decay": recipe.weight_decay,
        "augmentation": 1.0,
        "label_smoothing": recipe.label_smoothing,
    }
    network = build(
        recipe.architecture, classes=len(recipe.labels), size=recipe.stages[0].size
    )
    dropout = dropout_of(network)
    if dropout is not None:
        set_one = recipe.refinements.dropout
        values["dropout"] = dropout if set_one is None else set_one
    return {
        name: min(max(value, RANGES[name][0]), RANGES[name][1])
        for name, value in values.items()
    }


def _give_back_interrupted(study: optuna.Study) -> None:
    """Queue trials again that an ended search left running."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, skip_if_exists=False)


def _finished(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def _next_trial(
    search: Search, study: optuna.Study, names: tuple[str, ...], ends: float | None
) -> dict[str, Any]:
    """Run one trial, unless the time is over before its end."""
    if ends is not None and time.monotonic() >= ends:
        raise OutOfTimeError
    trial = study.ask()
    params = {
        name: trial.suggest_float(name, *RANGES[name], log=name in LOGARITHMIC)
        for name in names
    }
    try:
        value = _held_out_loss(search, trial, params, ends)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return {"trial": trial.number, "given_up": True, **_rounded(params)}
    study.tell(trial, value)
    return {"trial": trial.number, HELD_OUT_LOSS: value, **_rounded(params)}


def _held_out_loss(
    search: Search,
    trial: optuna.Trial,
    params: Mapping[str, float],
    ends: float | None,
) -> float:
    """Train with these values; return the smallest loss on held-out train patients."""
    recipe = with_params(search.recipe, params)
    # Patience beyond the last epoch: measured after each, ended by none.
    recipe = replace(
        recipe, refinements=replace(recipe.refinements, patience=search.epochs + 1)
    )

    def watch(entry: dict[str, Any]) -> None:
        trial.report(entry[HELD_OUT_LOSS], entry["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned
        if ends is not None and time.monotonic() >= ends:
            raise OutOfTimeError

    state = TrainingRun(
        recipe,
        # Val is not looked at: not even read.
        data=replace(search.data, val=images_of(search.data.val, np.zeros(0, int))),
        root=search.root,
        run_dir=trial_folder(search.study_dir, params),
        cache_dir=search.cache_dir,
        budget=Budget(epochs=search.epochs),
        precision=search.precision,
        report=watch,
    ).train()
    return float(min(entry[HELD_OUT_LOSS] for entry in state.history))


def trial_folder(study_dir: Path, params: Mapping[str, float]) -> Path:
    """Return the folder of a trial, named after its values."""
    text = json.dumps({name: f"{params[name]:.9g}" for name in sorted(params)})
    return study_dir / f"trial-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _values_of(trial: optuna.trial.FrozenTrial) -> Mapping[str, float]:
    """Return a trial's values, drawn or queued."""
    return trial.params or trial.system_attrs.get("fixed_params", {})


def _keep_best(
    search: Search, study: optuna.Study, own: Mapping[str, float]
) -> dict[str, Any]:
    """Write down the best trial and remove the checkpoints of the others."""
    completed = study.get_trials(states=(TrialState.COMPLETE,))
    if not completed:
        return {}
    best = study.best_trial
    # Those that were interrupted go on from their checkpoints.
    unfinished = study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    kept = trial_folder(search.study_dir, best.params)
    spared = {trial_folder(search.study_dir, _values_of(trial)) for trial in unfinished}
    for folder in search.study_dir.glob("trial-*"):
        if folder != kept and folder not in spared:
            shutil.rmtree(folder)
    recipes_own = trial_folder(search.study_dir, own)
    summary = {
        "model": search.recipe.name,
        "params": best.params,
        HELD_OUT_LOSS: best.value,
        "recipe_held_out_loss": next(
            (
                trial.value
                for trial in completed
                if trial_folder(search.study_dir, trial.params) == recipes_own
            ),
            None,
        ),
        "trial": best.number,
        "trials": _finished(study),
        "epochs": search.epochs,
        "held_out_patients": len({row.patient for row in search.data.held_out.rows}),
        "run": kept.name,
    }
    temporary = search.study_dir / f"{BEST_NAME}.tmp"
    temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    temporary.replace(search.study_dir / BEST_NAME)
    return summary


def _rounded(params: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in params.items()}
