"""The usual way: `model.predict`, then Grad-CAM of the top class with GradientTape.

It is what tutorials show, with the same weights and preprocessing as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from chestx_site.benchmarks.ways import Setting
from ml.calibration import probabilities
from ml.errors import ModelError
from ml.networks.weights_file import load_network
from ml.preprocessing import preprocess


@dataclass(frozen=True)
class TapeOutput:
    """Probabilities (labels,), the index of the top label, and its grid (h, w)."""

    probabilities: np.ndarray
    top: int
    grid: np.ndarray


class KerasTape:
    """A network under Keras on TensorFlow, from display values to the top grid."""

    whole = True

    def __init__(self, setting: Setting) -> None:
        """Load the network.

        Raises:
            ModelError: Keras runs on another backend, or the model has no weights.
        """
        if keras.backend.backend() != "tensorflow":
            raise ModelError("The comparison needs Keras on its TensorFlow backend.")
        if setting.threads:
            tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
        self._card = setting.card
        if self._card.weights_file is None:
            raise ModelError("The comparison needs a model with weights of its own.")
        self._network = load_network(self._card, self._card.weights_file)
        backbone = self._card.backbone
        # Of a network that several models share, the logits of this one.
        self._first = backbone.columns[0] if backbone else 0
        self._classifier = keras.Model(self._network.inputs, self._network.outputs[0])

    def one(self, image: np.ndarray) -> np.ndarray:
        """Read one image; probabilities."""
        return self.read([image])[0].probabilities

    def many(self, images: np.ndarray) -> None:
        """Read a batch with one call of `predict` and one tape."""
        self.read(list(images))

    def read(self, displays: Sequence[np.ndarray]) -> list[TapeOutput]:
        """Read images, display values uint16 (H, W)."""
        images = np.stack(
            [
                preprocess(
                    display,
                    size=self._card.input_size,
                    channels=self._card.input_channels,
                    scaling=self._card.scaling,
                )[0]
                for display in displays
            ]
        )
        of_network = self._classifier.predict(images, verbose=0)
        logits = of_network[:, self._first :][:, : len(self._card.labels)]
        scores = probabilities(
            logits,
            task=self._card.task,
            names=self._card.label_names,
            calibration=self._card.calibration,
        )
        tops = logits.argmax(axis=1)
        grids = self._grids(images, self._first + tops)
        return [TapeOutput(scores[i], int(tops[i]), grids[i]) for i in range(len(tops))]

    def _grids(self, images: np.ndarray, tops: np.ndarray) -> np.ndarray:
        with tf.GradientTape() as tape:
            _, maps = self._network(images, training=False)
            tape.watch(maps)
            # The head again, so that the tape sees the maps before it.
            pooled = self._network.get_layer("pool")(maps)
            logits = self._network.get_layer("logits")(pooled)
            score = tf.reduce_sum(tf.gather(logits, tops, axis=1, batch_dims=1))
        weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2))
        raw = tf.nn.relu(
            tf.reduce_sum(maps * weights[:, None, None, :], axis=-1)
        ).numpy()
        largest = raw.max(axis=(1, 2), keepdims=True)
        return raw / np.where(largest > 0, largest, 1.0)


load = KerasTape
