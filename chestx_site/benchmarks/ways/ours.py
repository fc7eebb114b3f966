"""ChestX as in a worker: checks, preprocessing, pass and heat map grids.

A model that shares its network is read with all that share it, in one pass.
"""

from __future__ import annotations

import numpy as np

from chestx_site.benchmarks.ways import Setting
from ml.cards.card import cards_sharing
from ml.gate.header import check_image
from ml.inference import load_model, read_with_all
from ml.model_output import ModelOutput


class Ours:
    """The whole call, from display values to a ModelOutput."""

    whole = True

    def __init__(self, setting: Setting) -> None:
        """Load the model as a worker does, and those that share its network."""
        self._name = setting.card.name
        self._models = [
            load_model(
                card,
                cache_dir=setting.cache_dir,
                threads=setting.threads,
                runner=setting.runner,
                precision=setting.precision,
            )
            for card in cards_sharing(setting.card)
        ]

    def one(self, image: np.ndarray) -> np.ndarray:
        """Check and read one image with every model; the gate does not reject.

        Returns:
            The probabilities of the model that is measured.
        """
        check_image(image, colour=False)
        outputs = read_with_all(self._models, image, apply_gate=False)
        (own,) = (
            output
            for output in outputs
            if isinstance(output, ModelOutput) and output.model == self._name
        )
        return np.array([score.probability for score in own.scores])

    def many(self, images: np.ndarray) -> None:
        """Check and read a batch, one image after the other as a CPU worker does."""
        for image in images:
            self.one(image)


load = Ours
