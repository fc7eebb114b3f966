"""Baseline for speed: `model.predict`, then Grad-CAM with GradientTape.

This is how tutorials score an image with a heat map of the top class. The weights and
the preprocessing are the same as in `ml.inference`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.calibration import probabilities
from ml.cards.card import Card
from ml.errors import ModelError
from ml.inference import LoadedModel
from ml.networks.weights_file import load_network
from ml.preprocessing import preprocess


@dataclass(frozen=True)
class UsualOutput:
    """Probabilities (labels,), the index of the top label, and its grid (h, w)."""

    probabilities: np.ndarray
    top: int
    grid: np.ndarray


class UsualReader:
    """A network in Keras on TensorFlow, used as in tutorials."""

    def __init__(self, card: Card) -> None:
        """Load the network.

        Raises:
            ModelError: TensorFlow is not installed, or is not Keras' backend.
        """
        import keras

        if keras.backend.backend() != "tensorflow":
            raise ModelError("The comparison needs Keras on its TensorFlow backend.")
        try:
            # Only the comparison needs it: Keras has no GradientTape.
            self._tensorflow = importlib.import_module("tensorflow")
        except ImportError as error:
            raise ModelError(
                "The comparison needs TensorFlow: pip install -r requirements.txt"
            ) from error
        self._card = card
        self._network = load_network(card, card.weights_file)
        self._classifier = keras.Model(self._network.inputs, self._network.outputs[0])

    def read(self, display: np.ndarray) -> UsualOutput:
        """Score one image, display values uint16 (H, W)."""
        return self.read_many([display])[0]

    def read_many(self, displays: Sequence[np.ndarray]) -> list[UsualOutput]:
        """Score images with one call of `predict` and one tape."""
        size, channels = self._card.input_size, self._card.input_channels
        images = np.stack(
            [
                preprocess(
                    each, size=size, channels=channels, scaling=self._card.scaling
                )[0]
                for each in displays
            ]
        )
        logits = self._classifier.predict(images, verbose=0)
        tops = logits.argmax(axis=1)
        grids = self._grids(images, tops)
        probability = probabilities(
            logits,
            task=self._card.task,
            names=self._card.label_names,
            calibration=self._card.calibration,
        )
        return [
            UsualOutput(probability[i], int(tops[i]), grids[i])
            for i in range(len(images))
        ]

    def _grids(self, images: np.ndarray, tops: np.ndarray) -> np.ndarray:
        tensorflow = self._tensorflow
        with tensorflow.GradientTape() as tape:
            _, maps = self._network(images, training=False)
            tape.watch(maps)
            # The head again, so that the tape sees the maps before it.
            pooled = self._network.get_layer("pool")(maps)
            logits = self._network.get_layer("logits")(pooled)
            score = tensorflow.reduce_sum(
                tensorflow.gather(logits, tops, axis=1, batch_dims=1)
            )
        weights = tensorflow.reduce_mean(tape.gradient(score, maps), axis=(1, 2))
        raw = tensorflow.nn.relu(
            tensorflow.reduce_sum(maps * weights[:, None, None, :], axis=-1)
        ).numpy()
        largest = raw.max(axis=(1, 2), keepdims=True)
        return raw / np.where(largest > 0, largest, 1.0)


def differences(
    ours: LoadedModel, usual: UsualReader, image: np.ndarray
) -> tuple[float, float]:
    """Return the largest differences of probabilities and of the top label's grid."""
    model_output, expected = ours.read(image, apply_gate=False), usual.read(image)
    probability = np.array([score.probability for score in model_output.scores])
    grid = model_output.scores[expected.top].grid.astype(np.float32)
    return (
        float(np.abs(probability - expected.probabilities).max()),
        float(np.abs(grid - expected.grid).max()),
    )
