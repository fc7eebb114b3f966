"""The usual way: `model.predict`, then Grad-CAM of the top class with GradientTape."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from chestx_site.benchmarks.ways import Setting
from ml.benchmark import UsualReader


class KerasTape:
    """From display values to the top label's grid, as tutorials do it."""

    whole = True

    def __init__(self, setting: Setting) -> None:
        """Load the network."""
        if setting.threads:
            tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
        self._reader = UsualReader(setting.card)

    def one(self, image: np.ndarray) -> np.ndarray:
        """Read one image; probabilities."""
        return self._reader.read(image).probabilities

    def many(self, images: np.ndarray) -> None:
        """Read a batch with one call of `predict` and one tape."""
        self._reader.read_many(images)


load = KerasTape
