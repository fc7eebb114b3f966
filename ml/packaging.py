"""From a training run to a model folder: weights, card, curves, and honest figures.

Temperature, thresholds and the input size are chosen on training patients that were
kept out of learning; val is only measured. The measurements run on the packaged
files, through the same calls as `evaluate_model`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ml import chestx6
from ml.architectures import build
from ml.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    softmax,
    youden_threshold,
)
from ml.checkpoints import RunState, load_state, restore
from ml.curves import curves_svg
from ml.datasets import LabelledFilm, PackedFilms, pack_films
from ml.errors import TrainingError
from ml.evaluation import ScoredFilms, pair_figures, report_of, score_films
from ml.inference import load_model
from ml.preprocessing import (
    INPUT_MEAN,
    INPUT_STANDARD_DEVIATION,
    PREPROCESSING_VERSION,
)
from ml.recipes import Recipe
from ml.registry import read_card
from ml.shortcuts import crop_and_equalise
from ml.training import Budget, TrainingData, predict_logits
from ml.weights_file import save_weights

WEIGHTS_NAME = "weights.keras"
CARD_NAME = "card.json"
CURVES_NAME = "curves.svg"
# Films may be read a little larger than they were learned at (Touvron et al. 2019).
SIZE_STEPS = (1.0, 1.2)
# Beyond it, sources told apart too easily would set limits that nobody understands.
THRESHOLD_RANGE = (0.2, 0.8)
THRESHOLD_METHOD = (
    "largest sensitivity + specificity - 1 on the same held-out training patients, "
    "kept within 0.2 to 0.8; evaluation of a softmax model chooses the highest "
    "probability and uses none of them"
)
NORMALISATION = {
    "preprocessing_version": PREPROCESSING_VERSION,
    "method": "borders trimmed, 4 % cut off each side, squashed to a square by area "
    "interpolation, softened, histogram equalised with limited slope",
    "mean": INPUT_MEAN,
    "standard_deviation": INPUT_STANDARD_DEVIATION,
}


@dataclass(frozen=True)
class Choices:
    """What the held-out training patients decided."""

    size: int
    temperature: float
    thresholds: dict[str, float]
    figures: dict[str, Any]


def package(
    recipe: Recipe,
    *,
    data: TrainingData,
    root: Path,
    run_dir: Path,
    cache_dir: Path,
    weights_dir: Path,
    budget: Budget,
) -> Path:
    """Write the newest checkpoint of a run as a model folder; return it.

    Everything is written beside its place and moved there when it is complete.

    Raises:
        TrainingError: The run has no checkpoint or no held-out films.
    """
    state = load_state(run_dir)
    if state is None or not data.held_out:
        raise TrainingError("There is no checkpoint, or there are no held-out films.")
    network = build(recipe.architecture, classes=len(recipe.labels))
    restore(run_dir, model=network)
    choices = _choose(recipe, network, data, state, root, cache_dir)
    final = weights_dir / recipe.name / recipe.version
    own = final.with_name(f".{recipe.version}.{os.getpid()}.tmp")
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    try:
        sha256 = save_weights(
            network, own / WEIGHTS_NAME, architecture=recipe.architecture
        )
        card = _card(recipe, choices, sha256)
        card["training_data"] = _training_data(data)
        card["training"] = _training(recipe, data, state, budget)
        _write_card(own, card)
        card["metrics"] = _measure(own, recipe, data, root, cache_dir)
        _write_card(own, card)
        (own / CURVES_NAME).write_text(_curves(recipe, state), encoding="utf-8")
        _move_into_place(own, final)
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return final


def _choose(
    recipe: Recipe,
    network: Any,
    data: TrainingData,
    state: RunState,
    root: Path,
    cache_dir: Path,
) -> Choices:
    films = _packed(data.held_out, root, cache_dir)
    truth = np.array([film.class_index for film in data.held_out])
    learned = int(state.history[-1]["size"])
    sizes = sorted({round(learned * step / 32) * 32 for step in SIZE_STEPS})
    logits = {size: predict_logits(network, films, size=size) for size in sizes}
    temperatures = {size: fit_temperature(logits[size], truth) for size in sizes}
    losses = {
        size: negative_log_likelihood(
            logits[size], truth, temperature=temperatures[size]
        )
        for size in sizes
    }
    size = min(losses, key=lambda tried: losses[tried])
    found = softmax(logits[size], temperature=temperatures[size])
    thresholds = {
        name: _within_range(youden_threshold(found[:, i], truth == i))
        for i, name in enumerate(recipe.label_names)
    }
    figures = {
        "films": len(truth),
        "patients": len({film.row.patient for film in data.held_out}),
        "negative_log_likelihood_before": _rounded(
            negative_log_likelihood(logits[size], truth)
        ),
        "negative_log_likelihood_after": _rounded(losses[size]),
        "expected_calibration_error_after": _rounded(_gap(found, truth)),
        "sizes_tried": {str(tried): _rounded(loss) for tried, loss in losses.items()},
    }
    return Choices(size, _rounded(temperatures[size]), thresholds, figures)


def _within_range(threshold: float) -> float:
    return _rounded(float(np.clip(threshold, *THRESHOLD_RANGE)))


def _gap(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the calibration error of the class chosen."""
    right = found.argmax(axis=1) == truth
    return expected_calibration_error(found.max(axis=1), right)


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _card(recipe: Recipe, choices: Choices, sha256: str) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "version": recipe.version,
        "default": True,
        "architecture": recipe.architecture,
        "last_convolution": "maps",
        "task": "softmax",
        "labels": [
            {"name": label.name, "display": label.display, "snomed": label.snomed}
            for label in recipe.labels
        ],
        "accepts": chestx6.ACCEPTS,
        "input": {"size": choices.size, "channels": 1, "normalisation": NORMALISATION},
        "weights": {"file": WEIGHTS_NAME, "sha256": sha256, "precision": "float16"},
        "calibration": {
            "calibrated": True,
            "method": "temperature",
            "temperature": choices.temperature,
            "fitted_on": f"{choices.figures['patients']} patients of the train split "
            "that were kept out of learning",
            **choices.figures,
        },
        "thresholds": {"values": choices.thresholds, "method": THRESHOLD_METHOD},
        "training_data": [],
        "training": {},
        "metrics": {},
        "val_use": chestx6.VAL_USE,
        "intended_use": chestx6.INTENDED_USE,
        "limits": list(chestx6.LIMITS),
        "not_measured": list(chestx6.NOT_MEASURED),
    }


def _training_data(data: TrainingData) -> list[dict[str, Any]]:
    counts = Counter((film.label, film.row.dataset) for film in data.train)
    licences = {film.row.dataset: film.row.licence for film in data.train}
    patients: dict[tuple[str, str], set[str]] = {}
    for film in data.train:
        patients.setdefault((film.label, film.row.dataset), set()).add(film.row.patient)
    return [
        {
            "label": label,
            "dataset": dataset,
            "films": number,
            "patients": len(patients[label, dataset]),
            "licence": licences[dataset],
            **chestx6.DATASETS.get(dataset, {}),
        }
        for (label, dataset), number in sorted(counts.items())
    ]


def _training(
    recipe: Recipe, data: TrainingData, state: RunState, budget: Budget
) -> dict[str, Any]:
    length = f"--epochs {budget.epochs}"
    if budget.minutes:
        length = f"--minutes {budget.minutes:g}"
    return {
        "command": f"python manage.py train_model {recipe.name} "
        f'--manifest "$CHESTX_DATA/manifest.csv" --root "$CHESTX_DATA" {length}',
        "begins_from": "random weights",
        "epochs": state.epoch,
        "epochs_by_size": dict(Counter(str(e["size"]) for e in state.history)),
        "films_seen": sum(int(entry["films"]) for entry in state.history),
        "minutes": round(state.elapsed_s / 60, 1),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "class_shares": recipe.class_shares,
        "held_out_films": len(data.held_out),
        "skipped_unknown": len(data.unknown),
        "skipped_ambiguous": len(data.ambiguous),
        "seed": recipe.seed,
    }


def _measure(
    folder: Path, recipe: Recipe, data: TrainingData, root: Path, cache_dir: Path
) -> dict[str, Any]:
    card = read_card(folder / CARD_NAME)
    model = load_model(card, cache_dir=cache_dir)
    rows = [film.row for film in data.val]
    plain = score_films(model, rows, root=root)
    changed = score_films(model, rows, root=root, change=crop_and_equalise)
    inside = _within(plain, recipe.measured_dataset)
    inside_changed = _within(changed, recipe.measured_dataset)
    command = (
        f"python manage.py evaluate_model {recipe.name} "
        '--manifest "$CHESTX_DATA/manifest.csv" --root "$CHESTX_DATA" '
        "--split val --json"
    )
    name = recipe.measured_dataset
    pairs = f'{command} --dataset {name} --pair "Bacterial pneumonia,Viral pneumonia"'
    return {
        "val": _figures(plain, f"{command}"),
        f"val_{name}": _figures(inside, f"{command} --dataset {name}"),
        f"val_{name}_crop_equalise": _figures(
            inside_changed, f"{command} --dataset {name} --change crop-equalise"
        ),
        f"val_{name}_bacterial_viral": {
            "command": pairs,
            **pair_figures(inside, "Bacterial pneumonia", "Viral pneumonia"),
        },
        f"val_{name}_bacterial_viral_crop_equalise": {
            "command": f"{pairs} --change crop-equalise",
            **pair_figures(inside_changed, "Bacterial pneumonia", "Viral pneumonia"),
        },
        "val_expected_calibration_error": _rounded(
            _gap(plain.scores, plain.positive.argmax(axis=1))
        ),
    }


def _within(scored: ScoredFilms, dataset: str) -> ScoredFilms:
    chosen = np.array([row.dataset == dataset for row in scored.rows], bool)
    return replace(
        scored,
        rows=tuple(row for row, ok in zip(scored.rows, chosen, strict=True) if ok),
        scores=scored.scores[chosen],
        positive=scored.positive[chosen],
        known=scored.known[chosen],
        left_out={"n": int(chosen.sum())},
    )


def _figures(scored: ScoredFilms, command: str) -> dict[str, Any]:
    wanted = ("n", "patients", "accuracy", "balanced_accuracy", "mean_auc", "labels")
    report = report_of(scored, weights_sha256="")
    return {
        "command": command,
        **{name: report[name] for name in wanted},
        "confusion": report["confusion"],
    }


def _curves(recipe: Recipe, state: RunState) -> str:
    keys = {
        "accuracy": "train accuracy (varied films)",
        "val_balanced_accuracy": "val balanced accuracy, six classes",
    }
    if recipe.measured_dataset:
        name = recipe.measured_dataset
        keys[f"val_balanced_accuracy_{name}"] = f"val balanced accuracy, {name}"
    return curves_svg(
        state.history, keys=keys, title=f"{recipe.name} {recipe.version}: training"
    )


def _packed(films: Sequence[LabelledFilm], root: Path, cache_dir: Path) -> PackedFilms:
    return pack_films([film.row.path for film in films], root=root, cache_dir=cache_dir)


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    temporary = folder / f"{CARD_NAME}.tmp"
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / CARD_NAME)


def _move_into_place(own: Path, final: Path) -> None:
    """Put a complete folder under its name; an older one is gone only afterwards."""
    older = final.with_name(f".{final.name}.{os.getpid()}.old")
    if final.exists():
        final.rename(older)
    own.rename(final)
    shutil.rmtree(older, ignore_errors=True)
