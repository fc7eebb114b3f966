"""Compare bfloat16 and INT8 with float32 on held-out images, and write it into cards.

A precision is offered only where no probability differs by more than
LARGEST_DIFFERENCE and no flag farther than that from its threshold. Models on the same
weights are measured together: they share a pass, so all of them offer a precision or
none does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards.card import Card, parse_card, read_card, write_card
from ml.cards.contents import LARGEST_DIFFERENCE, PrecisionCheck, Precisions
from ml.cards.json_reader import as_json
from ml.datasets.manifest import ManifestRow, drawn_percent
from ml.errors import ModelError
from ml.inference import LoadedModel, load_model
from ml.networks.openvino_export import ONNX_NAME, graph_folder
from ml.networks.weights_file import file_sha256
from ml.pixels import read_display
from ml.training.gate.samples import choose
from ml.training.precisions.quantise import quantise

GRAPH_INT8_NAME = "graph-int8.zip"
MEASURED = ("bfloat16", "int8")
COMPARED_IMAGES = 300
CALIBRATION_IMAGES = 300
SEED = 20261


@dataclass(frozen=True)
class Outputs:
    """Of some images: probabilities (images, labels) and whether the gate refuses."""

    probabilities: np.ndarray
    refused: np.ndarray


def measure_precisions(
    folders: Sequence[Path],
    held_out: Sequence[ManifestRow],
    *,
    root: Path,
    cache_dir: Path,
    command: Sequence[str],
) -> list[Precisions]:
    """Make the INT8 graph of packaged models on the same weights; fill their cards.

    The graph stands beside the weights, and is removed where it is not offered.

    Args:
        folders: With card.json, one of each model.
        held_out: Images of train patients that the network has not learned from. Those
            of half of the patients give the ranges, those of the others are compared.
        root: The folder that the paths of the rows start from.
        cache_dir: Kept graphs.
        command: The command that measures it again, for the cards.

    Returns:
        The new entry "precisions" of each card.

    Raises:
        ModelError: There are too few images, the weights differ, or the graph cannot
            be quantised.
        OSError: An image is not there.
    """
    cards = [_without_precisions(folder) for folder in folders]
    first = cards[0]
    if any(card.weights_sha256 != first.weights_sha256 for card in cards):
        raise ModelError("Only models on the same weights are measured together.")
    calibration, compared = split_rows(held_out)
    if not calibration or not compared:
        raise ModelError("Precisions need held-out images.", reason_code="no_images")
    displays = [read_display((root / row.path).read_bytes()) for row in compared]
    packed = first.weights_file.with_name(GRAPH_INT8_NAME)
    models = [_loaded(card, cache_dir, "float32") for card in cards]
    exact = [outputs_of(model, displays) for model in models]
    _write_int8(first, models[0], calibration, root, cache_dir, packed)
    file = {"file": packed.name, "sha256": file_sha256(packed)}
    checks: dict[str, list[PrecisionCheck]] = {}
    for precision in MEASURED:
        found = [
            _check(card, outputs, displays, cache_dir, precision, file)
            for card, outputs in zip(cards, exact, strict=True)
        ]
        # None: this processor has no bfloat16.
        measured = [check for check in found if check is not None]
        if len(measured) == len(cards):
            offered = all(check.offered for check in measured)
            checks[precision] = [replace(check, offered=offered) for check in measured]
    if not checks["int8"][0].offered:
        packed.unlink()
        checks["int8"] = [replace(c, file=None, sha256=None) for c in checks["int8"]]
    entries = [
        Precisions(
            images=len(compared),
            patients=len({row.patient for row in compared}),
            command=tuple(command),
            bfloat16=checks["bfloat16"][number] if "bfloat16" in checks else None,
            int8=checks["int8"][number],
        )
        for number in range(len(cards))
    ]
    for folder, card, entry in zip(folders, cards, entries, strict=True):
        write_card(folder / "card.json", {**card.raw, "precisions": as_json(entry)})
    return entries


def models_on(weights_sha256: str | None, weights_dir: Path) -> list[Path]:
    """Return the folders of the models whose cards name these weights."""
    paths = sorted(weights_dir.glob("*/*/card.json"))
    return [
        path.parent
        for path in paths
        if read_card(path).weights_sha256 == weights_sha256
    ]


def split_rows(
    held_out: Sequence[ManifestRow],
) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Return the rows for the ranges and those to compare, of different patients."""
    even = [row for row in held_out if drawn_percent(row.patient + "int8") % 2 == 0]
    odd = [row for row in held_out if drawn_percent(row.patient + "int8") % 2]
    return _evenly(even, CALIBRATION_IMAGES), _evenly(odd, COMPARED_IMAGES)


def _evenly(rows: Sequence[ManifestRow], count: int) -> list[ManifestRow]:
    """Return at most `count` rows, as many of each source as there are."""
    each = 1
    while each < count and len(choose(rows, each=each, seed=SEED)) < min(
        count, len(rows)
    ):
        each += 1
    return choose(rows, each=each, seed=SEED)[:count]


def compare(
    card: Card, exact: Outputs, other: Outputs, *, file: Mapping[str, Any] | None = None
) -> PrecisionCheck:
    """Compare the outputs of a precision with those in float32, at the card's flags."""
    limits = np.array([card.thresholds[name] for name in card.label_names])
    one, two = exact.probabilities, other.probabilities
    changed = (one >= limits) != (two >= limits)
    far = np.abs(one - limits) > LARGEST_DIFFERENCE
    difference = float(np.abs(one - two).max())
    flags = int((changed & far).sum())
    return PrecisionCheck(
        largest_difference=round(difference, 5),
        flags_changed=flags,
        refusals_changed=int((exact.refused != other.refused).sum()),
        offered=difference <= LARGEST_DIFFERENCE and flags == 0,
        **(file or {}),
    )


def outputs_of(model: LoadedModel, displays: Sequence[np.ndarray]) -> Outputs:
    """Read images; the gate does not stop them."""
    probabilities, refused = [], []
    for display in displays:
        read = model.read(display, apply_gate=False)
        probabilities.append([score.probability for score in read.scores])
        refused.append(read.gate is not None and read.gate.refused)
    return Outputs(np.array(probabilities), np.array(refused))


def _write_int8(
    card: Card,
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    cache_dir: Path,
    packed: Path,
) -> None:
    folder = graph_folder(
        card, card.weights_file, sha256=model.weights_sha256, cache_dir=cache_dir
    )
    if not (folder / ONNX_NAME).exists():
        raise ModelError(
            "%(name)s has an operation that is not translated to ONNX.",
            params={"name": card.name},
        )
    images = [
        model.prepared(read_display((root / row.path).read_bytes()))[0] for row in rows
    ]
    quantise(folder / ONNX_NAME, np.stack(images), packed)


def _check(
    card: Card,
    exact: Outputs,
    displays: Sequence[np.ndarray],
    cache_dir: Path,
    precision: str,
    file: Mapping[str, str],
) -> PrecisionCheck | None:
    """Measure a precision; None where this processor does not have it."""
    own = file if precision == "int8" else {}
    trial = PrecisionCheck(0.0, 0, 0, offered=True, **own)
    entry = Precisions(0, 0, (), **{precision: trial})
    tried = replace(card, raw={**card.raw, "precisions": as_json(entry)})
    model = _loaded(tried, cache_dir, precision)
    if model.runner.precision != precision:
        return None
    return compare(card, exact, outputs_of(model, displays), file=own)


def _loaded(card: Card, cache_dir: Path, precision: str) -> LoadedModel:
    model = load_model(card, cache_dir=cache_dir, precision=precision)
    if not isinstance(model, LoadedModel):
        raise ModelError("An ensemble has the precisions of its members.")
    return model


def _without_precisions(folder: Path) -> Card:
    raw = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    raw.pop("precisions", None)
    return parse_card(raw, folder=folder)
