"""Inference with heat maps against the usual way, in one run, with the same weights.

The usual way is Keras' `model.predict` followed by Grad-CAM of the top class with
TensorFlow's GradientTape. Both begin with the display values of the same films.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.errors import ModelError
from ml.inference import load_model
from ml.preprocessing import preprocess
from ml.registry import Card
from ml.weights_file import load_network


def compare_with_gradient_tape(
    card: Card,
    films: Sequence[np.ndarray],
    *,
    cache_dir: Path,
    rounds: int = 20,
    threads: int = 0,
) -> dict[str, Any]:
    """Time our reading of films, with every label's grid, against the usual way.

    Args:
        card: The model; both ways use its weights.
        films: uint16 (H, W) display values.
        cache_dir: Kept graphs.
        rounds: How often each film is read, after a warm-up.
        threads: Threads of our pass; 0 leaves it to the runtime.

    Returns:
        `ratio` (usual over ours, of the medians), both medians and 95th percentiles in
        milliseconds, and by how much the results of the two ways differ at most.

    Raises:
        ModelError: TensorFlow is not installed, or is not Keras' backend.
    """
    ours = load_model(card, cache_dir=cache_dir, threads=threads)
    usual = usual_reader(card)
    differences = [_difference(ours, usual, film) for film in films]
    usual_ms: list[float] = []
    ours_ms: list[float] = []
    # In turns, so that whatever else the machine does meets both.
    for _ in range(rounds):
        for film in films:
            usual_ms.append(_milliseconds(usual, film))
        for film in films:
            ours_ms.append(_milliseconds(ours.read, film))
    ours_median = statistics.median(ours_ms)
    usual_median = statistics.median(usual_ms)
    return {
        "ratio": round(usual_median / ours_median, 2),
        "ours_ms_median": round(ours_median, 2),
        "ours_ms_p95": round(float(np.percentile(ours_ms, 95)), 2),
        "usual_ms_median": round(usual_median, 2),
        "usual_ms_p95": round(float(np.percentile(usual_ms, 95)), 2),
        "films": len(films),
        "rounds": rounds,
        "input_size": card.input_size,
        "grids_ours": len(card.labels),
        "grids_usual": 1,
        "probability_difference": max(p for p, _ in differences),
        "grid_difference": max(g for _, g in differences),
        "model": card.name,
        "version": card.version,
    }


def usual_reader(
    card: Card,
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, int]]:
    """Return the usual way as a function from a film to logits, grid and label index.

    Raises:
        ModelError: TensorFlow is not installed, or is not Keras' backend.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ModelError("The comparison needs Keras on its TensorFlow backend.")
    try:
        # Only the comparison needs it: Keras has no GradientTape of its own.
        tensorflow = importlib.import_module("tensorflow")
    except ImportError as error:
        raise ModelError(
            "The comparison needs TensorFlow: pip install -r requirements.txt"
        ) from error
    network = load_network(card, card.weights_file)
    classifier = keras.Model(network.inputs, network.outputs[0])

    def read(display: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        film, _ = preprocess(
            display, size=card.input_size, channels=card.input_channels
        )
        logits = classifier.predict(film[None], verbose=0)[0]
        top = int(np.argmax(logits))
        with tensorflow.GradientTape() as tape:
            _, maps = network(film[None], training=False)
            tape.watch(maps)
            # The head again, so that the tape sees the maps before it.
            score = _head(network, maps)[:, top]
        weights = tensorflow.reduce_mean(tape.gradient(score, maps), axis=(1, 2))
        raw = tensorflow.nn.relu(
            tensorflow.reduce_sum(maps * weights[:, None, None, :], axis=-1)
        ).numpy()[0]
        largest = raw.max()
        return logits, raw / largest if largest > 0 else raw, top

    return read


def _head(network: Any, maps: Any) -> Any:
    return network.get_layer("logits")(network.get_layer("pool")(maps))


def _difference(
    ours: Any, usual: Callable[..., Any], film: np.ndarray
) -> tuple[float, float]:
    """Return the largest differences of probabilities and of the top label's grid."""
    reading = ours.read(film)
    logits, grid, top = usual(film)
    scaled = logits / float(ours.card.calibration.get("temperature", 1.0))
    expected = np.exp(scaled - scaled.max())
    expected /= expected.sum()
    found = np.array([score.probability for score in reading.scores])
    cells = reading.scores[top].grid.astype(np.float32)
    return (
        float(np.abs(found - expected).max()),
        float(np.abs(cells - grid).max()),
    )


def _milliseconds(read: Callable[[np.ndarray], Any], film: np.ndarray) -> float:
    began = time.perf_counter()
    read(film)
    return (time.perf_counter() - began) * 1000.0
