"""From a network that somebody else trained to a model folder with an honest card."""

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
from ml.exchange.import_child import IMAGES_NAME, REPORT_NAME, WEIGHTS_NAMES
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
# How far probabilities may move from the user's file to the graph that runs.
TOLERANCE = 1e-3
# Less than this, over all sanity images, is one answer to everything.
CONSTANT = 1e-6


@dataclass(frozen=True)
class Imported:
    """The folder of an imported model, and what its sanity images showed."""

    folder: Path
    checked: Mapping[str, Any]


def import_model(
    request: ImportRequest,
    *,
    images: Mapping[str, np.ndarray],
    weights_dir: Path,
    cache_dir: Path,
) -> Imported:
    """Import a network: checked, run on a few images, with its card.

    Args:
        request: What the user says.
        images: The sanity set: name to display values, uint16 (H, W).
        weights_dir: Where model folders are; the new one appears when it is complete.
        cache_dir: For the graph that is run.

    Raises:
        ModelError: The file or the request cannot be used; nothing is left behind.
    """
    _check(request, images)
    final = weights_dir / request.name / request.version
    if final.exists():
        raise ModelError(
            f"{request.name} {request.version} exists: choose another --version."
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    own = final.with_name(f".{request.version}.{os.getpid()}.tmp")
    own.mkdir()
    try:
        checked = _build(request, images, own, cache_dir)
        own.rename(final)
    finally:
        shutil.rmtree(own, ignore_errors=True)
        if not any(final.parent.iterdir()):
            final.parent.rmdir()
    return Imported(final, checked)


def source_sha256(source: Path) -> str:
    """Return the hash of a file, or of a SavedModel's folder."""
    return folder_sha256(source) if source.is_dir() else file_sha256(source)


def _check(request: ImportRequest, images: Mapping[str, np.ndarray]) -> None:
    if not request.file.exists():
        raise ModelError(f"There is no {request.file}.")
    if not NAME.fullmatch(request.name) or not VERSION.fullmatch(request.version):
        raise ModelError(
            "A name has small letters, digits and hyphens, a version numbers and dots."
        )
    if len(set(request.labels)) != len(request.labels) or "" in request.labels:
        raise ModelError("Every label needs a name of its own.")
    if not request.labels or request.task not in TASKS:
        raise ModelError(f"Labels are missing, or the task is none of {TASKS}.")
    if request.scaling not in SCALING_NAMES:
        raise ModelError(f"A scaling is one of: {', '.join(SCALING_NAMES)}.")
    if len(images) < 2:
        raise ModelError("The sanity set needs two images at least.")


def _build(
    request: ImportRequest,
    images: Mapping[str, np.ndarray],
    own: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    """Write weights and card into `own`; return what the sanity images showed."""
    with tempfile.TemporaryDirectory(prefix="import-") as scratch:
        found = _opened_in_child(request, images, Path(scratch))
        name = WEIGHTS_NAMES[found["format"]]
        shutil.copyfile(Path(scratch) / name, own / name)
    card = card_of_import(
        request,
        found,
        weights_name=name,
        weights_sha256=file_sha256(own / name),
        source_sha256=source_sha256(request.file),
    )
    _write(own, card)
    model = load_model(read_card(own / "card.json"), cache_dir=cache_dir)
    assert isinstance(model, LoadedModel)  # noqa: S101 - the card names no members
    card["imported"]["checked"] = _sanity(
        model, images, found["original"], told_logits=request.activation == "logits"
    )
    _write(own, card)
    return card["imported"]["checked"]


def _opened_in_child(
    request: ImportRequest, images: Mapping[str, np.ndarray], scratch: Path
) -> dict[str, Any]:
    asked = {
        "file": str(request.file.resolve()),
        "labels": request.labels,
        "task": request.task,
        "size": request.size,
        "scaling": request.scaling,
        "activation": request.activation,
    }
    (scratch / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
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
        raise ModelError(f"The import failed: {failure}") from failure
    report = json.loads((scratch / REPORT_NAME).read_text(encoding="utf-8"))
    if "refused" in report:
        raise ModelError(report["refused"], reason_code=report["reason_code"])
    return report


def _sanity(
    model: LoadedModel,
    images: Mapping[str, np.ndarray],
    original: Any,
    *,
    told_logits: bool,
) -> dict[str, Any]:
    """Read the sanity images as they will be read; refuse what makes no sense.

    Raises:
        ModelError: An output is not finite, or the same for every image, or not what
            the user's own file says; or what was taken for logits are probabilities.
    """
    if original is not None and not told_logits:
        _refuse_hidden_probabilities(model, np.array(original, np.float64))
    results = [model.read(image) for image in images.values()]
    scores = np.array(
        [[s.probability for s in model_output.scores] for model_output in results]
    )
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        raise ModelError("Not every output is a number between 0 and 1.")
    spread = float(np.ptp(scores, axis=0).max())
    if spread < CONSTANT:
        raise ModelError(
            f"The network gives all {len(images)} images the same scores. "
            "Is --scaling right?"
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
        apart = float(np.abs(_probabilities(model, original) - scores).max())
        checked["differs_from_the_file_by"] = apart
        if not apart <= TOLERANCE:
            raise ModelError(
                f"The imported network differs from the file by {apart:.2g}."
            )
    return checked


def _refuse_hidden_probabilities(model: LoadedModel, outputs: np.ndarray) -> None:
    """Refuse outputs that had their softmax or sigmoid where it was not found."""
    if model.card.raw["imported"]["activation"]:
        return
    told = outputs.min() >= 0 and outputs.max() <= 1
    if model.card.task == "softmax":
        told = told and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
    if told:
        raise ModelError(
            "The network's outputs are probabilities already, by a layer that was not "
            "recognised: end it with a softmax or sigmoid. If they are logits that "
            "happen to lie from 0 to 1, say --activation logits."
        )


def _probabilities(model: LoadedModel, original: Sequence[Any]) -> np.ndarray:
    """Return what the user's file says as probabilities, whatever it ends with."""
    outputs = np.array(original, np.float64)
    if model.card.raw["imported"]["activation"]:
        return outputs
    return softmax(outputs) if model.card.task == "softmax" else sigmoid(outputs)


def _write(folder: Path, card: dict[str, Any]) -> None:
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / "card.json").write_text(text, encoding="utf-8")


def named(request: ImportRequest, name: str) -> ImportRequest:
    """Return the request with a name, by default that of its file."""
    words = re.sub(r"[^a-z0-9]+", "-", request.file.stem.lower()).strip("-")
    return replace(request, name=name or words)
