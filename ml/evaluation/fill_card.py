"""Fill a model's card with its figures, each beside the command that makes it again.

Nothing is chosen here: val is read, and what comes out is written down, goals missed
included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.cards.card import read_card
from ml.cards.texts import Facts, Measurement, facts_of
from ml.datasets.ground_truth import ground_truth_of
from ml.datasets.manifest import ManifestRow, with_split
from ml.evaluation.baseline import NOT_SEPARABLE, measure_baseline, pair_beside
from ml.evaluation.gate.trial import reads, try_gate
from ml.evaluation.heat_maps.measures import measure_heat_maps
from ml.evaluation.scoring import pair_metrics, report_of, score_images
from ml.evaluation.shortcuts.changes import CHANGES
from ml.evaluation.shortcuts.measures import measure_shortcuts
from ml.inference import LoadedModel, load_model
from ml.training.gate.fit import fit_gate, held_out_rows
from ml.training.packaging import CARD_NAME, write_card
from ml.training.recipes import get_recipe

FIGURES = (
    "n",
    "patients",
    "accuracy",
    "balanced_accuracy",
    "mean_auc",
    "mean_auc_claimed",
    "expected_calibration_error",
    "brier",
    "labels",
    "too_few",
    "confusion",
    "groups",
    "uncertainty",
)
PARTS = ("gate_fit", "gate", "metrics", "shortcuts", "heat_maps")
ARGUMENTS = '--manifest "$CHESTX_DATA/manifest.csv" --root "$CHESTX_DATA"'
Say = Callable[[str], None]


def measure_model(
    folder: Path,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    cache_dir: Path,
    parts: Sequence[str] = PARTS,
    before: Path | None = None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Measure a packaged model and write what was found into its card.

    Args:
        folder: With card.json and the weights.
        rows: Every image of the data sets, of both splits.
        root: The folder that the paths of the rows start from.
        cache_dir: Kept graphs and features.
        parts: Which of PARTS; the others stay as the card has them.
        before: Folder of the same model trained without what works against
            shortcuts; its shortcuts are measured beside the model's own.
        say: Called with what is measured next.

    Returns:
        The card's JSON.
    """
    facts = facts_of(read_card(folder / CARD_NAME).name)
    if "gate_fit" in parts:
        say("fitting the gate")
        _fit_gate(folder, rows, root, cache_dir)
    model = load_model(read_card(folder / CARD_NAME), cache_dir=cache_dir)
    known = ground_truth_of(model.card, rows).rows
    found: dict[str, Any] = {}
    if "gate" in parts:
        say("the gate")
        found["gate"] = _tried(model, rows, root)
    if "metrics" in parts:
        found["metrics"] = _metrics(model, facts, rows, root, say)
    if "shortcuts" in parts and facts.shortcuts:
        say("shortcuts")
        found["shortcuts"] = _shortcuts(model, known, root, cache_dir, before)
    if "heat_maps" in parts:
        say("heat maps")
        found["heat_map_measures"] = measure_heat_maps(model, known, root, cache_dir)
    raw = json.loads((folder / CARD_NAME).read_text(encoding="utf-8")) | found
    raw["limits"] = [*facts.limits, *_not_separable(raw["metrics"])]
    raw["not_measured"] = list(facts.not_measured)
    write_card(folder, raw)
    return raw


def _metrics(
    model: LoadedModel,
    facts: Facts,
    rows: Sequence[ManifestRow],
    root: Path,
    say: Say,
) -> dict[str, Any]:
    found = {}
    for measurement in facts.measurements:
        say(measurement.key)
        found[measurement.key] = _measured(model, measurement, facts, rows, root)
    return found


def _shortcuts(
    model: LoadedModel,
    known: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
    before: Path | None,
) -> dict[str, Any]:
    learned, val = _learned(model.card.name, known), with_split(known, "val")
    found = measure_shortcuts(model, learned, val, root, cache_dir)
    if before:
        found["before"] = _before(before, learned, val, root, cache_dir)
    return found


def _before(
    folder: Path,
    learned: Sequence[ManifestRow],
    val: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    """Return the shortcuts of the model in `folder`, and how it was trained."""
    model = load_model(read_card(folder / CARD_NAME), cache_dir=cache_dir)
    found = measure_shortcuts(model, learned, val, root, cache_dir)
    return {
        "training": model.card.raw.get("training") or {},
        "weights_sha256": model.weights_sha256,
        **{name: found[name] for name in ("changes", "sources") if name in found},
    }


def _not_separable(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the sentence on figures that a classifier without lungs reaches, too."""
    told = [
        f"{key}: {', '.join(name.replace('_', ' ') for name in names)}"
        for key, measured in metrics.items()
        if (names := measured.get("baseline", {}).get("not_separable"))
    ]
    return [f"{NOT_SEPARABLE.capitalize()} by {'; '.join(told)}."] if told else []


def _tried(
    model: LoadedModel, rows: Sequence[ManifestRow], root: Path
) -> dict[str, Any]:
    """Return the card's gate with what it does on val and on what is no image."""
    tried = try_gate(
        model, with_split(rows, "val"), root=root, samples=root / "samples"
    )
    command = f"python manage.py evaluate_gate {model.card.name} {ARGUMENTS} --json"
    told = {"command": command, **_without_names(tried)}
    return {**model.card.raw["gate"], "val": told}


def _fit_gate(
    folder: Path, rows: Sequence[ManifestRow], root: Path, cache_dir: Path
) -> None:
    """Fit the gate on every train image of the model's kind, whatever its labels.

    An image from elsewhere is to be told from no chest at all, so sources that the
    network did not learn from belong to the reference, too.
    """
    card = read_card(folder / CARD_NAME)
    train = [row for row in with_split(rows, "train") if reads(card, row)]
    learned, aside = held_out_rows(train, name=card.name)
    fit_gate(folder, learned, aside, root, cache_dir)


def _learned(name: str, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Return the train images of the sources that a model learned from."""
    datasets = get_recipe(name).datasets
    train = with_split(rows, "train")
    return [row for row in train if not datasets or row.dataset in datasets]


def _measured(
    model: LoadedModel,
    measurement: Measurement,
    facts: Facts,
    rows: Sequence[ManifestRow],
    root: Path,
) -> dict[str, Any]:
    wanted = measurement.datasets
    val = [r for r in with_split(rows, "val") if not wanted or r.dataset in wanted]
    scored = score_images(model, val, root=root, change=CHANGES[measurement.change])
    report = report_of(scored, weights_sha256=model.weights_sha256)
    told: dict[str, Any] = {
        "command": command_of(model.card.name, measurement, facts),
        **{name: report[name] for name in FIGURES if name in report},
    }
    told["groups"] = _telling(told["groups"])
    if facts.pair and measurement.pair:
        told["pair"] = pair_metrics(scored, *facts.pair)
    if measurement.baseline:
        train = _learned(model.card.name, rows)
        beside, other = measure_baseline(scored, train, root=root)
        if facts.pair and measurement.pair:
            beside["pair"] = pair_beside(scored, other, *facts.pair)
        told["baseline"] = beside
    return told


def _without_names(report: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the lists of single images: the command prints them."""
    return {
        name: _without_names(value) if isinstance(value, dict) else value
        for name, value in report.items()
        if name != "names"
    }


def _telling(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Leave out the kinds of groups of which there is one only."""
    return {kind: dict(found) for kind, found in groups.items() if len(found) > 1}


def command_of(name: str, measurement: Measurement, facts: Facts) -> str:
    """Return the command that prints a measurement again."""
    parts = [f"python manage.py evaluate_model {name} {ARGUMENTS} --split val"]
    if measurement.datasets:
        parts.append(f"--dataset {' '.join(measurement.datasets)}")
    if measurement.change != "none":
        parts.append(f"--change {measurement.change}")
    if facts.pair and measurement.pair:
        parts.append(f'--pair "{",".join(facts.pair)}"')
    if measurement.baseline:
        parts.append("--baseline")
    return " ".join([*parts, "--json"])
