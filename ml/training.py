"""Training: random weights to a checkpointed, resumable run of a recipe.

A run follows the clock where it is given minutes: learning rate and film size depend
on the share of the time that has passed, so that a busy machine ends the run earlier
in epochs and not in the middle of its schedule.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ml.architectures import build
from ml.checkpoints import RunState, load_state, restore, save_checkpoint
from ml.datasets import (
    LabelledFilm,
    PackedFilms,
    hold_out,
    pack_films,
    read_manifest,
    refuse_shared_patients,
    select_films,
    with_split,
)
from ml.errors import TrainingError
from ml.metrics import balanced_accuracy
from ml.recipes import Recipe
from ml.sequences import FilmSequence, evenly_drawn, plain_inputs

if TYPE_CHECKING:
    import keras

Report = Callable[[dict[str, Any]], None]
PRECISIONS = ("float32", "mixed_bfloat16")
CPU_FLAGS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class TrainingData:
    """Films of a run: learned from, kept aside for calibration, and looked at."""

    train: tuple[LabelledFilm, ...]
    held_out: tuple[LabelledFilm, ...]
    val: tuple[LabelledFilm, ...]
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """When a run ends: after so many minutes or so many epochs, one of them."""

    minutes: float = 0.0
    epochs: int = 0

    def progress(self, state: RunState, *, elapsed_s: float, share: float) -> float:
        """Return how much of the run has passed, 0 to 1; `share` of this epoch."""
        if self.minutes > 0:
            return min(1.0, elapsed_s / (60.0 * self.minutes))
        return min(1.0, (state.epoch + share) / max(1, self.epochs))


def gather(recipe: Recipe, *, manifest: Path, limit: int = 0) -> TrainingData:
    """Read a manifest and sort its films into the parts of a run.

    Raises:
        TrainingError: A patient stands in two splits, or a label has no film.
    """
    rows = read_manifest(manifest)
    refuse_shared_patients(rows)
    names = recipe.label_names
    selected = select_films(with_split(rows, "train"), names)
    train, held_out = hold_out(selected.films, percent=recipe.held_out_percent)
    val = select_films(with_split(rows, "val"), names)
    missing = set(names) - {film.label for film in train}
    if missing:
        raise TrainingError(f"No training film has: {', '.join(sorted(missing))}.")
    if limit:
        train = train[:: max(1, len(train) // limit)]
    return TrainingData(
        train=tuple(train),
        held_out=tuple(held_out),
        val=tuple(val.films),
        unknown=selected.unknown + val.unknown,
        ambiguous=selected.ambiguous + val.ambiguous,
    )


class Run:
    """One training run in its folder: begins, or goes on where it was interrupted."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        data: TrainingData,
        root: Path,
        run_dir: Path,
        cache_dir: Path,
        budget: Budget,
        precision: str = "float32",
        report: Report = lambda entry: None,
    ) -> None:
        import keras

        self.recipe, self.data, self.report = recipe, data, report
        self.run_dir, self.budget = run_dir, budget
        self.train_films = _pack(data.train, root, cache_dir)
        self.val_films = _pack(data.val, root, cache_dir)
        keras.utils.set_random_seed(recipe.seed)
        self.network = build(
            recipe.architecture, classes=len(recipe.labels), dtype=precision
        )
        self.classifier = _compiled(self.network, recipe)
        self.state = self._begin_or_resume()

    def _begin_or_resume(self) -> RunState:
        fingerprint = _fingerprint(self.recipe, self.data)
        state = load_state(self.run_dir)
        if state is None:
            return RunState(self.recipe.name, fingerprint)
        if state.fingerprint != fingerprint:
            raise TrainingError(
                f"{self.run_dir} holds a run with another recipe or other films; "
                "choose another --run folder."
            )
        restore(self.run_dir, model=self.network, optimizer=self.classifier.optimizer)
        return state

    def train(self) -> RunState:
        """Train until the budget is used up, with a checkpoint after each epoch."""
        while self.progress(share=0.0, since=None) < 1.0:
            self._epoch()
        return self.state

    def progress(self, *, share: float, since: float | None) -> float:
        """Return how much of the run has passed, `share` of this epoch included."""
        running = 0.0 if since is None else time.monotonic() - since
        elapsed = self.state.elapsed_s + running
        return self.budget.progress(self.state, elapsed_s=elapsed, share=share)

    def _epoch(self) -> None:
        since = time.monotonic()
        size = self._size(self.progress(share=0.0, since=since))
        sequence = self._sequence(size)
        pace = _pace_callback(self, since=since, batches=len(sequence))
        past = self.classifier.fit(
            sequence, epochs=1, verbose=0, shuffle=False, callbacks=[pace]
        )
        entry = {
            "epoch": self.state.epoch + 1,
            "size": size,
            "films": pace.batches_done * self.recipe.batch_size,
            "learning_rate": float(self.classifier.optimizer.learning_rate),
            "loss": round(float(past.history["loss"][-1]), 4),
            "accuracy": round(float(past.history["accuracy"][-1]), 4),
            **self._measure(size),
        }
        self._keep(entry, seconds=time.monotonic() - since)

    def _sequence(self, size: int) -> FilmSequence:
        return FilmSequence(
            self.train_films,
            labels=_classes(self.data.train),
            indices=self._draw(),
            size=size,
            classes=len(self.recipe.labels),
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed + self.state.epoch,
            strength=self.recipe.augmentation,
        )

    def _keep(self, entry: dict[str, Any], *, seconds: float) -> None:
        """Write the checkpoint of a finished epoch, then report it."""
        self.state.epoch += 1
        self.state.elapsed_s += seconds
        entry["elapsed_s"] = round(self.state.elapsed_s, 1)
        self.state.history.append(entry)
        save_checkpoint(
            self.run_dir,
            state=self.state,
            model=self.network,
            optimizer=self.classifier.optimizer,
        )
        self.report(entry)

    def _size(self, progress: float) -> int:
        begun = [stage for stage in self.recipe.stages if stage.begins <= progress]
        return begun[-1].size

    def _draw(self) -> np.ndarray:
        rng = np.random.default_rng((self.recipe.seed, self.state.epoch))
        shares = [self.recipe.class_shares[name] for name in self.recipe.label_names]
        count = min(self.recipe.epoch_films, 8 * len(self.data.train))
        return evenly_drawn(
            _classes(self.data.train), shares=shares, count=count, rng=rng
        )

    def learning_rate(self, progress: float) -> float:
        """Return the rate at a share of the run: a short rise, then a half cosine."""
        recipe = self.recipe
        if progress < recipe.warm_up:
            return recipe.peak_learning_rate * (0.02 + progress / recipe.warm_up)
        past = (progress - recipe.warm_up) / (1.0 - recipe.warm_up)
        return recipe.peak_learning_rate * max(
            1e-4, 0.5 * (1.0 + math.cos(math.pi * past))
        )

    def _measure(self, size: int) -> dict[str, Any]:
        """Measure on val, for the curves only: nothing is chosen by these figures."""
        if not self.data.val:
            return {}
        logits = predict_logits(self.network, self.val_films, size=size)
        truth = _classes(self.data.val)
        chosen = logits.argmax(axis=1)
        measured = {
            "val_accuracy": round(float((chosen == truth).mean()), 4),
            "val_balanced_accuracy": round(balanced_accuracy(truth, chosen), 4),
        }
        if self.recipe.measured_dataset:
            name = self.recipe.measured_dataset
            inside = np.array([film.row.dataset == name for film in self.data.val])
            if inside.any():
                figure = balanced_accuracy(truth[inside], chosen[inside])
                measured[f"val_balanced_accuracy_{name}"] = round(figure, 4)
        return measured


def predict_logits(
    network: keras.Model, films: PackedFilms, *, size: int, batch_size: int = 64
) -> np.ndarray:
    """Return float32 logits (films, classes) of packed films without variation."""
    parts = []
    for start in range(0, len(films), batch_size):
        indices = range(start, min(start + batch_size, len(films)))
        logits, _ = network.predict_on_batch(plain_inputs(films, indices, size=size))
        parts.append(np.asarray(logits, np.float32))
    return np.concatenate(parts)


def _pack(films: Sequence[LabelledFilm], root: Path, cache_dir: Path) -> PackedFilms:
    return pack_films([film.row.path for film in films], root=root, cache_dir=cache_dir)


def _classes(films: Sequence[LabelledFilm]) -> np.ndarray:
    return np.array([film.class_index for film in films], np.int64)


def _compiled(network: keras.Model, recipe: Recipe) -> keras.Model:
    import keras

    classifier = keras.Model(network.inputs, network.outputs[0])
    optimizer = keras.optimizers.AdamW(
        recipe.peak_learning_rate,
        weight_decay=recipe.weight_decay,
        global_clipnorm=1.0,
    )
    # Decay pulls on what is multiplied with the film, not on shifts and scales.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    classifier.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        ),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return classifier


def _pace_callback(run: Run, *, since: float, batches: int) -> Any:
    import keras

    class Pace(keras.callbacks.Callback):
        """Set the learning rate of each batch; stop when the time is up."""

        batches_done = 0

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            progress = run.progress(share=batch / batches, since=since)
            optimizer = run.classifier.optimizer
            optimizer.learning_rate.assign(run.learning_rate(progress))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches_done = batch + 1
            if run.budget.minutes and run.progress(share=0.0, since=since) >= 1.0:
                self.model.stop_training = True

    return Pace()


def _fingerprint(recipe: Recipe, data: TrainingData) -> str:
    paths = [film.row.path for film in data.train]
    told = asdict(replace(recipe, version=""))
    text = json.dumps([told, paths], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def leave_cores_to_the_network() -> None:
    """Prepare films by one thread: more of them would only be in each other's way."""
    cv2.setNumThreads(1)


def fitting_precision() -> str:
    """Return bfloat16 only where the CPU multiplies it; elsewhere it is slower."""
    try:
        flags = CPU_FLAGS.read_text()
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags else "float32"
