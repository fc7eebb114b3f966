"""Compiled forward pass with TensorFlow (tf.function), without heat maps."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from chestx_site.benchmarks.ways import Setting
from ml.networks.weights_file import load_network


class TensorFlowPass:
    """A concrete graph for batches of any size."""

    whole = False

    def __init__(self, setting: Setting) -> None:
        """Load the network and trace it."""
        card = setting.card
        if setting.threads:
            tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
        network = load_network(card, card.weights_file)
        shape = (None, card.input_size, card.input_size, card.input_channels)
        self._run = tf.function(
            lambda images: network(images, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
        )

    def one(self, image: np.ndarray) -> np.ndarray:
        """Run one pass; logits."""
        return self._run(tf.constant(image[None]))[0].numpy()[0]

    def many(self, images: np.ndarray) -> None:
        """Run one pass of a batch."""
        self._run(tf.constant(images))[0].numpy()


load = TensorFlowPass
