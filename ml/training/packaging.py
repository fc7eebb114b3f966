"""Package a training run as a model folder: weights, card and curves.

Input size, calibration, thresholds, label sets and the gate come from training
patients that were kept out of learning; val is only measured, by
`ml.evaluation.fill_card`, on the packaged files.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ml.architectures.build import build
from ml.cards.card import write_card
from ml.cards.contents import SCHEMA_VERSION, TrainingSource
from ml.cards.json_reader import as_json
from ml.cards.texts import DATASETS, VAL_USE, facts_of
from ml.errors import TrainingError
from ml.networks.weights_file import save_weights
from ml.preprocessing import (
    INPUT_MEAN,
    INPUT_STANDARD_DEVIATION,
    PREPROCESSING_VERSION,
)
from ml.training.checkpoints import RunState, load_state, restore
from ml.training.curves import curves_svg
from ml.training.recipes import Recipe
from ml.training.run import TrainingData, pack_rows
from ml.training.selection import Choices, choose

WEIGHTS_NAME = "weights.keras"
CARD_NAME = "card.json"
CURVES_NAME = "curves.svg"
THRESHOLD_METHOD = (
    "operating point {point}, fitted on training patients held out from learning; "
    "evaluation of a softmax model chooses the highest probability and uses none"
)
NORMALISATION = {
    "preprocessing_version": PREPROCESSING_VERSION,
    "method": "borders trimmed, 4 % cut off each side, squashed to a square by area "
    "interpolation, softened, histogram equalised with limited slope",
    "mean": INPUT_MEAN,
    "standard_deviation": INPUT_STANDARD_DEVIATION,
}


def package(
    recipe: Recipe,
    *,
    data: TrainingData,
    root: Path,
    run_dir: Path,
    cache_dir: Path,
    weights_dir: Path,
    command: Sequence[str],
) -> Path:
    """Write the newest checkpoint of a run as a model folder; return it.

    `command` is the command that trained it, as a list of arguments.

    Everything is written beside its place and moved there when it is complete. A
    pre-training becomes one `.keras` file, from which other runs begin.

    Raises:
        TrainingError: The run has no checkpoint or no held-out images.
    """
    state = load_state(run_dir)
    if state is None or not data.held_out.rows:
        raise TrainingError("There is no checkpoint, or there are no held-out images.")
    learned = int(state.history[-1]["size"])
    network = build(recipe.architecture, classes=len(recipe.labels), size=learned)
    restore(run_dir, model=network)
    if not recipe.packaged:
        pretrained = run_dir / f"{recipe.name}.keras"
        save_weights(network, pretrained, architecture=recipe.architecture)
        return pretrained
    images = pack_rows(data.held_out.rows, root, cache_dir)
    choices = choose(recipe, network, data.held_out, images, learned=learned)
    training = {"command": list(command)} | _training(recipe, data, state)

    def fill(folder: Path) -> None:
        sha256 = save_weights(
            network, folder / WEIGHTS_NAME, architecture=recipe.architecture
        )
        sources = _training_data(recipe, data)
        card = _card(recipe, choices, sha256, sources)
        write_card(folder / CARD_NAME, card | {"training": training})
        (folder / CURVES_NAME).write_text(_curves(recipe, state), encoding="utf-8")

    return _written(weights_dir / recipe.name / recipe.version, fill)


def _written(final: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a folder beside its place and move it there when it is complete."""
    own = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    try:
        fill(own)
        _move_into_place(own, final)
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return final


def _card(
    recipe: Recipe, choices: Choices, sha256: str, sources: list[TrainingSource]
) -> dict[str, Any]:
    facts = facts_of(recipe.name)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": recipe.name,
        "version": recipe.version,
        "default": facts.default,
        "architecture": recipe.architecture,
        "last_convolution": "maps",
        "task": recipe.task,
        "labels": [
            {"name": label.name, "display": label.display, "snomed": label.snomed}
            for label in recipe.labels
        ],
        "accepts": dict(facts.accepts),
        "input": {"size": choices.size, "channels": 1, "normalisation": NORMALISATION},
        "weights": {"file": WEIGHTS_NAME, "sha256": sha256, "precision": "float16"},
        "runs_on": ["cpu", "gpu"],
        "calibration": choices.calibration,
        "thresholds": {
            "values": choices.operating_points[facts.operating_point],
            "method": THRESHOLD_METHOD.format(point=facts.operating_point),
        },
        "operating_points": choices.operating_points,
        "uncertainty": choices.uncertainty,
        "training_data": as_json(sources),
        "training": {},
        "measurements": [],
        "val_use": VAL_USE.format(
            kept="epoch with the smallest loss on images held out"
            if recipe.refinements.patience
            else "last epoch"
        ),
        "intended_use": facts.intended_use,
        "limits": facts.limits_with_metrics([], sources),
        "not_measured": list(facts.not_measured),
    }


def _training_data(recipe: Recipe, data: TrainingData) -> list[TrainingSource]:
    """Count training images and patients by label and source."""
    patients: dict[tuple[str, str], list[str]] = {}
    licences = {row.dataset: row.licence for row in data.train.rows}
    for row, positive in zip(data.train.rows, data.train.positive, strict=True):
        carried = [n for n, ok in zip(recipe.label_names, positive, strict=True) if ok]
        for label in carried or ["none of the labels"]:
            patients.setdefault((label, row.dataset), []).append(row.patient)
    return [
        TrainingSource(
            label=label,
            dataset=dataset,
            images=len(of_images),
            patients=len(set(of_images)),
            licence=licences[dataset],
            **DATASETS.get(dataset, {}),
        )
        for (label, dataset), of_images in sorted(patients.items())
    ]


def _training(recipe: Recipe, data: TrainingData, state: RunState) -> dict[str, Any]:
    return {
        "begins_from": recipe.init,
        "phases": "head, then everything"
        if any(stage.head_only for stage in recipe.stages)
        else "everything",
        "epochs": state.epoch,
        "epochs_by_size": dict(Counter(str(e["size"]) for e in state.history)),
        "precision": sorted({entry["precision"] for entry in state.history}),
        "images_seen": sum(int(entry["images"]) for entry in state.history),
        "minutes": round(state.elapsed_s / 60, 1),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "class_shares": recipe.class_shares,
        "balance": recipe.balance,
        "held_out_images": len(data.held_out.rows),
        "skipped_unknown": len(data.unknown),
        "skipped_ambiguous": len(data.ambiguous),
        "seed": recipe.seed,
        "peak_learning_rate": recipe.peak_learning_rate,
        "weight_decay": recipe.weight_decay,
        "label_smoothing": recipe.label_smoothing,
        "augmentation": asdict(recipe.augmentation),
        "distillation": recipe.distillation and asdict(recipe.distillation),
        **asdict(recipe.refinements),
    }


def _curves(recipe: Recipe, state: RunState) -> str:
    figure = "balanced accuracy" if recipe.task == "softmax" else "mean AUC"
    keys = {"val": f"val {figure}, every image"}
    if recipe.task == "softmax":
        keys["accuracy"] = "train accuracy (varied images)"
    if recipe.measured_dataset:
        keys[f"val_{recipe.measured_dataset}"] = f"val {figure}, only this source"
    return curves_svg(
        state.history, keys=keys, title=f"{recipe.name} {recipe.version}: training"
    )


def _move_into_place(own: Path, final: Path) -> None:
    """Put a complete folder under its name; an older one is gone only afterwards."""
    older = final.with_name(f".{final.name}.{os.getpid()}.old")
    if final.exists():
        final.rename(older)
    own.rename(final)
    shutil.rmtree(older, ignore_errors=True)
