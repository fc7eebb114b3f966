"""Measure whether a model's features reveal the source of an image.

If images of one class can be sorted by source from what the network hands to its
head, the network knows the source, and may have used it wherever a class has one
source only. The classifier is linear (ridge regression), as the head is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeClassifier

from ml import metrics
from ml.datasets.ground_truth import findings_of
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.evaluation.bootstrap import patient_counts, with_interval
from ml.inference import LoadedModel
from ml.labels import NEGATIVE_LABELS, PARENTS
from ml.pixels import read_display
from ml.preprocessing import PREPROCESSING_VERSION

# Of a source within a class: fewer patients say little, more images cost time only.
LEAST_TRAIN_PATIENTS = 20
LEAST_VAL_PATIENTS = 10
MOST_IMAGES = 300
FOLDS = 5
# Of the ridge, as a share of the mean squared length of an image's features.
RIDGE = 0.1
NORMAL = "Normal"


def measure_sources(
    model: LoadedModel,
    rows_train: Sequence[ManifestRow],
    rows_val: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    """Classify images by source within each class that has two sources or more.

    Returns:
        "pairs": for each class and pair of sources the AUC on val of a classifier
        fitted to train, and the AUC of five folds by patient of train alone. "too_few"
        names classes with a second source that has too few patients.
    """
    pairs, too_few = [], []
    for name in _classes(model.card.label_names):
        train, val = (_of_class(rows, name) for rows in (rows_train, rows_val))
        datasets = sorted({r.dataset for r in train} & {r.dataset for r in val})
        for first, second in combinations(datasets, 2):
            both = [_of_source(rows, first, second) for rows in (train, val)]
            if not _enough(both[0], LEAST_TRAIN_PATIENTS, first, second) or (
                not _enough(both[1], LEAST_VAL_PATIENTS, first, second)
            ):
                too_few.append({"label": name, "sources": [first, second]})
                continue
            measured = _separated(model, both, first, root, cache_dir)
            pairs.append({"label": name, "sources": [first, second], **measured})
    return {"pairs": pairs, "too_few": too_few}


def _classes(names: Sequence[str]) -> list[str]:
    """Return the model's labels and their more general ones, normal images first."""
    general = [PARENTS[name] for name in names if name in PARENTS]
    labels = [NORMAL, *general, *names]
    return list(dict.fromkeys(n for n in labels if n not in NEGATIVE_LABELS - {NORMAL}))


def _of_class(rows: Sequence[ManifestRow], name: str) -> list[ManifestRow]:
    if name == NORMAL:
        return [
            r
            for r in rows
            if not findings_of(r.labels) and NEGATIVE_LABELS & set(r.labels)
        ]
    return [r for r in rows if name in findings_of(r.labels)]


def _of_source(
    rows: Sequence[ManifestRow], first: str, second: str
) -> list[ManifestRow]:
    """Return at most MOST_IMAGES of each source, whatever their order."""
    chosen = []
    for source in (first, second):
        own = [r for r in rows if r.dataset == source]
        own.sort(key=lambda r: hashlib.sha256(r.path.encode()).digest())
        chosen += own[:MOST_IMAGES]
    return chosen


def _enough(rows: Sequence[ManifestRow], least: int, *sources: str) -> bool:
    return all(
        len({r.patient for r in rows if r.dataset == source}) >= least
        for source in sources
    )


def _separated(
    model: LoadedModel,
    parts: Sequence[list[ManifestRow]],
    first: str,
    root: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    (train, x), (val, y) = (features_of(model, r, root, cache_dir) for r in parts)
    ground_truth_train, ground_truth_val = (
        np.array([r.dataset == first for r in rows]) for rows in (train, val)
    )
    scores = _ridge_scores(x, ground_truth_train, y)
    folds = np.array([_fold(r.patient) for r in train])
    held = np.full(len(train), np.nan)
    for fold in range(FOLDS):
        out = folds == fold
        if out.any() and len(np.unique(ground_truth_train[~out])) == 2:
            held[out] = _ridge_scores(x[~out], ground_truth_train[~out], x[out])
    seen = np.isfinite(held)
    return {
        "auc": _auc(scores, ground_truth_val, val),
        "auc_cross_validated_on_train": _auc(
            held[seen],
            ground_truth_train[seen],
            [r for r, s in zip(train, seen, strict=True) if s],
        ),
        "images": {"train": len(train), "val": len(val)},
        "patients": {
            "train": len({r.patient for r in train}),
            "val": len({r.patient for r in val}),
        },
    }


def _auc(
    scores: np.ndarray, ground_truth: np.ndarray, rows: Sequence[ManifestRow]
) -> dict[str, float | None]:
    counts = patient_counts([r.patient for r in rows])
    return with_interval(
        lambda weights: metrics.auc(scores, ground_truth, weights), counts
    )


def _fold(patient: str) -> int:
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:4], "big") % FOLDS


def _ridge_scores(
    features: np.ndarray, positive: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Fit ridge regression to +1 and -1, both kinds weighing the same; score others.

    Args:
        features: float (images, features).
        positive: bool (images,), with both kinds.
        others: float (others, features).
    """
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    scale = spread * np.sqrt(features.shape[1])
    ridge = RidgeClassifier(alpha=RIDGE, class_weight="balanced", fit_intercept=False)
    ridge.fit((features - middle) / scale, positive)
    return ridge.decision_function((others - middle) / scale)


def features_of(
    model: LoadedModel, rows: Sequence[ManifestRow], root: Path, cache_dir: Path
) -> tuple[list[ManifestRow], np.ndarray]:
    """Return the readable images and their penultimate features, kept in a cache.

    The features are the means over the positions of the network's last maps, float32
    (images, features).
    """
    digest = hashlib.sha256(f"{model.weights_sha256} {PREPROCESSING_VERSION}".encode())
    for row in rows:
        digest.update(f"{_facts(root / row.path)}\0".encode())
    kept = cache_dir / "features" / f"{digest.hexdigest()[:32]}.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}.tmp.npz")
        read, features = _features(model, rows, root)
        np.savez(temporary, read=read, features=features)
        temporary.replace(kept)
    with np.load(kept) as arrays:
        return [rows[i] for i in arrays["read"]], arrays["features"]


def _facts(path: Path) -> tuple[str, int, int]:
    """Return what identifies a version of a file: path, size and time of change."""
    if not path.exists():
        return str(path), -1, -1
    stat = path.stat()
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns


def _features(
    model: LoadedModel, rows: Sequence[ManifestRow], root: Path
) -> tuple[np.ndarray, np.ndarray]:
    read, features = [], []
    for number, row in enumerate(rows):
        try:
            display = read_display((root / row.path).read_bytes())
        except (MlError, OSError):
            # What cannot be read is left out here; the metrics of accuracy list it.
            continue
        image, _ = model.prepared(display)
        _, maps = model.runner.run(image)
        read.append(number)
        features.append(maps.reshape(-1, maps.shape[-1]).mean(axis=0))
    return np.array(read, int), np.array(features, np.float32)
