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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ml.architectures.build import build
from ml.cards.ages import ages_of
from ml.cards.card import CARD_NAME, write_card
from ml.cards.contents import SCHEMA_VERSION, LabelEntry, TrainingSource
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
from ml.training.heads import columns_of, of_head, recipe_of_head
from ml.training.recipes import Recipe
from ml.training.run import TrainingData, pack_rows
from ml.training.selection import Choices, choose

WEIGHTS_NAME = "weights.keras"
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
    network that heads share is a folder of its own, and each head one with its card. A
    pre-training becomes one `.keras` file, from which other runs begin.

    Raises:
        TrainingError: The run has no checkpoint, or a head no held-out images.
    """
    state = load_state(run_dir)
    parts = list(columns_of(recipe))
    held_out = data.held_out
    if state is None or not all(len(of_head(held_out, part)[0]) for _, part in parts):
        raise TrainingError("There is no checkpoint, or there are no held-out images.")
    learned = int(state.history[-1]["size"])
    network = build(recipe.architecture, classes=len(recipe.labels), size=learned)
    restore(run_dir, model=network)
    if not recipe.packaged:
        pretrained = run_dir / f"{recipe.name}.keras"
        save_weights(network, pretrained, architecture=recipe.architecture)
        return pretrained
    images = pack_rows(held_out.rows, root, cache_dir)
    choices = choose(recipe, network, held_out, images, learned=learned)
    final = weights_dir / recipe.name / recipe.version
    heads = [recipe_of_head(recipe, head) for head, _ in parts]
    # A recipe that is its own head has its card beside the weights.
    of_heads = [weights_dir / head.name / head.version for head in heads]
    with _written(list(dict.fromkeys([final, *of_heads]))) as folders:
        sha256 = save_weights(
            network, folders[0] / WEIGHTS_NAME, architecture=recipe.architecture
        )
        curves = _curves(recipe, state)
        (folders[0] / CURVES_NAME).write_text(curves, encoding="utf-8")
        for head, (_, columns), chosen, folder in zip(
            heads, parts, choices, folders[-len(heads) :], strict=True
        ):
            own = _of_columns(data, columns)
            card = _card(head, chosen, sha256, _training_data(head, own))
            card["training"] = {
                "command": list(command),
                **_training(head, own, state),
            }
            if recipe.shared_by:
                card["backbone"] = {
                    "name": recipe.name,
                    "version": recipe.version,
                    "columns": [columns.start, columns.stop],
                }
                shared = f"../../{recipe.name}/{recipe.version}/{WEIGHTS_NAME}"
                card["weights"]["file"] = shared
            write_card(folder / CARD_NAME, card)
    return final


def _of_columns(data: TrainingData, columns: slice) -> TrainingData:
    """Return the images of which a head knows a label, with its labels only."""
    return replace(
        data,
        train=of_head(data.train, columns)[1],
        held_out=of_head(data.held_out, columns)[1],
    )


@contextmanager
def _written(finals: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a folder beside each place; move them there when all are complete."""
    own = [final.with_name(f".{final.name}.{os.getpid()}.tmp") for final in finals]
    try:
        for folder in own:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        yield own
        for folder, final in zip(own, finals, strict=True):
            _move_into_place(folder, final)
    finally:
        for folder in own:
            shutil.rmtree(folder, ignore_errors=True)


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
            as_json(
                LabelEntry(
                    label.name,
                    label.display,
                    label.snomed,
                    ages_of(s.dataset for s in sources if s.label == label.name),
                )
            )
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
        "trunk_rate": recipe.trunk_rate,
        "average_decay": recipe.average_decay,
        "frozen": list(recipe.frozen),
        "weight_decay": recipe.weight_decay,
        "label_smoothing": recipe.label_smoothing,
        "augmentation": asdict(recipe.augmentation),
        "distillation": recipe.distillation and asdict(recipe.distillation),
        **asdict(recipe.refinements),
    }


def _curves(recipe: Recipe, state: RunState) -> str:
    keys: dict[str, str] = {}
    for head in recipe.heads:
        prefix, named = "val", "val"
        if recipe.shared_by:
            prefix, named = f"val_{head.name}", f"val, {head.name}:"
        figure = "balanced accuracy" if head.task == "softmax" else "mean AUC"
        keys[prefix] = f"{named} {figure}, every image"
        if head.measured_dataset:
            within = f"{named} {figure}, only {head.measured_dataset}"
            keys[f"{prefix}_{head.measured_dataset}"] = within
    if recipe.task == "softmax" and not recipe.shared_by:
        keys["accuracy"] = "train accuracy (varied images)"
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
