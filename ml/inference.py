"""One film in; a score and a heat-map grid for every label out, from one pass.

Two runners behind one call: OpenVINO on CPUs, with a graph exported once and a
configuration of our own, and Keras (whichever backend it runs on) for accelerators.
Decision support, not for diagnosis.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ml import gradcam
from ml.calibration import probabilities
from ml.errors import ModelError
from ml.graph_export import GRAPH_NAME, HEAD_NAME, graph_folder
from ml.preprocessing import PREPROCESSING_VERSION, Geometry, preprocess
from ml.registry import Card
from ml.weights_file import load_network, verify

PRECISION = "float32"


@dataclass(frozen=True)
class Score:
    """What a model says of one label.

    `probability` is a score until `calibrated`. `grid` is float16 (rows, columns),
    scaled to at most 1; `scale` is its largest value before.
    """

    label: str
    probability: float
    calibrated: bool
    threshold: float
    positive: bool
    grid: np.ndarray
    scale: float


@dataclass(frozen=True)
class Reading:
    """The scores of one film, and everything needed to make them again."""

    model: str
    version: str
    weights_sha256: str
    preprocessing_version: str
    backend: str
    precision: str
    library_versions: Mapping[str, str]
    input_sha256: str
    geometry: Geometry
    scores: tuple[Score, ...]
    milliseconds: float


class Runner(Protocol):
    """A network that is ready: logits and last maps of one input."""

    backend: str
    library_versions: Mapping[str, str]
    kernel: np.ndarray

    def run(self, film: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map float32 (size, size, channels) to logits (labels,) and maps (h, w, f)."""
        ...


class OpenVinoRunner:
    """A compiled graph; imports neither Keras nor TensorFlow once the graph is kept."""

    backend = "openvino"

    def __init__(
        self, card: Card, weights: Path, *, sha256: str, cache_dir: Path, threads: int
    ) -> None:
        import openvino

        folder = graph_folder(card, weights, sha256=sha256, cache_dir=cache_dir)
        with np.load(folder / HEAD_NAME) as head:
            self.kernel = head["kernel"]
        core = openvino.Core()
        graph = core.read_model(folder / GRAPH_NAME)
        size = card.input_size
        graph.reshape([1, size, size, card.input_channels])
        options: dict[str, Any] = {
            # By itself OpenVINO may choose bfloat16, which moves scores.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "CACHE_DIR": str(cache_dir / "compiled"),
        }
        if threads > 0:
            options["INFERENCE_NUM_THREADS"] = threads
        self._request = core.compile_model(graph, "CPU", options).create_infer_request()
        self._lock = threading.Lock()
        self.library_versions: Mapping[str, str] = _versions(
            "openvino", "numpy", "opencv-python-headless"
        )

    def run(self, film: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass; a compiled request serves one thread at a time."""
        with self._lock:
            self._request.infer([film[None]])
            logits, maps = (
                self._request.get_output_tensor(i).data[0].copy() for i in range(2)
            )
        return logits, maps


class KerasRunner:
    """The same network under Keras, on the backend that KERAS_BACKEND chooses."""

    def __init__(self, card: Card, weights: Path) -> None:
        import keras

        self._network = load_network(card, weights)
        self.kernel = np.asarray(
            self._network.get_layer("logits").get_weights()[0], np.float32
        )
        backend = keras.backend.backend()
        self.backend = f"keras-{backend}"
        self.library_versions: Mapping[str, str] = _versions(
            "keras", backend, "numpy", "opencv-python-headless"
        )

    def run(self, film: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass."""
        logits, maps = self._network.predict_on_batch(film[None])
        return np.asarray(logits)[0], np.asarray(maps)[0]


class LoadedModel:
    """A card with its network, ready to read films."""

    def __init__(self, card: Card, runner: Runner, *, sha256: str) -> None:
        self.card = card
        self.runner = runner
        self.weights_sha256 = sha256
        self._temperature = float(card.calibration.get("temperature", 1.0))

    def read(
        self, display: np.ndarray, *, thresholds: Mapping[str, float] | None = None
    ) -> Reading:
        """Score a film. Whether it may be scored is the caller's to check, `ml.gate`.

        Args:
            display: uint16 (H, W), as `ml.pixels.display_frame` gives it.
            thresholds: Label to threshold; the card's where one is missing.

        Returns:
            A score and a grid for every label of the card, in its order.
        """
        began = time.perf_counter()
        film, geometry = preprocess(
            display, size=self.card.input_size, channels=self.card.input_channels
        )
        logits, maps = self.runner.run(film)
        found = probabilities(
            logits, task=self.card.task, temperature=self._temperature
        )
        cells, scales = gradcam.grids(maps, self.runner.kernel)
        limits = {**self.card.thresholds, **(thresholds or {})}
        scores = tuple(
            Score(
                label=name,
                probability=float(found[i]),
                calibrated=self.card.calibrated,
                threshold=float(limits[name]),
                positive=bool(found[i] >= limits[name]),
                grid=cells[i],
                scale=float(scales[i]),
            )
            for i, name in enumerate(self.card.label_names)
        )
        return Reading(
            model=self.card.name,
            version=self.card.version,
            weights_sha256=self.weights_sha256,
            preprocessing_version=PREPROCESSING_VERSION,
            backend=self.runner.backend,
            precision=PRECISION,
            library_versions=self.runner.library_versions,
            input_sha256=hashlib.sha256(film.tobytes()).hexdigest(),
            geometry=geometry,
            scores=scores,
            milliseconds=(time.perf_counter() - began) * 1000.0,
        )


def load_model(
    card: Card,
    *,
    weights_path: Path | None = None,
    cache_dir: Path,
    threads: int = 0,
    runner: str = "openvino",
) -> LoadedModel:
    """Load a model whose weights are those of its card.

    Args:
        card: The model's card.
        weights_path: Where the weights are; without it, beside the card.
        cache_dir: Kept graphs and compiled networks; may be shared by processes.
        threads: Threads of one pass; 0 leaves it to the runtime.
        runner: "openvino" or "keras".

    Raises:
        ModelError: The weights are missing or others, or the runner is unknown.
    """
    weights = weights_path or card.weights_file
    sha256 = verify(card, weights)
    if runner == "openvino":
        ready: Runner = OpenVinoRunner(
            card, weights, sha256=sha256, cache_dir=cache_dir, threads=threads
        )
    elif runner == "keras":
        ready = KerasRunner(card, weights)
    else:
        raise ModelError(f"There is no runner {runner!r}; known: openvino, keras.")
    return LoadedModel(card, ready, sha256=sha256)


def _versions(*distributions: str) -> dict[str, str]:
    return {name: installed_version(name) for name in distributions}
