"""Train a network by a recipe, with checkpoints from which a run resumes.

A run follows the clock where it is given minutes: learning rate and image size depend
on the share of the time that has passed, so that a busy machine ends the run earlier
in epochs and not in the middle of its schedule.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ml.architectures.build import build
from ml.datasets.ground_truth import GroundTruth, images_of
from ml.datasets.manifest import (
    ManifestRow,
    PackedImages,
    drawn_percent,
    pack_images,
    read_manifest,
    refuse_shared_patients,
    with_split,
)
from ml.errors import TrainingError
from ml.metrics import balanced_accuracy, mean_auc
from ml.training.checkpoints import (
    RunState,
    keep_as_best,
    load_average,
    load_state,
    restore,
    save_checkpoint,
    settle_on_best,
)
from ml.training.compile import compiled, set_dropout
from ml.training.distillation import open_teacher
from ml.training.heads import columns_of, ground_truth_of_heads, of_head
from ml.training.held_out import HELD_OUT_LOSS, best_epoch, is_enough, log_loss
from ml.training.recipes import Head, Recipe, Refinements, Stage
from ml.training.samples.lung_masks import lung_masks
from ml.training.samples.sequences import ImageSequence, evenly_drawn, plain_inputs
from ml.training.start.initial_weights import initialise
from ml.training.weight_average import WeightAverage

if TYPE_CHECKING:
    import keras

Report = Callable[[dict[str, Any]], None]
PRECISIONS = ("float32", "mixed_bfloat16")
CPU_FLAGS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class TrainingData:
    """Images of a run: for training, held out for calibration, and for validation."""

    train: GroundTruth
    held_out: GroundTruth
    val: GroundTruth
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """When a run ends: after a number of minutes or of epochs."""

    minutes: float = 0.0
    epochs: int = 0

    def progress(self, state: RunState, *, elapsed_s: float, share: float) -> float:
        """Return how much of the run has passed, 0 to 1; `share` of this epoch."""
        if self.minutes > 0:
            return min(1.0, elapsed_s / (60.0 * self.minutes))
        return min(1.0, (state.epoch + share) / max(1, self.epochs))


def gather(recipe: Recipe, *, manifest: Path, limit: int = 0) -> TrainingData:
    """Read a manifest and sort its images into the parts of a run.

    Raises:
        TrainingError: A patient stands in two splits, or a label has no image.
    """
    return gather_rows(recipe, read_manifest(manifest), limit=limit)


def gather_rows(
    recipe: Recipe, rows: Sequence[ManifestRow], *, limit: int = 0
) -> TrainingData:
    """Sort images into the parts of a run; see `gather`."""
    refuse_shared_patients(rows)
    truth = ground_truth_of_heads(recipe, with_split(rows, "train"))
    val = ground_truth_of_heads(recipe, with_split(rows, "val"))
    aside = np.array(
        [drawn_percent(row.patient) < recipe.held_out_percent for row in truth.rows],
        bool,
    )
    train = images_of(truth, np.flatnonzero(~aside))
    if limit:
        step = max(1, len(train.rows) // limit)
        train = images_of(train, np.arange(0, len(train.rows), step))
    seen = np.logical_or.reduce(train.positive, axis=0)
    missing = [n for n, ok in zip(recipe.label_names, seen, strict=True) if not ok]
    if missing:
        raise TrainingError(
            "No training image has: %(labels)s.",
            params={"labels": ", ".join(missing)},
        )
    return TrainingData(
        train=train,
        held_out=images_of(truth, np.flatnonzero(aside)),
        val=val,
        unknown=truth.unknown + val.unknown,
        ambiguous=truth.ambiguous + val.ambiguous,
    )


class TrainingRun:
    """A training run in its folder; it resumes from its last checkpoint."""

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
        on_batch: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        import keras

        self.recipe, self.data, self.report = recipe, data, report
        self.run_dir, self.budget, self.on_batch = run_dir, budget, on_batch
        self.root, self.cache_dir, self.precision = root, cache_dir, precision
        self.train_images = pack_rows(data.train.rows, root, cache_dir)
        self.val_images = pack_rows(data.val.rows, root, cache_dir)
        self.lungs = None
        if recipe.augmentation.looks_for_lungs:
            self.lungs = lung_masks(self.train_images, cache_dir=cache_dir)
        self.groups = image_groups(data.train)
        keras.utils.set_random_seed(recipe.seed)
        self.network = build(
            recipe.architecture,
            classes=len(recipe.labels),
            dtype=precision,
            size=recipe.stages[0].size,
        )
        set_dropout(self.network, recipe.refinements.dropout)
        self.teacher = open_teacher(recipe) if recipe.distillation else None
        self.average: WeightAverage | None = None
        self.state = self._begin_or_resume()

    def _begin_or_resume(self) -> RunState:
        fingerprint = fingerprint_of(self.recipe, self.data)
        state = load_state(self.run_dir)
        if state is None:
            initialise(self.network, self.recipe.init)
            self._compile(head_only=self.recipe.stages[0].head_only)
            self._begin_average()
            return RunState(self.recipe.name, fingerprint)
        if state.fingerprint != fingerprint:
            raise TrainingError(
                "%(folder)s holds a run with another recipe or other images. Choose "
                "another --run folder.",
                params={"folder": self.run_dir},
            )
        self._compile(head_only=state.head_only)
        restore(self.run_dir, model=self.network, optimizer=self.classifier.optimizer)
        self._begin_average()
        if self.average is not None:
            kept = load_average(self.run_dir)
            self.average.load(kept, batches=state.batches)
        return state

    def _begin_average(self) -> None:
        if self.recipe.average_decay:
            self.average = WeightAverage(self.network, decay=self.recipe.average_decay)

    def _compile(self, *, head_only: bool) -> None:
        self.head_only = head_only
        self.classifier = compiled(
            self.network,
            self.recipe,
            self.data.train,
            head_only=head_only,
            teacher=self.teacher,
        )

    def train(self) -> RunState:
        """Train until the budget is used up, with a checkpoint after each epoch."""
        patience = self.recipe.refinements.patience
        while self.progress(share=0.0, since=None) < 1.0:
            if is_enough(self.state.history, patience=patience):
                break
            self._epoch()
        if patience:
            settle_on_best(self.run_dir, self.state, model=self.network)
        return self.state

    def progress(self, *, share: float, since: float | None) -> float:
        """Return how much of the run has passed, `share` of this epoch included."""
        running = 0.0 if since is None else time.monotonic() - since
        elapsed = self.state.elapsed_s + running
        return self.budget.progress(self.state, elapsed_s=elapsed, share=share)

    def _epoch(self) -> None:
        since = time.monotonic()
        stage = self._stage(self.progress(share=0.0, since=since))
        size = stage.size
        if stage.head_only != self.head_only:
            self._compile(head_only=stage.head_only)
        sequence = self._sequence(size)
        pace = _pace_callback(self, since=since, batches=len(sequence))
        past = self.classifier.fit(
            sequence, epochs=1, verbose=0, shuffle=False, callbacks=[pace]
        )
        with self.average.in_place() if self.average else nullcontext():
            measured = {**self._measure(size), **self._measure_held_out(size)}
        self.state.batches += pace.batches_done
        entry = {
            "epoch": self.state.epoch + 1,
            "size": size,
            "precision": self.precision,
            "images": pace.batches_done * self.recipe.batch_size,
            "learning_rate": float(self.classifier.optimizer.learning_rate),
            "loss": round(float(past.history["loss"][-1]), 4),
            **_shown(past.history, "accuracy"),
            **measured,
        }
        self._keep(entry, seconds=time.monotonic() - since)

    def _sequence(self, size: int) -> ImageSequence:
        return ImageSequence(
            self.train_images,
            targets=targets_of(self.data.train),
            indices=self._draw(),
            size=size,
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed + self.state.epoch,
            strength=self.recipe.augmentation,
            lungs=self.lungs,
        )

    def _keep(self, entry: dict[str, Any], *, seconds: float) -> None:
        """Write the checkpoint of a finished epoch, then report it."""
        self.state.epoch += 1
        self.state.head_only = self.head_only
        self.state.elapsed_s += seconds
        entry["elapsed_s"] = round(self.state.elapsed_s, 1)
        self.state.history.append(entry)
        save_checkpoint(
            self.run_dir,
            state=self.state,
            model=self.network,
            optimizer=self.classifier.optimizer,
            average=self.average.arrays if self.average else None,
        )
        if entry["epoch"] == best_epoch(self.state.history):
            keep_as_best(self.run_dir, self.state)
        self.report(entry)

    def _stage(self, progress: float) -> Stage:
        begun = [stage for stage in self.recipe.stages if stage.begins <= progress]
        return begun[-1]

    def _draw(self) -> np.ndarray:
        recipe, train = self.recipe, self.data.train
        rng = np.random.default_rng((recipe.seed, self.state.epoch))
        if recipe.class_shares:
            groups = train.positive.argmax(axis=1)
            shares = [recipe.class_shares[name] for name in recipe.label_names]
        else:
            groups = self.groups
            shares = list(np.bincount(groups) ** recipe.balance)
        count = min(recipe.epoch_images, 8 * len(train.rows))
        return evenly_drawn(groups, shares=shares, count=count, rng=rng)

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
        """Measure on val, for the curves only: nothing is chosen by these metrics."""
        val = self.data.val
        if not val.rows:
            return {}
        logits = predict_logits(self.network, self.val_images, size=size)
        measured: dict[str, Any] = {}
        for head, columns in columns_of(self.recipe):
            chosen, truth = of_head(val, columns)
            if not len(chosen):
                continue
            # A recipe that is its only head has no name before its metrics.
            prefix = f"val_{head.name}" if self.recipe.shared_by else "val"
            own = logits[chosen, columns]
            measured[prefix] = merit(head, own, truth)
            name = head.measured_dataset
            inside = [i for i, row in enumerate(truth.rows) if row.dataset == name]
            if 0 < len(inside) < len(truth.rows):
                within = images_of(truth, np.array(inside))
                measured[f"{prefix}_{name}"] = merit(head, own[inside], within)
        return measured

    def _measure_held_out(self, size: int) -> dict[str, float]:
        """Measure on held-out train patients; their loss may end the run early."""
        if not self.recipe.refinements.patience:
            return {}
        if not self.data.held_out.rows:
            raise TrainingError(
                "No train patient is held out, so nothing can end this run early."
            )
        images = pack_rows(self.data.held_out.rows, self.root, self.cache_dir)
        logits = predict_logits(self.network, images, size=size)
        loss = 0.0
        for head, columns in columns_of(self.recipe):
            chosen, truth = of_head(self.data.held_out, columns)
            if len(chosen):
                loss += head.weight * log_loss(
                    head.task, logits[chosen, columns], truth
                )
        return {HELD_OUT_LOSS: round(loss, 4)}


def merit(head: Head, logits: np.ndarray, ground_truth: GroundTruth) -> float:
    """Return balanced accuracy of a softmax head, mean AUC of a sigmoid one."""
    if head.task == "softmax":
        chosen = logits.argmax(axis=1)
        return round(balanced_accuracy(ground_truth.positive.argmax(axis=1), chosen), 4)
    return round(mean_auc(logits, ground_truth.positive, ground_truth.known), 4)


def targets_of(ground_truth: GroundTruth) -> np.ndarray:
    """Return float32 (images, labels): 1 present, 0 absent, -1 unknown."""
    return np.where(ground_truth.known, ground_truth.positive, -1.0).astype(np.float32)


def image_groups(ground_truth: GroundTruth) -> np.ndarray:
    """Return int (images,): images of one source with the same rarest label."""
    counts = ground_truth.positive.sum(axis=0)
    rarest = np.where(ground_truth.positive, counts, np.inf).argmin(axis=1)
    rarest = np.where(ground_truth.positive.any(axis=1), rarest, -1)
    names = [
        f"{row.dataset} {r}" for row, r in zip(ground_truth.rows, rarest, strict=True)
    ]
    return np.unique(names, return_inverse=True)[1]


def _shown(history: dict[str, list[float]], name: str) -> dict[str, float]:
    return {name: round(float(history[name][-1]), 4)} if name in history else {}


def predict_logits(
    network: keras.Model, images: PackedImages, *, size: int, batch_size: int = 64
) -> np.ndarray:
    """Return float32 logits (images, classes) of packed images without variation."""
    parts = []
    for start in range(0, len(images), batch_size):
        indices = range(start, min(start + batch_size, len(images)))
        logits, _ = network.predict_on_batch(plain_inputs(images, indices, size=size))
        parts.append(np.asarray(logits, np.float32))
    return np.concatenate(parts)


def pack_rows(rows: Sequence[ManifestRow], root: Path, cache_dir: Path) -> PackedImages:
    """Return the cached images of these rows."""
    return pack_images([row.path for row in rows], root=root, cache_dir=cache_dir)


def _pace_callback(run: TrainingRun, *, since: float, batches: int) -> Any:
    import keras

    class Pace(keras.callbacks.Callback):
        """Set the learning rate of each batch; stop when the time is over."""

        batches_done = 0

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            progress = run.progress(share=batch / batches, since=since)
            optimizer = run.classifier.optimizer
            optimizer.learning_rate.assign(run.learning_rate(progress))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches_done = batch + 1
            if run.average is not None:
                run.average.update()
            run.on_batch(batch + 1, batches)
            if run.budget.minutes and run.progress(share=0.0, since=since) >= 1.0:
                self.model.stop_training = True

    return Pace()


def fingerprint_of(recipe: Recipe, data: TrainingData) -> str:
    """Return the fingerprint of a run: its recipe and its training images."""
    paths = [row.path for row in data.train.rows]
    settings = asdict(replace(recipe, version=""))
    if recipe.refinements == Refinements():
        del settings["refinements"]
    # Without them, a run of an earlier version of this program goes on.
    for name in ("frozen", "distillation"):
        if not settings[name]:
            del settings[name]
    text = json.dumps([settings, paths], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def leave_cores_to_the_network() -> None:
    """Prepare images in one thread, so that the network gets the other cores."""
    cv2.setNumThreads(1)


def fitting_precision() -> str:
    """Return bfloat16 only where the CPU multiplies it; elsewhere it is slower."""
    try:
        flags = CPU_FLAGS.read_text()
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags else "float32"
