"""Fill a model's card with measurements, each with the command that repeats it.

Nothing is chosen here: the model is measured on val, and goals that are missed stand on
the card as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ml.cards.card import CARD_NAME, Card, read_card, write_card
from ml.cards.contents import Shortcuts, Training
from ml.cards.from_report import (
    flagged_normals_of_report,
    gate_trial_of_report,
    heat_maps_of_report,
    measurement_of_report,
    shortcuts_before,
    shortcuts_of_report,
)
from ml.cards.json_reader import as_json
from ml.cards.limits import limits_of
from ml.cards.measurements import GateTrial, HeatMapMeasures, Measurement
from ml.cards.texts import Facts, PlannedMeasurement, facts_of
from ml.datasets.ground_truth import ground_truth_of
from ml.datasets.manifest import ManifestRow, with_split
from ml.errors import ModelError
from ml.evaluation.baseline import measure_baseline, pair_beside
from ml.evaluation.gate.trial import reads, try_gate
from ml.evaluation.heat_maps.measures import measure_heat_maps
from ml.evaluation.normals.flagged import (
    NORMALS_DATASET,
    flagged_by_point,
    score_normals,
)
from ml.evaluation.scoring import KnownScores, pair_metrics, report_of, score_images
from ml.evaluation.shortcuts.changes import CHANGES
from ml.evaluation.shortcuts.measures import measure_shortcuts, reads_chests
from ml.inference import LoadedModel, load_model
from ml.training.gate.fit import fit_gate, held_out_rows, keep_gate

# What a report has beyond the metrics of a card.
LEFT_OUT = ("f1", "average_precision")
# Measured once for all heads of a backbone.
GATE_PARTS = ("gate_fit", "gate")
PARTS = (*GATE_PARTS, "shortcuts", "metrics", "heat_maps", "normals")
Say = Callable[[str], None]


class CommandOf(Protocol):
    """Returns the arguments of the command that repeats a measurement."""

    def __call__(
        self, part: str, name: str, planned: PlannedMeasurement | None = None
    ) -> list[str]:
        """Return the command for one of PARTS of the model `name`."""
        ...


def measure_model(
    folder: Path,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    cache_dir: Path,
    command_of: CommandOf,
    parts: Sequence[str] = PARTS,
    before: Path | None = None,
    say: Say = lambda text: None,
) -> Card:
    """Measure a packaged model and write the results into its card.

    What is measured of the gate of a backbone is written into the cards of all heads.

    Args:
        folder: With card.json and the weights.
        rows: Every image of the data sets, of both splits.
        root: The folder that the paths of the rows start from.
        cache_dir: Kept graphs and features.
        command_of: Names the command that repeats a measurement.
        parts: Which of PARTS; the others stay as the card has them.
        before: Folder of the same model trained without what works against
            shortcuts; its shortcuts are measured beside the model's own.
        say: Called with what is measured next.

    Returns:
        The new card.
    """
    path = folder / CARD_NAME
    facts = facts_of(read_card(path).name)
    if "gate_fit" in parts:
        say("fitting the gate")
        _fit_gate(folder, rows, root, cache_dir)
    model = _load(folder, cache_dir)
    card = model.card
    known = ground_truth_of(card, rows).rows
    read = _Read()
    measured: dict[str, Any] = {}
    if "gate" in parts:
        say("the gate")
        trial = _gate_trial(model, rows, root, command_of("gate", card.name))
        measured["gate"] = {**card.raw["gate"], "val": as_json(trial)}
        keep_gate(card, measured["gate"])
    if "shortcuts" in parts:
        say("shortcuts")
        shortcuts = _shortcuts(
            model, known, root, cache_dir, command_of("shortcuts", card.name), read
        )
        measured["shortcuts"] = as_json(shortcuts)
        if before:
            measured["shortcuts"]["before"] = _before(before, known, root, cache_dir)
    measurements = card.measurements
    if "metrics" in parts:
        measurements = _measurements(model, facts, rows, root, command_of, say, read)
        measured["measurements"] = as_json(measurements)
    if "heat_maps" in parts and card.heat_maps:
        say("heat maps")
        measured["heat_map_measures"] = as_json(
            _heat_maps(model, rows, root, cache_dir, command_of("heat_maps", card.name))
        )
    texts = {
        "limits": limits_of(facts, measurements, card.training_data),
        "not_measured": list(facts.not_measured),
    }
    write_card(path, {**card.raw, **measured, **texts})
    if "normals" in parts and reads_chests(card):
        say("normals")
        # After the card is written: its metrics decide which labels it claims.
        _write_normals(path, model, rows, root, command_of("normals", card.name), read)
    return read_card(path)


@dataclass(frozen=True)
class _Read:
    """What several parts use and was read already: scores, and baseline features."""

    scores: KnownScores = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)


def _write_normals(
    path: Path,
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    command: Sequence[str],
    read: _Read,
) -> None:
    """Write how often adults that readers called normal are flagged."""
    normals = [row for row in with_split(rows, "val") if row.dataset == NORMALS_DATASET]
    if not normals:
        return
    scored = score_normals(model, normals, root=root, known=read.scores)
    card = read_card(path)
    report = flagged_by_point(replace(scored, card=card))
    flagged = flagged_normals_of_report(report, command=command)
    write_card(path, {**card.raw, "flagged_normals": as_json(flagged)})


def _load(folder: Path, cache_dir: Path) -> LoadedModel:
    model = load_model(read_card(folder / CARD_NAME), cache_dir=cache_dir)
    if not isinstance(model, LoadedModel):
        raise ModelError("An ensemble has no network to measure: measure its members.")
    return model


def _measurements(
    model: LoadedModel,
    facts: Facts,
    rows: Sequence[ManifestRow],
    root: Path,
    command_of: CommandOf,
    say: Say,
    read: _Read,
) -> tuple[Measurement, ...]:
    measurements = []
    for planned in facts.measurements:
        say(planned.key)
        command = command_of("metrics", model.card.name, planned)
        measurements.append(_measurement(model, planned, rows, root, command, read))
    return tuple(measurements)


def _shortcuts(
    model: LoadedModel,
    known: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
    command: Sequence[str],
    read: _Read,
) -> Shortcuts:
    val = with_split(known, "val")
    report = measure_shortcuts(
        model,
        _learned(model.card, known),
        val,
        root,
        cache_dir,
        known=read.scores,
        features=read.features,
    )
    return shortcuts_of_report(report, command=command, datasets=_datasets(val))


def _before(
    folder: Path, known: Sequence[ManifestRow], root: Path, cache_dir: Path
) -> Any:
    """Return the shortcuts of the model in `folder`, and how it was trained."""
    model = _load(folder, cache_dir)
    learned, val = _learned(model.card, known), with_split(known, "val")
    report = measure_shortcuts(model, learned, val, root, cache_dir)
    return as_json(
        shortcuts_before(
            report,
            training=model.card.training or Training(),
            weights_sha256=model.weights_sha256,
        )
    )


def _heat_maps(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
    command: Sequence[str],
) -> HeatMapMeasures:
    report = measure_heat_maps(model, rows, root, cache_dir)
    datasets = _datasets(ground_truth_of(model.card, with_split(rows, "val")).rows)
    return heat_maps_of_report(report, command=command, datasets=datasets)


def _gate_trial(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    command: Sequence[str],
) -> GateTrial:
    """Try the gate on val and on what must be refused."""
    val = with_split(rows, "val")
    report = try_gate(model, val, root=root, samples=root / "samples")
    own = [row for row in val if reads(model.card, row)]
    return gate_trial_of_report(
        _without_names(report),
        command=command,
        patients=len({row.patient for row in own}),
    )


def _fit_gate(
    folder: Path, rows: Sequence[ManifestRow], root: Path, cache_dir: Path
) -> None:
    """Fit the gate on every train image of the model's kind, whatever its labels.

    The gate tells chest images from other images, so sources that the network did not
    learn from belong to the reference, too.
    """
    card = read_card(folder / CARD_NAME)
    train = [row for row in with_split(rows, "train") if reads(card, row)]
    learned, aside = held_out_rows(train, name=card.name)
    fit_gate(folder, learned, aside, root, cache_dir)


def _learned(card: Card, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Return the train images of the sources that a model learned from."""
    datasets = {source.dataset for source in card.training_data}
    train = with_split(rows, "train")
    return [row for row in train if not datasets or row.dataset in datasets]


def _datasets(rows: Sequence[ManifestRow]) -> list[str]:
    return sorted({row.dataset for row in rows if row.dataset})


def _measurement(
    model: LoadedModel,
    planned: PlannedMeasurement,
    rows: Sequence[ManifestRow],
    root: Path,
    command: Sequence[str],
    read: _Read,
) -> Measurement:
    wanted = planned.datasets
    val = [r for r in with_split(rows, "val") if not wanted or r.dataset in wanted]
    change = CHANGES[planned.change]
    scored = score_images(model, val, root=root, change=change, known=read.scores)
    report = report_of(scored, weights_sha256=model.weights_sha256)
    kept = {name: value for name, value in report.items() if name not in LEFT_OUT}
    kept["groups"] = _several_groups(report["groups"])
    if planned.pair:
        kept["pair"] = pair_metrics(scored, *planned.pair)
    if planned.baseline:
        train = _learned(model.card, rows)
        beside, baseline_scored = measure_baseline(
            scored, train, root=root, known=read.features
        )
        if planned.pair:
            beside["pair"] = pair_beside(scored, baseline_scored, *planned.pair)
        kept["baseline"] = beside
    return measurement_of_report(
        kept,
        key=planned.key,
        datasets=_datasets(scored.rows),
        change=planned.change,
        command=command,
    )


def _without_names(report: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the lists of single images: the command prints them."""
    return {
        name: _without_names(value) if isinstance(value, dict) else value
        for name, value in report.items()
        if name != "names"
    }


def _several_groups(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Leave out the kinds of groups of which there is one only."""
    return {kind: dict(members) for kind, members in groups.items() if len(members) > 1}
