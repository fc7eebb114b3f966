"""Measure how far a model may rely on what is not in the lungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ml import metrics
from ml.cards.card import Card
from ml.cards.measurements import NOT_SEPARABLE
from ml.datasets.ground_truth import GroundTruth, ground_truth_of, images_of
from ml.datasets.manifest import ManifestRow
from ml.ensemble import ReadsImages
from ml.errors import MlError, ModelError
from ml.evaluation.baseline import measure_baseline
from ml.evaluation.bootstrap import patient_counts, with_interval
from ml.evaluation.comparison import paired_difference
from ml.evaluation.scoring import KnownScores, probabilities_of
from ml.evaluation.shortcuts.changes import CHANGES, keep_lungs
from ml.evaluation.shortcuts.sources import measure_sources
from ml.evaluation.summary import ScoredImages, measure_of
from ml.images.lungs import Lungs, find_lungs
from ml.inference import LoadedModel
from ml.model_output import ModelOutput
from ml.pixels import read_display
from ml.preprocessing import crop

LUNGS_ONLY = "lungs-only"
CHANGES_OF_OTHERS = (
    "none",
    "crop-equalise",
    "crop-tenth",
    "corners-masked",
    "rotated-5",
    "jpeg-50",
    "noise",
)
CHANGES_OF_CHESTS = (*CHANGES_OF_OTHERS, LUNGS_ONLY)
LEAST_IMAGES = 10
METRICS = ("balanced_accuracy", "mean_auc")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReadImages:
    """Images with a ground truth, as a model read them.

    `scores` is float (changes, images, labels) in the order of `changes`; `outside` is
    float (images, labels), the share of each heat map outside the lungs, NaN where
    there is no heat or no lungs were found; `area` is float (images,), the share of
    the box outside the lungs.
    """

    ground_truth: GroundTruth
    changes: tuple[str, ...]
    scores: np.ndarray
    outside: np.ndarray
    area: np.ndarray
    failed: tuple[str, ...]

    def scored(self, card: Card, change: str = "none") -> ScoredImages:
        """Return the images as the model read them under a change."""
        return ScoredImages(
            card=card,
            rows=self.ground_truth.rows,
            scores=self.scores[self.changes.index(change)],
            positive=self.ground_truth.positive,
            known=self.ground_truth.known,
            left_out={"n": len(self.ground_truth.rows)},
            thresholds=card.thresholds,
        )


def measure_shortcuts(
    model: ReadsImages,
    rows_train: Sequence[ManifestRow],
    rows_val: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
    *,
    progress: Progress = lambda done, total: None,
    known: KnownScores | None = None,
    features: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Measure what a model could use besides the lungs, and what it does use.

    Args:
        model: A model with a network of its own; not an ensemble.
        rows_train: Images that linear classifiers of the source are fitted to.
        rows_val: Images that everything is measured on; patients of neither in both.
        root: The folder that the paths of the rows start from.
        cache_dir: Where features are kept.
        progress: Called with how many images of val are done, of how many.
        known: Scores of the model; what is read is put there.
        features: Features of the baseline by path; what is missing is put there.

    Returns:
        A report; metrics are {value, low, high} by patient.

    Raises:
        ModelError: An ensemble, no image of val is known to the model, or a patient is
            in both.
    """
    if not isinstance(model, LoadedModel):
        raise ModelError(
            "An ensemble has no features of its own: measure each of its members."
        )
    card = model.card
    read = read_changed(model, rows_val, root, progress=progress, known=known)
    baselines = baseline_metrics(card, read, rows_train, root, features=features)
    measured = {
        "images": len(read.ground_truth.rows),
        "patients": len({row.patient for row in read.ground_truth.rows}),
        "failed": list(read.failed),
        "changes": change_metrics(card, read),
        "baseline": baselines,
        "statement": statement(baselines),
    }
    if card.heat_maps:
        # A network that shows no maps shows no features either.
        measured["sources"] = measure_sources(
            model, rows_train, rows_val, root, cache_dir
        )
    if card.heat_maps and reads_chests(card):
        measured["heat_outside_lungs"] = heat_metrics(card, read)
    return measured


def reads_chests(card: Card) -> bool:
    """Say whether a model's images have lungs."""
    return "CHEST" in card.body_parts


def read_changed(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    *,
    progress: Progress = lambda done, total: None,
    known: KnownScores | None = None,
) -> ReadImages:
    """Read every image with a ground truth, as it is and under each change.

    Scores are put into `known`.

    Raises:
        ModelError: There is none.
    """
    chests = reads_chests(model.card)
    changes = CHANGES_OF_CHESTS if chests else CHANGES_OF_OTHERS
    ground_truth = ground_truth_of(model.card, rows)
    known = {} if known is None else known
    read, failed, outside, area = [], [], [], []
    for number, row in enumerate(ground_truth.rows):
        try:
            display = read_display((root / row.path).read_bytes())
            lungs = find_lungs(display) if chests else None
            results = _results(model, display, lungs, changes)
        except (MlError, OSError):
            failed.append(row.path)
            continue
        finally:
            progress(number + 1, len(ground_truth.rows))
        read.append(number)
        for change, result in zip(changes, results, strict=True):
            known[row.path, CHANGES[change]] = probabilities_of(result)
        shares, around = _outside(lungs, results[0])
        outside.append(shares)
        area.append(around)
    if not read:
        raise ModelError("None of the images has a label that the model knows.")
    read_truth = images_of(ground_truth, np.array(read))
    scores = [
        [known[row.path, CHANGES[change]] for row in read_truth.rows]
        for change in changes
    ]
    return ReadImages(
        ground_truth=read_truth,
        changes=changes,
        scores=np.array(scores),
        outside=np.array(outside),
        area=np.array(area),
        failed=tuple(failed),
    )


def _results(
    model: LoadedModel,
    display: np.ndarray,
    lungs: Lungs | None,
    changes: Sequence[str],
) -> list[ModelOutput]:
    """Read an image under each change; lungs are looked for once."""
    return [
        model.read(
            keep_lungs(display, lungs=lungs)
            if name == LUNGS_ONLY
            else CHANGES[name](display),
            apply_gate=False,
        )
        for name in changes
    ]


def _outside(
    lungs: Lungs | None, model_output: ModelOutput
) -> tuple[np.ndarray, float]:
    """Return the share of each label's heat outside the lungs, and of the box."""
    shares = np.full(len(model_output.scores), np.nan)
    if lungs is None or not lungs.estimated:
        return shares, np.nan
    box = crop(lungs.mask, model_output.geometry).astype(np.float32)
    for i, score in enumerate(model_output.scores):
        shares[i] = share_outside(score.grid, box)
    return shares, float(1.0 - box.mean())


def share_outside(grid: np.ndarray, inside: np.ndarray) -> float:
    """Return the share of a heat map that lies outside; NaN where there is no heat.

    Args:
        grid: float (rows, columns), not negative.
        inside: float32 (height, width) of the same box, 1 inside, 0 outside. A cell
            that lies partly inside counts by its part.
    """
    heat = np.asarray(grid, np.float64)
    total = heat.sum()
    if total <= 0:
        return float("nan")
    cells = cv2.resize(inside, grid.shape[::-1], interpolation=cv2.INTER_AREA)
    return float((heat * (1.0 - cells)).sum() / total)


def parts_of(scored: ScoredImages) -> dict[str, np.ndarray]:
    """Return all images, and those of each source that has two classes or more."""
    parts = {"all": np.ones(len(scored.rows), bool)}
    for dataset in sorted({row.dataset for row in scored.rows}):
        images = np.array([row.dataset == dataset for row in scored.rows])
        if not images.all() and _several_classes(scored.chosen(images)):
            parts[dataset] = images
    return parts


def _several_classes(scored: ScoredImages) -> bool:
    positive = scored.positive & scored.known
    negative = ~scored.positive & scored.known
    return bool((positive.any(axis=0) & negative.any(axis=0)).any())


def change_metrics(card: Card, read: ReadImages) -> dict[str, Any]:
    """Return the metrics under each change: of all images, and within each source.

    `..._change` is the difference from the image as it is, over the same resamples of
    the same images.
    """
    by_part: dict[str, Any] = {}
    for part, images in parts_of(read.scored(card)).items():
        by_part[part] = {"images": int(images.sum())}
        plain = read.scored(card).chosen(images)
        for change in read.changes:
            changed = read.scored(card, change).chosen(images)
            by_part[part][change] = {}
            for name in METRICS:
                measure = measure_of(changed, name)
                by_part[part][change][name] = with_interval(measure, plain.counts)
                if change != "none":
                    by_part[part][change][f"{name}_change"] = paired_difference(
                        measure, measure_of(plain, name), plain.counts
                    )
    return by_part


def baseline_metrics(
    card: Card,
    read: ReadImages,
    rows_train: Sequence[ManifestRow],
    root: Path,
    *,
    features: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return the metrics of the border-and-histogram baseline, overall and by source.

    Where the model's lead over it has an interval that touches 0, "not_separable"
    names the metric: source not separable from disease. Parts without images to learn
    from are left out.
    """
    scored = read.scored(card)
    by_part: dict[str, Any] = {}
    for part, images in parts_of(scored).items():
        measured = scored.chosen(images)
        sources = {row.dataset for row in measured.rows}
        if ground_truth_of(card, [r for r in rows_train if r.dataset in sources]).rows:
            by_part[part], _ = measure_baseline(
                measured, rows_train, root=root, known=features
            )
    return by_part


def statement(baselines: Mapping[str, Any]) -> str:
    """Return the sentence of the card, or nothing where every lead is above 0."""
    parts = [
        f"{part}: {', '.join(compared['not_separable'])}"
        for part, compared in baselines.items()
        if compared["not_separable"]
    ]
    return f"{NOT_SEPARABLE.capitalize()} ({'; '.join(parts)})." if parts else ""


def heat_metrics(card: Card, read: ReadImages) -> dict[str, Any]:
    """Return the mean share of each label's heat outside the lungs, on its images.

    Beside it the share of the box outside the lungs: what heat spread evenly over the
    box would reach. Labels with fewer than LEAST_IMAGES images are left out.
    """
    labels: dict[str, Any] = {}
    for i, name in enumerate(card.label_names):
        wanted = read.ground_truth.positive[:, i] & np.isfinite(read.outside[:, i])
        if wanted.sum() < LEAST_IMAGES:
            continue
        patients = [
            row.patient
            for row, ok in zip(read.ground_truth.rows, wanted, strict=True)
            if ok
        ]
        counts = patient_counts(patients)
        labels[name] = {
            "images": int(wanted.sum()),
            "patients": len(set(patients)),
            "outside": with_interval(
                partial(metrics.mean, read.outside[wanted, i]), counts
            ),
            "outside_if_even": with_interval(
                partial(metrics.mean, read.area[wanted]), counts
            ),
        }
    return {
        "labels": labels,
        "images_without_lungs_found": int(np.isnan(read.area).sum()),
    }
