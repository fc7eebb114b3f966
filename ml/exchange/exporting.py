"""Export a model to another format, and check that its outputs are the same there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards.card import GRAPH_FORMAT, Card
from ml.errors import ModelError
from ml.exchange.export_child import (
    EXPORTED_NAMES,
    INPUTS_NAME,
    OUTPUTS_NAME,
    REQUEST_NAME,
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
    """An exported file, and how much its outputs differ from those of the model.

    `logits_apart` is the largest difference of the logits, `maps_apart` that of the
    last maps as a share of their largest value; None if the model has no maps.
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

    A head becomes a network of its own, with no logits but its own.

    Args:
        card: The model's card.
        file_format: One of `FORMATS`.
        path: The new file, with the format's suffix, or the new folder of a SavedModel.
        images: Display values, uint16 (H, W), on which the outputs are compared.
        cache_dir: Cache of the graph that the outputs are compared with.

    Raises:
        ModelError: The model cannot be exported, or the outputs of the exported file
            differ; then nothing is written.
    """
    _check(card, file_format, path, images)
    model = load_model(card, cache_dir=cache_dir)
    assert isinstance(model, LoadedModel)  # noqa: S101 - _check let no ensemble pass
    inputs = np.stack([_input(card, image) for image in images.values()])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        scratch = Path(folder)
        np.save(scratch / INPUTS_NAME, inputs)
        _export_in_child(card, file_format, scratch)
        with np.load(scratch / OUTPUTS_NAME) as outputs:
            exported = _compared(model, inputs, outputs, path)
        _move(scratch / EXPORTED_NAMES[file_format], path)
    beside = path.with_name(path.name + CARD_SUFFIX)
    text = json.dumps(_own_card(card), indent=2, ensure_ascii=False) + "\n"
    beside.write_text(text, encoding="utf-8")
    return exported


def _own_card(card: Card) -> dict[str, Any]:
    """Return the card for a file of its own: a head's without its backbone."""
    own = {key: value for key, value in card.raw.items() if key != "backbone"}
    return {**own, "weights": {**own["weights"], "file": card.weights_file.name}}


def _check(
    card: Card, file_format: str, path: Path, images: Mapping[str, np.ndarray]
) -> None:
    if file_format not in FORMATS:
        raise ModelError(
            "There is no format %(format)s. Known: %(known)s.",
            params={"format": file_format, "known": ", ".join(FORMATS)},
        )
    if card.members:
        raise ModelError(
            "%(name)s is an ensemble without a network of its own. Export its members "
            "instead: %(members)s.",
            params={
                "name": card.name,
                "members": ", ".join(member.name for member in card.members),
            },
        )
    if card.weights_sha256 is None:
        raise ModelError(
            "%(name)s %(version)s has no weights.",
            params={"name": card.name, "version": card.version},
        )
    if card.weights_format == GRAPH_FORMAT:
        raise ModelError(
            "%(name)s was imported from a SavedModel and exists only as an OpenVINO "
            "graph. Use the SavedModel that it was imported from.",
            params={"name": card.name},
        )
    suffix = Path(EXPORTED_NAMES[file_format]).suffix
    if path.suffix != suffix and suffix:
        raise ModelError(
            "The name of a %(format)s file must end with %(suffix)s.",
            params={"format": file_format, "suffix": suffix},
        )
    if path.exists():
        raise ModelError("%(path)s already exists.", params={"path": str(path)})
    if not images:
        raise ModelError("At least one image is needed to compare the outputs.")


def _input(card: Card, image: np.ndarray) -> np.ndarray:
    return preprocess(
        image, size=card.input_size, channels=card.input_channels, scaling=card.scaling
    )[0]


def _export_in_child(card: Card, file_format: str, folder: Path) -> None:
    request = {
        "weights": str(card.weights_file.resolve()),
        "architecture": card.architecture,
        "classes": card.network_outputs,
        "columns": list(card.backbone.columns) if card.backbone else None,
        "channels": card.input_channels,
        "size": card.input_size,
        "format": file_format,
    }
    (folder / REQUEST_NAME).write_text(json.dumps(request), encoding="utf-8")
    try:
        run_module(
            "ml.exchange.export_child",
            [f"--folder={folder.resolve()}"],
            keras_backend="tensorflow",
            timeout_s=EXPORT_TIMEOUT_S,
        )
    except ChildFailed as failure:
        raise ModelError(
            "%(name)s could not be exported: %(failure)s",
            params={"name": card.name, "failure": str(failure)},
            reason_code="export_failed",
        ) from failure


def _compared(
    model: LoadedModel,
    inputs: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    path: Path,
) -> Exported:
    logits, maps = model.runner.run_many(inputs)
    logits_apart = float(np.abs(outputs["logits"] - logits).max())
    maps_apart = None
    if "maps" in outputs:
        largest = max(1.0, float(np.abs(maps).max()))
        maps_apart = float(np.abs(outputs["maps"] - maps).max()) / largest
    if not max(logits_apart, maps_apart or 0.0) <= TOLERANCE:
        raise ModelError(
            "The logits of the exported file differ by %(difference)s, more than "
            "%(tolerance)s. The file was deleted.",
            params={
                "difference": f"{logits_apart:.2g}",
                "tolerance": f"{TOLERANCE:g}",
            },
            reason_code="export_differs",
        )
    return Exported(path, len(inputs), logits_apart, maps_apart)


def _move(exported: Path, path: Path) -> None:
    """Move the exported file to its final path; an OpenVINO graph is two files."""
    weights = exported.with_suffix(".bin")
    if exported.suffix == ".xml":
        shutil.copyfile(weights, path.with_suffix(".bin"))
    exported.rename(path)
