"""Initial weights of a run: random, of an installed model, or from ImageNet.

Layers are matched by name and shape; what does not fit (the head of another task)
keeps its random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.cards.card import WEIGHTS_DIR
from ml.errors import TrainingError
from ml.networks.weights_file import open_weights
from ml.training.start.efficientnet_lite import (
    EFFICIENTNET_LITE,
    efficientnet_lite_arrays,
)
from ml.training.start.imagenet import imagenet_arrays

if TYPE_CHECKING:
    import keras


def initialise(
    network: keras.Model, source: str, *, weights_dir: Path = WEIGHTS_DIR
) -> int:
    """Fill a fresh network from `source`; return how many layers were filled.

    Args:
        network: The network to fill, in place.
        source: "random", "imagenet", "efficientnet-lite0" to "-lite2" (ImageNet, from
            a package), "name/version" of an installed model, or a `.keras` file.
        weights_dir: Where installed models are.

    Raises:
        TrainingError: There is no such file, none of its layers fits, or the weights
            of ImageNet cannot be had.
    """
    if source == "random":
        return 0
    if source == "imagenet":
        return _fill(network, imagenet_arrays(network))
    if source in EFFICIENTNET_LITE:
        return _fill(network, efficientnet_lite_arrays(network, source))
    installed = weights_dir / source / "weights.keras"
    path = installed if installed.exists() else Path(source)
    if not path.exists():
        raise TrainingError(
            "There are no initial weights %(name)s: give random, imagenet, "
            "efficientnet-lite0, NAME/VERSION of an installed model or a .keras file.",
            params={"name": source},
        )
    filled = _fill(network, _arrays_of(open_weights(path)))
    if not filled:
        raise TrainingError(
            "No layer of %(path)s fits this network.", params={"path": path}
        )
    return filled


def _arrays_of(source: keras.Model) -> dict[str, list[np.ndarray]]:
    return {
        layer.name: [np.asarray(v.numpy(), np.float32) for v in layer.variables]
        for layer in source.layers
    }


def _fill(target: keras.Model, arrays: Mapping[str, list[np.ndarray]]) -> int:
    """Assign what fits by name and shapes; return how many layers were filled."""
    filled = 0
    for layer in target.layers:
        known = arrays.get(layer.name)
        if known is None or not layer.variables:
            continue
        if [a.shape for a in known] != [tuple(v.shape) for v in layer.variables]:
            continue
        for variable, array in zip(layer.variables, known, strict=True):
            variable.assign(array.astype(str(variable.dtype)))
        filled += 1
    return filled
