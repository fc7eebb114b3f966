"""Run a network with Keras, on the backend that KERAS_BACKEND selects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ml.cards.card import GRAPH_FORMAT, Card
from ml.errors import ModelError
from ml.networks.head_layers import head_of_network
from ml.networks.weights_file import load_network
from ml.runners.runner import NO_MAPS, versions_of


class KerasRunner:
    """Keras on the backend that KERAS_BACKEND selects.

    With bfloat16 it uses mixed precision: weights, logits and maps are float32.
    """

    def __init__(self, card: Card, weights: Path, *, precision: str) -> None:
        import keras

        if card.weights_format == GRAPH_FORMAT:
            raise ModelError(
                "%(name)s is an OpenVINO graph, which Keras cannot run.",
                params={"name": card.name},
            )
        self.precision = precision
        dtype = "float32" if precision == "float32" else f"mixed_{precision}"
        self._network = load_network(card, weights, dtype=dtype)
        self.head = head_of_network(self._network) if card.heat_maps else None
        backend = keras.backend.backend()
        self.backend = f"keras-{backend}"
        self.library_versions: Mapping[str, str] = versions_of(
            "keras", backend, "numpy", "opencv-python-headless"
        )

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass."""
        logits, maps = self.run_many(image[None])
        return logits[0], maps[0]

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one compiled pass.

        The batch is padded to a power of two with images of zeros, so that few batch
        sizes are compiled.
        """
        count = len(images)
        missing = (1 << (count - 1).bit_length()) - count
        full = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        outputs = self._network.predict_on_batch(full)
        if self.head is None:
            return np.asarray(outputs)[:count], np.stack([NO_MAPS] * count)
        logits, maps = outputs
        return np.asarray(logits)[:count], np.asarray(maps)[:count]
