"""Run trials: train without some patients or sources, and measure on them.

What a trial says is about the plan (data, labels, augmentation, training against the
source), not about a model that is shipped: its training is shortened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ml import metrics
from ml.datasets.ground_truth import GroundTruth, images_of
from ml.datasets.manifest import ManifestRow
from ml.errors import TrainingError
from ml.evaluation.baseline import SEES, best_fit, features_of, fifth_of
from ml.evaluation.bootstrap import Interval, Measure, patient_counts, with_interval
from ml.evaluation.comparison import paired_difference
from ml.evaluation.summary import LEAST_IMAGES
from ml.evaluation.trials.branch import PLAIN, Features, train_branch
from ml.evaluation.trials.folds import (
    Split,
    image_hashes,
    leave_sources_out,
    left_out_with,
    near_duplicates,
    split_by_patient,
)
from ml.evaluation.trials.trunk import Shortened, split_network, trunk_features
from ml.evaluation.wording import in_english
from ml.training.heads import columns_of, ground_truth_of_heads, of_head
from ml.training.recipes import Head, Recipe
from ml.training.run import pack_rows

HOW_SHORTENED = in_english(
    "a shortened training: %(size)d px, %(epochs)d epochs on %(variations)d kept "
    "variations of each image, the stem and the first four stages frozen as ImageNet "
    "left them, no mixing of images"
)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        recipe: Its heads, augmentation and rates.
        heads: Names of the heads that learn; empty: all.
        datasets: Sources that are learned from; empty: those of each head.
        folds: Of patients, measured in turn; 0: sources are left out instead.
        left_out: Sources that are measured and not learned from.
        methods: Ways of training that are compared, see `branch`.
    """

    recipe: Recipe
    heads: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    folds: int = 0
    left_out: tuple[str, ...] = ()
    methods: tuple[str, ...] = (PLAIN,)
    shortened: Shortened = field(default_factory=Shortened)


def run_trial(
    trial: Trial,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    cache_dir: Path,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Train and measure; return a report with one entry a task, metric and method.

    Args:
        trial: What is tried.
        rows: Images of the data set, in their splits.
        root: The folder that paths start from.
        cache_dir: Where images and outputs of the trunk are kept.
        progress: Called with what is done, how much of it, of how much.

    Raises:
        TrainingError: There is no such head, or nothing to learn from or to measure.
    """
    recipe, splits = _plan(trial, rows)
    images = _Images(trial, recipe, rows, splits, root, cache_dir, progress)
    learned: Counter[str] = Counter()
    dropped = 0
    for number, split in enumerate(splits):
        train = ground_truth_of_heads(recipe, images.distinct(split))
        if not train.rows:
            raise TrainingError(
                "Every image to learn from looks like one that is measured."
            )
        dropped += len(split.train) - len(train.rows)
        learned.update(row.dataset for row in train.rows)
        test = ground_truth_of_heads(recipe, split.test)
        images.score_by_baseline(train, test)
        for method in trial.methods:
            images.score(train, test, method)
            progress(method, number + 1, len(splits))
    common = {
        "left_out": list(left_out_with(trial.left_out)),
        "folds": trial.folds,
        "shortened": True,
        "shortened_how": HOW_SHORTENED % vars(trial.shortened),
        "baseline_sees": SEES,
        "learned_from": dict(learned),
        "near_duplicates_dropped": dropped,
    }
    return {
        "recipe": recipe.name,
        "results": [
            {**entry, **common}
            for method in trial.methods
            for entry in _entries(
                recipe, images.measured, images.scores[method], images.baseline, method
            )
        ],
    }


class _Images:
    """The images of a trial: outputs of the trunk, hashes, and scores by path."""

    def __init__(
        self,
        trial: Trial,
        recipe: Recipe,
        rows: Sequence[ManifestRow],
        splits: Sequence[Split],
        root: Path,
        cache_dir: Path,
        progress: Progress,
    ) -> None:
        self.trial, self.recipe, self.root = trial, recipe, root
        self.network = split_network(len(recipe.labels), trial.shortened)
        self.features = Features()
        self.hashes: dict[str, np.ndarray] = {}
        self.scores: dict[str, dict[str, np.ndarray]] = {m: {} for m in trial.methods}
        self.baseline: dict[str, np.ndarray] = {}
        self._seen_by_baseline: dict[str, np.ndarray] = {}
        used = {r.dataset for split in splits for r in (*split.train, *split.test)}
        for name in sorted(used):
            # All of a source, so that other trials find them in the cache.
            own = [row for row in rows if row.dataset == name]
            kept = trunk_features(
                self.network.trunk,
                own,
                root=root,
                cache_dir=cache_dir,
                settings=trial.shortened,
                augmentation=recipe.augmentation,
                progress=partial(progress, name),
            )
            paths = [row.path for row in own]
            self.features.add(paths, kept)
            hashes = image_hashes(pack_rows(own, root, cache_dir))
            self.hashes |= dict(zip(paths, hashes, strict=True))
        tested = [row for split in splits for row in split.test]
        self.measured = ground_truth_of_heads(recipe, tested)

    def distinct(self, split: Split) -> list[ManifestRow]:
        """Return the images to learn from that look like none that is measured."""
        train, test = (
            np.stack([self.hashes[row.path] for row in part])
            for part in (split.train, split.test)
        )
        alike = near_duplicates(train, test)
        return [row for row, out in zip(split.train, alike, strict=True) if not out]

    def score(self, train: GroundTruth, test: GroundTruth, method: str) -> None:
        """Train by a method, and keep the probabilities of what is measured."""
        branch = train_branch(
            self.network,
            self.recipe,
            train,
            self.features,
            method=method,
            settings=self.trial.shortened,
        )
        paths = [row.path for row in test.rows]
        logits, _ = branch.predict(self.features.plain(paths), verbose=0)
        own = _probabilities(self.recipe, logits)
        self.scores[method] |= dict(zip(paths, own, strict=True))

    def score_by_baseline(self, train: GroundTruth, test: GroundTruth) -> None:
        """Let the baseline learn from the same images; keep its scores."""
        rows = [*train.rows, *test.rows]
        seen, _ = features_of(rows, root=self.root, known=self._seen_by_baseline)
        count = len(train.rows)
        own = _baseline(self.recipe, train, seen[:count], seen[count:])
        paths = [row.path for row in test.rows]
        self.baseline |= dict(zip(paths, own, strict=True))


def _plan(trial: Trial, rows: Sequence[ManifestRow]) -> tuple[Recipe, list[Split]]:
    """Return the recipe with the heads that learn, and the splits."""
    recipe = trial.recipe
    if bool(trial.folds) == bool(trial.left_out):
        raise TrainingError("Give either folds or sources that are left out.")
    names = [head.name for head in recipe.heads]
    if unknown := set(trial.heads) - set(names):
        raise TrainingError(
            "%(recipe)s has no head %(head)s; its heads: %(heads)s.",
            params={
                "recipe": recipe.name,
                "head": ", ".join(sorted(unknown)),
                "heads": ", ".join(names),
            },
        )
    without = left_out_with(trial.left_out)
    heads = tuple(
        head
        for each in recipe.heads
        if each.name in (trial.heads or names)
        if (head := _learning(each, trial, recipe, without)).datasets
    )
    learned = {name for head in heads for name in head.datasets}
    if not learned:
        raise TrainingError("No source is left to learn from.")
    recipe = replace(
        recipe,
        shared_by=heads,
        labels=tuple(label for head in heads for label in head.labels),
        class_shares={},
        datasets=(),
    )
    if trial.left_out:
        split = leave_sources_out(
            rows, learned=sorted(learned), measured=trial.left_out
        )
        return recipe, [split]
    inside = [row for row in rows if row.dataset in learned]
    truth = ground_truth_of_heads(recipe, inside)
    return recipe, split_by_patient(truth.rows, folds=trial.folds)


def _learning(head: Head, trial: Trial, recipe: Recipe, without: Sequence[str]) -> Head:
    """Return a head with the sources that it learns from and those measured."""
    wanted = trial.datasets or head.datasets or recipe.datasets
    kept = tuple(name for name in wanted if name not in without)
    return replace(head, datasets=(*kept, *trial.left_out) if kept else ())


def _probabilities(recipe: Recipe, logits: np.ndarray) -> np.ndarray:
    scores = np.empty(logits.shape, np.float64)
    for head, columns in columns_of(recipe):
        own = logits[:, columns].astype(np.float64)
        if head.task == "softmax":
            raised = np.exp(own - own.max(axis=1, keepdims=True))
            scores[:, columns] = raised / raised.sum(axis=1, keepdims=True)
        else:
            scores[:, columns] = 1.0 / (1.0 + np.exp(-own))
    return scores


def _baseline(
    recipe: Recipe, train: GroundTruth, learned: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Return the scores of the baseline, which learns from the same images."""
    scores = np.full((len(seen), len(recipe.labels)), 0.5)
    for head, columns in columns_of(recipe):
        chosen, truth = of_head(train, columns)
        if not len(chosen):
            continue
        held = fifth_of([row.patient for row in truth.rows])
        if head.task == "softmax":
            classes = truth.positive.argmax(axis=1)
            model = best_fit(learned[chosen], classes, held)
            scores[:, columns] = 0.0
            scores[:, columns.start + model.classes_] = model.predict_proba(seen)
            continue
        for place in range(len(head.labels)):
            ok = truth.known[:, place]
            has_it = truth.positive[ok, place].astype(int)
            if min(has_it.sum(), (1 - has_it).sum()) >= LEAST_IMAGES // 2:
                model = best_fit(learned[chosen[ok]], has_it, held[ok])
                scores[:, columns.start + place] = model.predict_proba(seen)[:, 1]
    return scores


def _entries(
    recipe: Recipe,
    truth: GroundTruth,
    scores: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    method: str,
) -> Iterator[dict[str, Any]]:
    """Yield what was measured, within each source."""
    for head, columns in columns_of(recipe):
        of_all, _ = of_head(truth, columns)
        for source in sorted({truth.rows[i].dataset for i in of_all}):
            inside = [i for i in of_all if truth.rows[i].dataset == source]
            own = images_of(truth, np.array(inside))
            ours, theirs = (
                np.stack([table[row.path] for row in own.rows])[:, columns]
                for table in (scores, baseline)
            )
            known, positive = own.known[:, columns], own.positive[:, columns]
            for label, metric, chosen, measures in _measures(
                head, known, positive, (ours, theirs)
            ):
                patients = [own.rows[i].patient for i in np.flatnonzero(chosen)]
                counts = patient_counts(patients)
                model, other = (with_interval(each, counts) for each in measures)
                lead = paired_difference(*measures, counts)
                yield {
                    "task": f"{head.name}: {label}" if label else head.name,
                    "method": method,
                    "source": source,
                    "metric": metric,
                    "value": model["value"],
                    "interval": _ends(model),
                    "baseline": other["value"],
                    "baseline_interval": _ends(other),
                    "lead": lead["value"],
                    "lead_interval": [lead["low"], lead["high"]],
                    "images": len(patients),
                    "patients": len(set(patients)),
                }


def _measures(
    head: Head,
    known: np.ndarray,
    positive: np.ndarray,
    scored: tuple[np.ndarray, np.ndarray],
) -> Iterator[tuple[str, str, np.ndarray, tuple[Measure, Measure]]]:
    """Yield label, metric, bool (images,) and how model and baseline are measured.

    Labels with fewer than LEAST_IMAGES images of either kind are left out.
    """
    enough = [
        place
        for place in range(len(head.labels))
        if min(
            (positive[:, place] & known[:, place]).sum(),
            (~positive[:, place] & known[:, place]).sum(),
        )
        >= LEAST_IMAGES
    ]
    every = np.ones(len(known), bool)
    ours, theirs = scored
    if len(enough) > 1 and head.task == "softmax":
        of_classes = partial(_balanced_accuracy, positive.argmax(axis=1))
        yield "", "balanced_accuracy", every, (of_classes(ours), of_classes(theirs))
    if len(enough) > 1 and head.task == "sigmoid":
        of_labels = partial(_mean_auc, positive, known, enough)
        yield "", "mean_auc", every, (of_labels(ours), of_labels(theirs))
    for place in enough:
        ok = known[:, place]
        of_label = partial(_auc, positive[ok, place])
        yield (
            head.label_names[place],
            "auc",
            ok,
            (of_label(ours[ok, place]), of_label(theirs[ok, place])),
        )


def _balanced_accuracy(classes: np.ndarray, scores: np.ndarray) -> Measure:
    chosen = scores.argmax(axis=1)
    return lambda weights: metrics.balanced_accuracy(classes, chosen, weights)


def _auc(positive: np.ndarray, scores: np.ndarray) -> Measure:
    return lambda weights: metrics.auc(scores, positive, weights)


def _mean_auc(
    positive: np.ndarray, known: np.ndarray, places: Sequence[int], scores: np.ndarray
) -> Measure:
    def measure(weights: np.ndarray) -> np.ndarray:
        each = [
            metrics.auc(scores[ok, i], positive[ok, i], weights[:, ok])
            for i in places
            for ok in (known[:, i],)
        ]
        return metrics.mean_defined(each, rounds=len(weights))

    return measure


def _ends(interval: Interval) -> list[float | None]:
    return [interval["low"], interval["high"]]
