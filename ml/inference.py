"""Score an image: a probability and a heat-map grid for every label, in one pass.

There are two runners: OpenVINO for CPUs, with a graph that is exported once, and Keras
on any backend for accelerators. Decision support, not for diagnosis.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ml.calibration import probabilities
from ml.cards.card import GRAPH_FORMAT, Card
from ml.ensemble import EnsembleModel, load_ensemble
from ml.errors import ImageRejected, ModelError
from ml.gate.out_of_distribution import FeatureGate, GateResult, load_gate
from ml.model_output import ModelOutput, scores_of
from ml.networks import gradcam
from ml.networks.head_layers import head_of_network
from ml.networks.heads import Head, load_head
from ml.networks.openvino_export import GRAPH_NAME, HEAD_NAME, graph_folder
from ml.networks.weights_file import load_network, verify
from ml.preprocessing import PREPROCESSING_VERSION, Geometry, preprocess

# Precisions of a pass, with their names in OpenVINO.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}

NO_MAPS = np.zeros((0, 0, 0), np.float32)


class Runner(Protocol):
    """A loaded network that computes the logits and last maps of an input."""

    backend: str
    precision: str
    library_versions: Mapping[str, str]
    # None if the network has no maps; then `run` returns empty maps.
    head: Head | None

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map float32 (size, size, channels) to logits (labels,) and maps (h, w, f)."""
        ...

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map float32 (images, size, size, channels) to logits and maps of each."""
        ...


class OpenVinoRunner:
    """OpenVINO on the CPU; does not import Keras once the exported graph is cached."""

    backend = "openvino"

    def __init__(
        self,
        card: Card,
        weights: Path,
        *,
        sha256: str,
        cache_dir: Path,
        threads: int,
        precision: str,
    ) -> None:
        import openvino

        folder = graph_folder(card, weights, sha256=sha256, cache_dir=cache_dir)
        self.head = load_head(folder / HEAD_NAME) if card.heat_maps else None
        core = openvino.Core()
        self.precision = _supported_precision(precision, core)
        graph = core.read_model(folder / GRAPH_NAME)
        size = card.input_size
        graph.reshape([1, size, size, card.input_channels])
        options: dict[str, Any] = {
            # By default OpenVINO may choose bfloat16, which changes scores.
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.precision],
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

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass; a compiled request serves one thread at a time."""
        with self._lock:
            self._request.infer([image[None]])
            logits, *maps = (
                self._request.get_output_tensor(i).data[0].copy()
                for i in range(1 if self.head is None else 2)
            )
        return logits, maps[0] if maps else NO_MAPS

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass per image; batches are not faster on a CPU."""
        outputs = [self.run(image) for image in images]
        return np.stack([o[0] for o in outputs]), np.stack([o[1] for o in outputs])


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
        self.library_versions: Mapping[str, str] = _versions(
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


class LoadedModel:
    """A model that is ready to score images: card, runner and gate."""

    def __init__(
        self,
        card: Card,
        runner: Runner,
        *,
        sha256: str,
        gate: FeatureGate | None = None,
    ) -> None:
        self.card = card
        self.runner = runner
        self.weights_sha256 = sha256
        self.gate = gate

    def read(
        self,
        display: np.ndarray,
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> ModelOutput:
        """Score an image. The caller checks its header first (`ml.gate.header`).

        Args:
            display: uint16 (H, W), as `ml.pixels.display_frame` gives it.
            thresholds: Label to threshold; the card's where one is missing.
            apply_gate: Whether the gate may reject the image. If not, its result is
                still in the output.

        Returns:
            A score and a grid for every label of the card, in its order.

        Raises:
            ImageRejected: The gate of the model rejects the image.
        """
        began = time.perf_counter()
        image, geometry = self.prepared(display)
        outputs = self.runner.run(image)
        model_output = self._model_output(
            image, geometry, outputs, thresholds=thresholds, apply_gate=apply_gate
        )
        milliseconds = (time.perf_counter() - began) * 1000.0
        return replace(model_output, milliseconds=milliseconds)

    def read_many(
        self,
        displays: Sequence[np.ndarray],
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> list[ModelOutput | ImageRejected]:
        """Score several images in one pass; see `read`.

        Returns:
            For each image the output, or the rejection by the gate. The milliseconds
            of each are its share of the total.
        """
        began = time.perf_counter()
        if not displays:
            return []
        prepared = [self.prepared(display) for display in displays]
        images = np.stack([image for image, _ in prepared])
        logits, maps = self.runner.run_many(images)
        results: list[ModelOutput | ImageRejected] = []
        for i, (image, geometry) in enumerate(prepared):
            outputs = logits[i], maps[i]
            try:
                results.append(
                    self._model_output(
                        image,
                        geometry,
                        outputs,
                        thresholds=thresholds,
                        apply_gate=apply_gate,
                    )
                )
            except ImageRejected as rejection:
                results.append(rejection)
        share = (time.perf_counter() - began) * 1000.0 / len(displays)
        return [
            replace(each, milliseconds=share) if isinstance(each, ModelOutput) else each
            for each in results
        ]

    def prepared(self, display: np.ndarray) -> tuple[np.ndarray, Geometry]:
        """Return the network input for an image, and the geometry of its crop."""
        return preprocess(
            display,
            size=self.card.input_size,
            channels=self.card.input_channels,
            scaling=self.card.scaling,
        )

    def _model_output(
        self,
        image: np.ndarray,
        geometry: Geometry,
        outputs: tuple[np.ndarray, np.ndarray],
        *,
        thresholds: Mapping[str, float] | None,
        apply_gate: bool,
    ) -> ModelOutput:
        """Turn the outputs of the network into scores; milliseconds are still 0."""
        logits, maps = outputs
        gate = self._check_gate(maps, image, apply_gate=apply_gate)
        probability = probabilities(
            logits,
            task=self.card.task,
            names=self.card.label_names,
            calibration=self.card.calibration,
        )
        if self.runner.head is None:
            grids, scales = gradcam.no_grids(len(logits))
        else:
            grids, scales = gradcam.grids(maps, self.runner.head)
        scores, label_set = scores_of(
            self.card,
            probability,
            thresholds=thresholds or {},
            grids=grids,
            scales=scales,
        )
        return ModelOutput(
            model=self.card.name,
            version=self.card.version,
            weights_sha256=self.weights_sha256,
            preprocessing_version=PREPROCESSING_VERSION,
            backend=self.runner.backend,
            precision=self.runner.precision,
            library_versions=self.runner.library_versions,
            input_sha256=hashlib.sha256(image.tobytes()).hexdigest(),
            geometry=geometry,
            scores=scores,
            label_set=label_set,
            milliseconds=0.0,
            gate=gate,
        )

    def _check_gate(
        self, maps: np.ndarray, image: np.ndarray, *, apply_gate: bool
    ) -> GateResult | None:
        """Return the gate result, None for a model without a gate.

        Raises:
            ImageRejected: The gate rejects the image, and `apply_gate` is set.
        """
        if self.gate is None:
            return None
        result = replace(self.gate.judge(maps, image), applied=apply_gate)
        if result.refused and apply_gate:
            raise result.rejection()
        return result


def load_model(
    card: Card,
    *,
    weights_path: Path | None = None,
    cache_dir: Path,
    threads: int = 0,
    runner: str = "openvino",
    precision: str = "float32",
) -> LoadedModel | EnsembleModel:
    """Load a model, and check that its weights and gate match its card.

    Args:
        card: The model's card; the members of an ensemble are found beside it.
        weights_path: Path of the weights; without it, beside the card.
        cache_dir: Cache of exported graphs and compiled networks; processes may share
            it.
        threads: Threads of one pass; 0 lets the runtime choose.
        runner: "openvino" or "keras".
        precision: "float32" or "bfloat16", of the pass alone; OpenVINO uses float32 if
            the processor does not support bfloat16.

    Raises:
        ModelError: Weights or gate are missing or do not match the card, or the runner
            or the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ModelError(
            "There is no precision %(precision)s. Known: %(known)s.",
            params={"precision": precision, "known": ", ".join(PRECISIONS)},
        )
    if card.members:
        load_member = partial(
            load_model,
            cache_dir=cache_dir,
            threads=threads,
            runner=runner,
            precision=precision,
        )
        return load_ensemble(card, load_member)
    weights = weights_path or card.weights_file
    sha256 = verify(card, weights)
    if runner == "openvino":
        ready: Runner = OpenVinoRunner(
            card,
            weights,
            sha256=sha256,
            cache_dir=cache_dir,
            threads=threads,
            precision=precision,
        )
    elif runner == "keras":
        ready = KerasRunner(card, weights, precision=precision)
    else:
        raise ModelError(
            "There is no runner %(runner)s. Known: openvino, keras.",
            params={"runner": runner},
        )
    return LoadedModel(card, ready, sha256=sha256, gate=load_gate(card))


def _supported_precision(precision: str, core: Any) -> str:
    """Return the precision, or float32 if the processor does not support bfloat16."""
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and "BF16" not in capabilities:
        return "float32"
    return precision


def _versions(*distributions: str) -> dict[str, str]:
    return {name: installed_version(name) for name in distributions}
