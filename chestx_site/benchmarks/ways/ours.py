"""ChestX as in a worker: checks, preprocessing, pass and heat map grids."""

from __future__ import annotations

import numpy as np

from chestx_site.benchmarks.ways import Setting
from ml.gate.header import check_image
from ml.inference import load_model


class Ours:
    """The whole call, from display values to a ModelOutput."""

    whole = True

    def __init__(self, setting: Setting) -> None:
        """Load the model as a worker does."""
        self._model = load_model(
            setting.card,
            cache_dir=setting.cache_dir,
            threads=setting.threads,
            runner=setting.runner,
            precision=setting.precision,
        )

    def one(self, image: np.ndarray) -> np.ndarray:
        """Check and read one image; the gate runs, but does not reject."""
        check_image(image, colour=False)
        model_output = self._model.read(image, apply_gate=False)
        return np.array([score.probability for score in model_output.scores])

    def many(self, images: np.ndarray) -> None:
        """Check and read a batch."""
        for image in images:
            check_image(image, colour=False)
        self._model.read_many(list(images), apply_gate=False)


load = Ours
