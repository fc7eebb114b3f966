"""Give a model to other programs, and only if it says the same there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.cards.card import GRAPH_FORMAT, Card
from ml.errors import ModelError
from ml.exchange.export_child import (
    ASKED_NAME,
    EXPORTED_NAMES,
    INPUTS_NAME,
    OUTPUTS_NAME,
)
from ml.inference import LoadedModel, load_model
from ml.networks.child_process import ChildFailed, run_module
from ml.preprocessing import preprocess

EXPORT_TIMEOUT_S = 900
FORMATS = tuple(EXPORTED_NAMES)
TOLERANCE = 1e-3
CARD_SUFFIX = ".card.json"


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its outputs lie from those of the model here.

    `logits_apart` is the largest difference, `maps_apart` that of the last maps as a
    share of their largest value; None where there are none.
    """

    path: Path
    images: int
    logits_apart: float
    maps_apart: float | None


def export_model(
    card: Card,
    *,
    file_format: str,
    path: Path,
    images: Mapping[str, np.ndarray],
    cache_dir: Path,
) -> Exported:
    """Write a model in another format, with its card beside it.

    Args:
        card: The model.
        file_format: One of `FORMATS`.
        path: What is written: a file, with the format's suffix, or for a SavedModel a
            folder. Nothing may be there.
        images: Display values, uint16 (H, W), on which both must say the same.
        cache_dir: For the graph that is run here.

    Raises:
        ModelError: It cannot be exported, or what was written says something else;
            then nothing is left.
    """
    _check(card, file_format, path, images)
    model = load_model(card, cache_dir=cache_dir)
    assert isinstance(model, LoadedModel)  # noqa: S101 - _check let no ensemble pass
    inputs = np.stack([_input(card, image) for image in images.values()])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        own = Path(folder)
        np.save(own / INPUTS_NAME, inputs)
        _export_in_child(card, file_format, own)
        with np.load(own / OUTPUTS_NAME) as outputs:
            exported = _compared(model, inputs, outputs, path)
        _move(own / EXPORTED_NAMES[file_format], path)
    beside = path.with_name(path.name + CARD_SUFFIX)
    text = json.dumps(dict(card.raw), indent=2, ensure_ascii=False) + "\n"
    beside.write_text(text, encoding="utf-8")
    return exported


def _check(
    card: Card, file_format: str, path: Path, images: Mapping[str, np.ndarray]
) -> None:
    if file_format not in FORMATS:
        raise ModelError(f"A format is one of: {', '.join(FORMATS)}.")
    if card.members:
        names = ", ".join(member.name for member in card.members)
        raise ModelError(
            f"{card.name} is the mean of other models and no network: export {names}."
        )
    if card.weights_sha256 is None:
        raise ModelError(f"{card.name} {card.version} has no weights.")
    if card.weights_format == GRAPH_FORMAT:
        raise ModelError(
            f"{card.name} was imported from a SavedModel and is kept as an OpenVINO "
            "graph alone: give away what it was imported from."
        )
    suffix = Path(EXPORTED_NAMES[file_format]).suffix
    if path.suffix != suffix and suffix:
        raise ModelError(f"The name of a {file_format} file ends with {suffix}.")
    if path.exists():
        raise ModelError(f"{path} exists.")
    if not images:
        raise ModelError("There is no image to compare the outputs on.")


def _input(card: Card, image: np.ndarray) -> np.ndarray:
    return preprocess(
        image, size=card.input_size, channels=card.input_channels, scaling=card.scaling
    )[0]


def _export_in_child(card: Card, file_format: str, folder: Path) -> None:
    asked = {
        "weights": str(card.weights_file.resolve()),
        "architecture": card.architecture,
        "classes": len(card.labels),
        "channels": card.input_channels,
        "size": card.input_size,
        "format": file_format,
    }
    (folder / ASKED_NAME).write_text(json.dumps(asked), encoding="utf-8")
    try:
        run_module(
            "ml.exchange.export_child",
            [f"--folder={folder.resolve()}"],
            keras_backend="tensorflow",
            timeout_s=EXPORT_TIMEOUT_S,
        )
    except ChildFailed as failure:
        raise ModelError(
            f"{card.name} could not be exported: {failure}",
            reason_code="export_failed",
        ) from failure


def _compared(
    model: LoadedModel,
    inputs: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    path: Path,
) -> Exported:
    logits, maps = model.runner.run_many(inputs)
    apart = float(np.abs(outputs["logits"] - logits).max())
    maps_apart = None
    if "maps" in outputs:
        largest = max(1.0, float(np.abs(maps).max()))
        maps_apart = float(np.abs(outputs["maps"] - maps).max()) / largest
    if not max(apart, maps_apart or 0.0) <= TOLERANCE:
        raise ModelError(
            f"What was written says something else: logits differ by {apart:.2g}, "
            f"more than {TOLERANCE:g}. It was thrown away.",
            reason_code="export_differs",
        )
    return Exported(path, len(inputs), apart, maps_apart)


def _move(exported: Path, path: Path) -> None:
    """Put what was written in its place; an OpenVINO graph is two files."""
    weights = exported.with_suffix(".bin")
    if exported.suffix == ".xml":
        shutil.copyfile(weights, path.with_suffix(".bin"))
    exported.rename(path)
