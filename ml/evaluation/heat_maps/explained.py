"""An image as a model saw it, with the heat of every label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ml.calibration import probabilities
from ml.cards.card import Card
from ml.datasets.manifest import ManifestRow
from ml.errors import ModelError
from ml.inference import LoadedModel
from ml.networks import gradcam
from ml.networks.heads import Head
from ml.pixels import read_display
from ml.preprocessing import Geometry
from ml.runners.runner import Runner


@dataclass(frozen=True)
class Explained:
    """One pass: the network's input, scores, and heat in units of the logit.

    `square` is float32 (size, size, channels), `scores` float (labels,), `heat`
    float32 (labels, rows, columns).
    """

    square: np.ndarray
    geometry: Geometry
    scores: np.ndarray
    heat: np.ndarray


def explain(model: LoadedModel, row: ManifestRow, root: Path) -> Explained:
    """Read an image of a manifest, without the gate.

    Raises:
        MlError: Its pixels cannot be read.
        OSError: The file cannot be read.
    """
    display = read_display((root / row.path).read_bytes())
    square, geometry = model.prepared(display)
    logits, heat = heat_of(model.runner, square)
    return Explained(square, geometry, scores_of(model.card, logits), heat)


def heat_of(runner: Runner, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (labels,) and heat float32 (labels, rows, columns) of an input."""
    logits, maps = runner.run(square)
    cells, scales = gradcam.grids(maps, head_of(runner))
    return logits, cells.astype(np.float32) * scales[:, None, None]


def signed_heat(runner: Runner, square: np.ndarray) -> np.ndarray:
    """Return heat with its negative part, float32 like that of `heat_of`."""
    _, maps = runner.run(square)
    rows, columns, features = maps.shape
    raw = maps.reshape(-1, features).astype(np.float32) @ head_of(runner).weights(maps)
    return raw.T.reshape(-1, rows, columns)


def head_of(runner: Runner) -> Head:
    """Return the head of a network, from which heat maps are computed.

    Raises:
        ModelError: The network shows no maps.
    """
    if runner.head is None:
        raise ModelError("A network without its last maps has no heat maps.")
    return runner.head


def scores_of(card: Card, logits: np.ndarray) -> np.ndarray:
    """Return the probabilities that a reader is shown, float64 (labels,)."""
    return probabilities(
        logits, task=card.task, names=card.label_names, calibration=card.calibration
    )


def enlarged(grid: np.ndarray, *, size: int) -> np.ndarray:
    """Return a grid over the whole square, float32 (size, size), as it is drawn."""
    return cv2.resize(
        grid.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
