"""Checkpoints of a training run, written atomically."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import TrainingError

if TYPE_CHECKING:
    import keras


WEIGHTS = "weights.npz"
# Of the averaged weights, where a run averages them.
AVERAGE = "average.npz"
BEST = "best-weights.npz"


@dataclass
class RunState:
    """Progress of a run; `history` has one entry an epoch."""

    recipe: str
    fingerprint: str
    epoch: int = 0
    batches: int = 0
    elapsed_s: float = 0.0
    head_only: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    run_dir: Path,
    *,
    state: RunState,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    average: Sequence[np.ndarray] | None = None,
) -> Path:
    """Write weights, optimizer and state as one folder, atomically.

    `average` are the averaged weights, in the order of the model's variables.
    """
    final = run_dir / _name(state)
    temporary = run_dir / f"{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    np.savez(temporary / WEIGHTS, *_arrays(model.variables))
    np.savez(temporary / "optimizer.npz", *_arrays(optimizer.variables))
    if average is not None:
        np.savez(temporary / AVERAGE, *average)
    (temporary / "state.json").write_text(json.dumps(asdict(state)))
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)
    for older in _checkpoints(run_dir)[:-2]:
        shutil.rmtree(older)
    _write_history(run_dir, state)
    return final


def load_state(run_dir: Path) -> RunState | None:
    """Return the newest checkpoint's state, or None where there is none."""
    checkpoints = _checkpoints(run_dir)
    if not checkpoints:
        return None
    return RunState(**json.loads((checkpoints[-1] / "state.json").read_text()))


def restore(
    run_dir: Path,
    *,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> None:
    """Load the newest checkpoint into a model and, where given, its optimizer.

    Without an optimizer the model is not trained further: it gets the averaged
    weights, where the run averages them.

    Raises:
        TrainingError: There is no checkpoint, or it is of another network.
    """
    checkpoints = _checkpoints(run_dir)
    if not checkpoints:
        raise TrainingError(
            "There is no checkpoint in %(folder)s.", params={"folder": run_dir}
        )
    _assign(
        model.variables,
        checkpoints[-1] / WEIGHTS if optimizer else _kept(checkpoints[-1]),
    )
    if optimizer is not None:
        optimizer.build(model.trainable_variables)
        _assign(optimizer.variables, checkpoints[-1] / "optimizer.npz")


def load_average(run_dir: Path) -> list[np.ndarray]:
    """Return the averaged weights of the newest checkpoint."""
    with np.load(_checkpoints(run_dir)[-1] / AVERAGE) as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]


def keep_as_best(run_dir: Path, state: RunState) -> None:
    """Copy the newest weights to the file of the best ones."""
    _copy_whole(_kept(run_dir / _name(state)), run_dir / BEST)


def settle_on_best(run_dir: Path, state: RunState, *, model: keras.Model) -> None:
    """Put the best weights into a model and into the newest checkpoint."""
    best = run_dir / BEST
    if best.exists():
        _assign(model.variables, best)
        _copy_whole(best, _kept(run_dir / _name(state)))


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that it appears under its name only when it is whole."""
    temporary = target.with_suffix(".tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def _kept(checkpoint: Path) -> Path:
    """Return the file of the weights that a checkpoint's model would be made of."""
    average = checkpoint / AVERAGE
    return average if average.exists() else checkpoint / WEIGHTS


def _name(state: RunState) -> str:
    return f"epoch-{state.epoch:04d}"


def _arrays(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [np.asarray(variable.numpy()) for variable in variables]


def _assign(variables: list[keras.Variable], path: Path) -> None:
    with np.load(path) as arrays:
        if len(arrays.files) != len(variables):
            raise TrainingError(
                "%(path)s holds the state of another network.", params={"path": path}
            )
        for number, variable in enumerate(variables):
            variable.assign(arrays[f"arr_{number}"])


def _checkpoints(run_dir: Path) -> list[Path]:
    folders = run_dir.glob("epoch-[0-9][0-9][0-9][0-9]")
    return sorted(path for path in folders if (path / "state.json").exists())


def _write_history(run_dir: Path, state: RunState) -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in state.history)
    temporary = run_dir / "history.jsonl.tmp"
    temporary.write_text(lines)
    temporary.replace(run_dir / "history.jsonl")
