"""One film with the heat maps of all labels, against the usual way of the top one's."""

from __future__ import annotations

import os
from collections.abc import Callable

from django.conf import settings

from chestx_site.benchmarks.figures import BenchmarkError, Figures
from ml.benchmark import compare_with_gradient_tape
from ml.errors import MlError
from ml.registry import get_card
from patients.chest_drawing import BITS, draw_chest

_FILMS = 4
_ROUNDS = 25


def measure(say: Callable[[str], None]) -> Figures:
    """Time both ways in turns, on drawn films, with the default model's weights.

    Raises:
        BenchmarkError: TensorFlow is not installed, or the model is not there.
    """
    say("Inference: loading both ways")
    # Read by Keras when it is imported, which nothing has done yet.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    films = [draw_chest(seed) << (16 - BITS) for seed in range(_FILMS)]
    try:
        return compare_with_gradient_tape(
            get_card(settings.DEFAULT_MODEL),
            films,
            cache_dir=settings.INFERENCE_CACHE_DIR,
            rounds=_ROUNDS,
            threads=settings.INFERENCE_NUM_THREADS,
        )
    except MlError as error:
        raise BenchmarkError(error.message) from error
