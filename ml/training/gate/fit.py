"""Fit the gate of a packaged model on train images only.

Statistics and probe come from images that the network may have learned from, limits
and threshold from train patients that were held out. Neither val images nor anything
that a gate is tried with are seen here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards.card import (
    CARD_NAME,
    Card,
    cards_sharing,
    parse_card,
    read_card,
    write_card,
)
from ml.datasets.manifest import ManifestRow, drawn_percent
from ml.errors import MlError
from ml.gate.out_of_distribution import (
    CLASSES,
    MEASURES,
    METHOD,
    FeatureGate,
    Seen,
    embed,
    raw_measures,
)
from ml.inference import LoadedModel, load_model
from ml.training.gate.probe import Lesson, learn_probe
from ml.training.gate.samples import Samples, choose, look_at
from ml.training.heads import recipe_of_model

GATE_NAME = "gate.npz"
SEED = 20261
IMAGES_A_SOURCE = 400
HELD_OUT_A_SOURCE = 200
# Of models without a recipe.
HELD_OUT_PERCENT = 8
WRONG_A_IMAGE = 1
PROBE_STEPS = 5000
DIMENSIONS = {"feature": 128, "thumbnail": 64}
# Towards a ball: the statistics of a few thousand images are not exact.
SHRINKAGE = 0.1
# The share of held-out images that may lie beyond the limit of a distance.
BEYOND_LIMIT = 0.003
# A limit of the probe lies in the gap between all but these shares of the images as
# they should be, and of those that are wrong in this way; nearer to the wrong ones, as
# images from elsewhere lie nearer to them.
ODD_RIGHT, ODD_WRONG = 0.005, 0.02
SHARE_OF_GAP = 0.75
# Beyond what held-out patients of the same hospitals show: others differ more.
SLACK = 1.15
# The share of held-out images that the finished gate may refuse: half of the 1 % that
# it may refuse of others', for a share of a few hundred images is known to about that.
REFUSED = 0.005


def fit_gate(
    model_folder: Path,
    train_rows: Sequence[ManifestRow],
    held_out_rows: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    """Fit a model's gate; write gate.npz beside its weights, and the card's entry.

    The heads of a backbone share its gate: the entry is written into all their cards.

    Args:
        model_folder: With card.json.
        train_rows: Images that the network may have learned from.
        held_out_rows: Images of train patients that it has not.
        root: The folder that the paths of the rows start from.
        cache_dir: Kept graphs.

    Returns:
        The card's new entry "gate".

    Raises:
        MlError: There are no images, the model cannot be loaded, has no maps or is an
            ensemble.
    """
    written = read_card(model_folder / CARD_NAME)
    folder = written.weights_file.parent
    without_gate = {k: value for k, value in written.raw.items() if k != "gate"}
    card = parse_card(without_gate, folder=folder)
    if not card.heat_maps:
        raise MlError(
            "%(model)s %(version)s gives scores only. A gate is fitted to the last "
            "maps of a network.",
            params={"model": card.name, "version": card.version},
            reason_code="no_maps",
        )
    model = load_model(card, cache_dir=cache_dir)
    if not isinstance(model, LoadedModel):
        raise MlError("An ensemble has the gates of its members: fit each of them.")
    chosen = choose(train_rows, each=IMAGES_A_SOURCE, seed=SEED)
    learned = look_at(model, chosen, root=root, wrong_each=WRONG_A_IMAGE, seed=SEED)
    aside = choose(held_out_rows, each=HELD_OUT_A_SOURCE, seed=SEED)
    held_out = look_at(model, aside, root=root, wrong_each=WRONG_A_IMAGE, seed=SEED + 1)
    arrays = fit_statistics(learned)
    arrays |= _limits(arrays, held_out)
    threshold = _threshold(arrays, held_out)
    sha256 = _write(folder / GATE_NAME, arrays)
    entry = {
        # Beside the weights, be they the model's own or a backbone's.
        "file": str(Path(card.raw["weights"]["file"]).with_name(GATE_NAME)),
        "sha256": sha256,
        "method": METHOD,
        "threshold": threshold,
        "fitted_on": f"statistics: {len(chosen)} train images of "
        f"{len(set(learned.sources))} sources; limits and threshold: {len(aside)} "
        f"images of {len({row.patient for row in aside})} train patients held out",
        "figures": _held_out_metrics(arrays, held_out, threshold),
    }
    keep_gate(written, entry)
    return entry


def keep_gate(card: Card, entry: Mapping[str, Any]) -> None:
    """Write a gate's entry into a card, and into those that share its backbone."""
    for each in cards_sharing(card):
        write_card(each.card_file, {**each.raw, "gate": dict(entry)})


def held_out_rows(
    rows: Sequence[ManifestRow], *, name: str
) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Return the rows that a model was trained on, and the held-out ones."""
    recipe = recipe_of_model(name)
    percent = recipe.held_out_percent if recipe else HELD_OUT_PERCENT
    held_out = [drawn_percent(row.patient) < percent for row in rows]
    return (
        [row for row, aside in zip(rows, held_out, strict=True) if not aside],
        [row for row, aside in zip(rows, held_out, strict=True) if aside],
    )


def fit_statistics(samples: Samples) -> dict[str, np.ndarray]:
    """Return centre, space and probe of a gate, without its limits."""
    weights = samples.weights()
    arrays: dict[str, np.ndarray] = {}
    for name, values in (
        ("feature", samples.seen.features),
        ("thumbnail", samples.seen.thumbnails),
    ):
        arrays |= _space(name, values, weights)
    places, _ = embed(arrays, samples.seen)
    right = samples.upright
    arrays |= _ball(places[right], weights[right])
    lesson = Lesson(places, samples.classes, _lesson_weights(samples))
    probe = learn_probe(lesson, classes=len(CLASSES), seed=SEED, steps=PROBE_STEPS)
    return arrays | {name: value.astype(np.float32) for name, value in probe.items()}


def _space(name: str, values: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the principal components of images, without the smallest."""
    mean = np.average(values, axis=0, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    # A feature that train images never light up must not count without bounds.
    scale = np.maximum(spread, 0.1 * spread.mean() + 1e-6)
    mean, scale = mean.astype(np.float32), scale.astype(np.float32)
    centred = (values - mean) / scale
    covariance = (centred * weights[:, None]).T @ centred / weights.sum()
    sizes, directions = np.linalg.eigh(covariance)
    kept = np.argsort(-sizes)[: DIMENSIONS[name]]
    kept = kept[sizes[kept] > 1e-6 * sizes.max()]
    return {
        f"{name}_mean": mean,
        f"{name}_scale": scale,
        f"{name}_basis": directions[:, kept].astype(np.float16),
        f"{name}_spread": np.sqrt(sizes[kept]).astype(np.float32),
    }


def _ball(places: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return centre and whitening for the Mahalanobis distance from correct images."""
    centre = np.average(places, axis=0, weights=weights)
    away = places - centre
    covariance = (away * weights[:, None]).T @ away / weights.sum()
    mean_size = np.trace(covariance) / len(covariance)
    shrunk = (1.0 - SHRINKAGE) * covariance
    shrunk += SHRINKAGE * mean_size * np.eye(len(covariance))
    sizes, directions = np.linalg.eigh(shrunk)
    return {
        "centre": centre.astype(np.float32),
        "whitening": (directions / np.sqrt(sizes)).astype(np.float32),
    }


def _lesson_weights(samples: Samples) -> np.ndarray:
    """Weigh correct images as much as all wrong ones together."""
    weights = samples.weights()
    for kind in range(len(CLASSES)):
        mine = samples.classes == kind
        if mine.any():
            part = 1.0 if kind == 0 else 1.0 / (len(CLASSES) - 1)
            weights[mine] *= part / weights[mine].sum()
    return weights


def _limits(arrays: dict[str, np.ndarray], held_out: Samples) -> dict[str, np.ndarray]:
    raw = raw_measures(arrays, *embed(arrays, held_out.seen))
    right, weights = held_out.upright, held_out.weights()
    middles, limits = [], []
    for k, name in enumerate(MEASURES):
        middle = quantile(raw[right, k], 0.5, weights[right])
        if name in CLASSES:
            mine = held_out.classes == CLASSES.index(name)
            last = quantile(raw[right, k], 1.0 - ODD_RIGHT, weights[right])
            first = quantile(raw[mine, k], ODD_WRONG, weights[mine])
            limit = last + SHARE_OF_GAP * max(0.0, first - last)
        else:
            limit = quantile(raw[right, k], 1.0 - BEYOND_LIMIT, weights[right])
            limit = middle + SLACK * (limit - middle)
        middles.append(middle)
        limits.append(max(limit, middle + 1e-3))
    return {
        "middles": np.array(middles, np.float32),
        "limits": np.array(limits, np.float32),
    }


def _threshold(arrays: dict[str, np.ndarray], held_out: Samples) -> float:
    """Return 1, or more where that would refuse too many held-out images."""
    scores = _scores(arrays, held_out.seen)
    right, weights = held_out.upright, held_out.weights()
    beyond = quantile(scores[right], 1.0 - REFUSED, weights[right])
    return round(max(1.0, beyond), 4)


def _scores(arrays: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    return FeatureGate(arrays, threshold=1.0).measures(seen).max(axis=1)


def quantile(values: np.ndarray, share: float, weights: np.ndarray) -> float:
    """Return the weighted quantile of values; -inf without values."""
    if len(values) == 0:
        return -np.inf
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(below, share)), len(values) - 1)
    return float(values[order][place])


def _held_out_metrics(
    arrays: dict[str, np.ndarray], held_out: Samples, threshold: float
) -> dict[str, Any]:
    refused = _scores(arrays, held_out.seen) > threshold
    right = held_out.upright
    return {
        "held_out_refused": round(float(refused[right].mean()), 4),
        "held_out_made_wrong_refused": {
            name: round(float(refused[held_out.classes == k].mean()), 4)
            for k, name in enumerate(CLASSES)
            if k and (held_out.classes == k).any()
        },
    }


def _write(path: Path, arrays: dict[str, np.ndarray]) -> str:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
    np.savez_compressed(temporary, allow_pickle=False, **arrays)
    sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
    temporary.replace(path)
    return sha256
