"""The border-and-histogram baseline: a classifier that does not see the lungs.

It sees the outer pixels of the image, its histogram of greys, and facts of its file:
width, height, aspect ratio, size. Logistic regression on the images of the train split
of the same sources, measured on the same images as the model, by the same resamples.
Where the model's lead has an interval that touches 0, what it says may rest on how
and where images were made: source not separable from disease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ml.cards.measurements import NOT_SEPARABLE
from ml.datasets.ground_truth import ground_truth_of
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError, ModelError
from ml.evaluation.bootstrap import with_interval
from ml.evaluation.comparison import Difference, paired_difference
from ml.evaluation.scoring import pair_images, pair_measure
from ml.evaluation.summary import ScoredImages, headline, label_measure, measure_of
from ml.evaluation.wording import in_english
from ml.metrics import auc, mean_auc
from ml.pixels import read_display
from ml.training.operating_points import youden_threshold

SIDE = 32
# The outer 8 % of a side, as in the data's own measurements.
BORDER = 3
HISTOGRAM_BINS = 32
# Tried on a fifth of the train patients; the best one learns from all.
PENALTIES = (1e-3, 1e-2, 1e-1)
LEAST_IMAGES = 10
STEPS = 2000
TOLERANCE = 1e-6
METRICS = ("accuracy", "balanced_accuracy", "mean_auc")
SEES = in_english(
    "the outer 8 % of the image at 32 x 32, a histogram of 32 greys, width, height, "
    "aspect ratio and file size"
)
Progress = Callable[[int, int], None]


def measure_baseline(
    scored: ScoredImages,
    train: Sequence[ManifestRow],
    *,
    root: Path,
    progress: Progress = lambda done, total: None,
    known: dict[str, np.ndarray] | None = None,
) -> tuple[dict[str, Any], ScoredImages]:
    """Train the baseline and compare its metrics with the model's.

    Args:
        scored: The images as the model read them.
        train: Images to learn from; those of other sources than the measured are left
            out, so that the baseline is as good as it gets at these.
        root: The folder that the paths start from.
        progress: Called with how many images are done, of how many.
        known: Features of images by path; filled, for the next call.

    Returns:
        Its metrics with the differences, and its own scores of the same images.

    Raises:
        ModelError: There is nothing to learn from.
    """
    sources = {row.dataset for row in scored.rows}
    ground_truth = ground_truth_of(
        scored.card, [row for row in train if row.dataset in sources]
    )
    if not ground_truth.rows:
        raise ModelError("The baseline has no train images of these sources.")
    shared = {row.patient for row in ground_truth.rows} & set(scored.patients)
    if shared:
        raise ModelError(
            "%(count)d patients are in both the train and the measured images.",
            params={"count": len(shared)},
        )
    known = {} if known is None else known
    both = [*ground_truth.rows, *scored.rows]
    features, read = features_of(both, root=root, known=known, progress=progress)
    learned, seen = (
        features[: len(ground_truth.rows)],
        features[len(ground_truth.rows) :],
    )
    kept, read = read[: len(ground_truth.rows)], read[len(ground_truth.rows) :]
    if not read.all():
        raise ModelError("An image that the model read cannot be read again.")
    other = _scored_by_baseline(
        scored,
        learned[kept],
        ground_truth.positive[kept],
        ground_truth.known[kept],
        [row.patient for row, ok in zip(ground_truth.rows, kept, strict=True) if ok],
        seen,
    )
    return _report(scored, other, images=int(kept.sum())), other


def features_of(
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    known: dict[str, np.ndarray],
    progress: Progress = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return float (images, features), and where an image could be read.

    Args:
        rows: The images.
        root: The folder that their paths start from.
        known: Features by path; what is missing is read and put there.
        progress: Called with how many images are done, of how many.
    """
    read = np.ones(len(rows), bool)
    for number, row in enumerate(rows):
        try:
            if row.path not in known:
                data = (root / row.path).read_bytes()
                known[row.path] = image_features(
                    read_display(data), file_bytes=len(data)
                )
        except (OSError, MlError):
            read[number] = False
        progress(number + 1, len(rows))
    width = len(next(iter(known.values()), ()))
    features = np.zeros((len(rows), width))
    for number in np.flatnonzero(read).tolist():
        features[number] = known[rows[number].path]
    return features, read


def image_features(display: np.ndarray, *, file_bytes: int) -> np.ndarray:
    """Return what the baseline sees of an image, float64.

    Args:
        display: uint16 (height, width).
        file_bytes: Length of its file.
    """
    small = cv2.resize(display, (SIDE, SIDE), interpolation=cv2.INTER_AREA) / 65535.0
    border = np.ones((SIDE, SIDE), bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    counts, _ = np.histogram(display, bins=HISTOGRAM_BINS, range=(0, 65535))
    height, width = display.shape
    facts = np.log([width, height, width / height, file_bytes, file_bytes / width])
    return np.concatenate([small[border], np.sqrt(counts / counts.sum()), facts])


def fit_logistic(
    features: np.ndarray, classes: np.ndarray, *, penalty: float
) -> Pipeline:
    """Fit a logistic regression with a ridge, every class weighing the same.

    Args:
        features: float (images, features).
        classes: int (images,), the class of each.
        penalty: Of the squared coefficients, against the mean loss of an image.
    """
    # Of two classes, scikit-learn fits the difference of their coefficients: its square
    # is twice the sum of the squares of both.
    halves = 2.0 if len(np.unique(classes)) == 2 else 1.0
    regression = LogisticRegression(
        C=halves / (penalty * len(classes)),
        class_weight="balanced",
        max_iter=STEPS,
        tol=TOLERANCE,
    )
    return make_pipeline(StandardScaler(), regression).fit(features, classes)


def _scored_by_baseline(
    scored: ScoredImages,
    learned: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    patients: Sequence[str],
    seen: np.ndarray,
) -> ScoredImages:
    held = fifth_of(patients)
    scores = np.zeros(scored.scores.shape)
    if scored.card.task == "softmax":
        # Classes without train images keep 0.
        model = best_fit(learned, positive.argmax(axis=1), held)
        scores[:, model.classes_] = model.predict_proba(seen)
        return replace(scored, scores=scores)
    limits: dict[str, float] = {}
    for i, name in enumerate(scored.card.label_names):
        rows = known[:, i]
        has_it = positive[rows, i]
        if min(int(has_it.sum()), int((~has_it).sum())) < LEAST_IMAGES:
            scores[:, i], limits[name] = 0.5, 0.5
            continue
        model = best_fit(learned[rows], has_it.astype(int), held[rows])
        limits[name] = youden_threshold(
            model.predict_proba(learned[rows])[:, 1], has_it
        )
        scores[:, i] = model.predict_proba(seen)[:, 1]
    return replace(scored, scores=scores, thresholds=limits)


def best_fit(features: np.ndarray, classes: np.ndarray, held: np.ndarray) -> Pipeline:
    """Fit with the ridge that does best on the patients held out."""
    if held.all() or len(np.unique(classes[~held])) < 2:
        return fit_logistic(features, classes, penalty=PENALTIES[1])

    def held_out_auc(penalty: float) -> float:
        model = fit_logistic(features[~held], classes[~held], penalty=penalty)
        odds = model.decision_function(features[held])
        if odds.ndim == 1:
            return auc(odds, classes[held] == model.classes_[1])
        positive = classes[held, None] == model.classes_
        return mean_auc(odds, positive, np.ones_like(positive))

    best = max(PENALTIES, key=lambda penalty: np.nan_to_num(held_out_auc(penalty)))
    return fit_logistic(features, classes, penalty=best)


def fifth_of(patients: Sequence[str]) -> np.ndarray:
    """Return bool (images,): the images of about a fifth of the patients."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    drawn = np.random.default_rng(0).random(len(names)) < 0.2
    return drawn[owner]


def _report(
    scored: ScoredImages, other: ScoredImages, *, images: int
) -> dict[str, Any]:
    claimed = scored.claimed()
    metrics: dict[str, Any] = {
        name: _beside(
            headline(scored, name),
            headline(other, name),
            paired_difference(
                measure_of(scored, name), measure_of(other, name), scored.counts
            ),
        )
        for name in METRICS
    }
    labels = {
        name: {
            "auc": _beside(
                _label_auc(scored, i),
                _label_auc(other, i),
                paired_difference(
                    label_measure(scored, i, "auc"),
                    label_measure(other, i, "auc"),
                    scored.counts,
                ),
            )
        }
        for i, name in enumerate(scored.card.label_names)
        if claimed[i]
    }
    return {
        "sees": SEES,
        "learned_from": images,
        "figures": metrics,
        "labels": labels,
        "not_separable": [
            *(name for name, compared in metrics.items() if compared["verdict"]),
            *(name for name, compared in labels.items() if compared["auc"]["verdict"]),
        ],
    }


def pair_beside(
    scored: ScoredImages, other: ScoredImages, first: str, second: str
) -> dict[str, Any]:
    """Return how well model and baseline separate two labels, with the lead."""
    inside = [pair_images(each, first, second) for each in (scored, other)]
    report: dict[str, Any] = {"pair": [first, second]}
    for name in ("auc", "balanced_accuracy"):
        ours, theirs = (pair_measure(each, first, second, name) for each in inside)
        counts = inside[0].counts
        report[name] = _beside(
            with_interval(ours, counts),
            with_interval(theirs, counts),
            paired_difference(ours, theirs, counts),
        )
    return report


def _label_auc(scored: ScoredImages, label: int) -> dict[str, float | None]:
    value = auc(
        scored.scores[scored.known[:, label], label],
        scored.positive[scored.known[:, label], label],
    )
    return {"value": round(value, 4)}


def _beside(
    model: dict[str, Any], baseline: dict[str, Any], lead: Difference
) -> dict[str, Any]:
    low = lead["low"]
    return {
        "model": model,
        "baseline": baseline,
        "lead": lead,
        "verdict": NOT_SEPARABLE if low is None or low <= 0.0 else "",
    }
