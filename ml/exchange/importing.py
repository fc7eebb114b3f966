"""Import a network from another source as a model folder with a card."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.calibration import sigmoid, softmax
from ml.cards.card import TASKS, read_card
from ml.errors import ModelError
from ml.exchange.import_child import (
    IMAGES_NAME,
    REPORT_NAME,
    REQUEST_NAME,
    WEIGHTS_NAMES,
)
from ml.exchange.import_request import ImportRequest
from ml.exchange.imported_card import card_of_import
from ml.exchange.saved_model import folder_sha256
from ml.inference import LoadedModel, load_model
from ml.networks.child_process import ChildFailed, run_module
from ml.networks.weights_file import file_sha256
from ml.preprocessing import OUR_SCALING, SCALINGS

IMPORT_TIMEOUT_S = 900
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
VERSION = re.compile(r"\d+(\.\d+){0,3}")
SCALING_NAMES = (*SCALINGS, OUR_SCALING)
# Largest difference allowed between probabilities of the user's file and of the graph.
TOLERANCE = 1e-3
# If the scores of all sanity images differ by less, the network ignores its input.
SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Imported:
    """The folder of an imported model, and the results for its sanity images."""

    folder: Path
    checked: Mapping[str, Any]


def import_model(
    request: ImportRequest,
    *,
    images: Mapping[str, np.ndarray],
    weights_dir: Path,
    cache_dir: Path,
) -> Imported:
    """Import a network, check it on a few images, and write its card.

    Args:
        request: The user's request.
        images: The sanity images: name to display values, uint16 (H, W).
        weights_dir: The folder of all models; the new one appears when it is complete.
        cache_dir: Cache of the graph that is run.

    Raises:
        ModelError: The file or the request cannot be used; nothing is left behind.
    """
    _check(request, images)
    final = weights_dir / request.name / request.version
    if final.exists():
        raise ModelError(
            "%(name)s %(version)s already exists. Choose another --version.",
            params={"name": request.name, "version": request.version},
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.with_name(f".{request.version}.{os.getpid()}.tmp")
    unfinished.mkdir()
    try:
        checked = _build(request, images, unfinished, cache_dir)
        unfinished.rename(final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not any(final.parent.iterdir()):
            final.parent.rmdir()
    return Imported(final, checked)


def source_sha256(source: Path) -> str:
    """Return the hash of a file, or of a SavedModel's folder."""
    return folder_sha256(source) if source.is_dir() else file_sha256(source)


def _check(request: ImportRequest, images: Mapping[str, np.ndarray]) -> None:
    if not request.file.exists():
        raise ModelError("%(file)s does not exist.", params={"file": str(request.file)})
    if not NAME.fullmatch(request.name) or not VERSION.fullmatch(request.version):
        raise ModelError(
            "A name has lower-case letters, digits and hyphens; a version has numbers "
            "and dots."
        )
    if len(set(request.labels)) != len(request.labels) or "" in request.labels:
        raise ModelError("Every label needs a name, and no two may be the same.")
    if not request.labels or request.task not in TASKS:
        raise ModelError(
            "Give at least one label, and one of these tasks: %(tasks)s.",
            params={"tasks": ", ".join(TASKS)},
        )
    if request.scaling not in SCALING_NAMES:
        raise ModelError(
            "There is no scaling %(scaling)s. Known: %(known)s.",
            params={"scaling": request.scaling, "known": ", ".join(SCALING_NAMES)},
        )
    if len(images) < 2:
        raise ModelError("At least two images are needed to check the network.")


def _build(
    request: ImportRequest,
    images: Mapping[str, np.ndarray],
    unfinished: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    """Write weights and card; return the results for the sanity images."""
    with tempfile.TemporaryDirectory(prefix="import-") as scratch:
        report = _import_in_child(request, images, Path(scratch))
        name = WEIGHTS_NAMES[report["format"]]
        shutil.copyfile(Path(scratch) / name, unfinished / name)
    card = card_of_import(
        request,
        report,
        weights_name=name,
        weights_sha256=file_sha256(unfinished / name),
        source_sha256=source_sha256(request.file),
    )
    _write(unfinished, card)
    model = load_model(read_card(unfinished / "card.json"), cache_dir=cache_dir)
    assert isinstance(model, LoadedModel)  # noqa: S101 - the card names no members
    checked = _check_on_images(
        model,
        images,
        report["original"],
        declared_logits=request.activation == "logits",
    )
    card["imported"]["checked"] = checked
    _write(unfinished, card)
    return checked


def _import_in_child(
    request: ImportRequest, images: Mapping[str, np.ndarray], scratch: Path
) -> dict[str, Any]:
    options = {
        "file": str(request.file.resolve()),
        "labels": request.labels,
        "task": request.task,
        "size": request.size,
        "scaling": request.scaling,
        "activation": request.activation,
    }
    (scratch / REQUEST_NAME).write_text(json.dumps(options), encoding="utf-8")
    arrays = {f"{i:04d}": image for i, image in enumerate(images.values())}
    np.savez(scratch / IMAGES_NAME, allow_pickle=False, **arrays)
    try:
        run_module(
            "ml.exchange.import_child",
            [f"--folder={scratch}"],
            keras_backend="tensorflow",
            timeout_s=IMPORT_TIMEOUT_S,
        )
    except ChildFailed as failure:
        raise ModelError(
            "The import failed: %(failure)s", params={"failure": str(failure)}
        ) from failure
    report: dict[str, Any] = json.loads(
        (scratch / REPORT_NAME).read_text(encoding="utf-8")
    )
    if "error" in report:
        raise ModelError.from_json(report["error"])
    return report


def _check_on_images(
    model: LoadedModel,
    images: Mapping[str, np.ndarray],
    original: Any,
    *,
    declared_logits: bool,
) -> dict[str, Any]:
    """Score the sanity images with the imported model, and check the scores.

    Args:
        model: The imported model.
        images: The sanity images.
        original: Outputs of the user's file for them, None if it could not be run.
        declared_logits: Whether the user declared the outputs to be logits.

    Raises:
        ModelError: A score is not finite, or the same for every image, or differs from
            that of the user's file; or outputs taken for logits are probabilities.
    """
    if original is not None and not declared_logits:
        _refuse_hidden_probabilities(model, np.array(original, np.float64))
    results = [model.read(image) for image in images.values()]
    scores = np.array(
        [[s.probability for s in model_output.scores] for model_output in results]
    )
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        raise ModelError("Not every output is a number between 0 and 1.")
    spread = float(np.ptp(scores, axis=0).max())
    if spread < SMALLEST_SPREAD:
        raise ModelError(
            "The network gives all %(images)d images the same scores. Check --scaling.",
            params={"images": len(images)},
        )
    checked: dict[str, Any] = {
        "images": len(images),
        "lowest": round(float(scores.min()), 6),
        "highest": round(float(scores.max()), 6),
        "largest_spread_of_a_label": round(spread, 6),
        "labels_with_heat_maps": sum(
            any(model_output.scores[i].scale > 0 for model_output in results)
            for i in range(scores.shape[1])
        ),
    }
    if original is not None:
        difference = float(np.abs(_probabilities(model, original) - scores).max())
        checked["differs_from_the_file_by"] = difference
        if not difference <= TOLERANCE:
            raise ModelError(
                "The scores of the imported network differ from those of the file by "
                "%(difference)s.",
                params={"difference": f"{difference:.2g}"},
            )
    return checked


def _refuse_hidden_probabilities(model: LoadedModel, outputs: np.ndarray) -> None:
    """Raise an error if the outputs are probabilities of an unrecognised layer."""
    if model.card.raw["imported"]["activation"]:
        return
    are_probabilities = outputs.min() >= 0 and outputs.max() <= 1
    if model.card.task == "softmax":
        sums_to_one = np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
        are_probabilities = are_probabilities and sums_to_one
    if are_probabilities:
        raise ModelError(
            "The outputs of the network are already probabilities, made by a layer "
            "that is not recognised. End the network with softmax or sigmoid. If the "
            "outputs are logits that happen to be between 0 and 1, add --activation "
            "logits."
        )


def _probabilities(model: LoadedModel, original: Sequence[Any]) -> np.ndarray:
    """Return the outputs of the user's file as probabilities."""
    outputs = np.array(original, np.float64)
    if model.card.raw["imported"]["activation"]:
        return outputs
    return softmax(outputs) if model.card.task == "softmax" else sigmoid(outputs)


def _write(folder: Path, card: dict[str, Any]) -> None:
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / "card.json").write_text(text, encoding="utf-8")


def named(request: ImportRequest, name: str) -> ImportRequest:
    """Return the request with a name; without one, that of its file."""
    words = re.sub(r"[^a-z0-9]+", "-", request.file.stem.lower()).strip("-")
    return replace(request, name=name or words)
