"""Score an image: a probability and a heat-map grid for every label, in one pass.

There are three runners: OpenVINO and ONNX Runtime for CPUs, with a graph that is
exported once, and Keras on any backend for accelerators. Decision support, not for
diagnosis.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ml.calibration import probabilities
from ml.cards.card import Card
from ml.ensemble import EnsembleModel, load_ensemble
from ml.errors import ImageRejected, ModelError
from ml.gate.out_of_distribution import FeatureGate, GateResult, load_gate
from ml.model_output import ModelOutput, scores_of
from ml.networks import gradcam
from ml.networks.weights_file import verify
from ml.preprocessing import PREPROCESSING_VERSION, Geometry, preprocess
from ml.runners.keras_runner import KerasRunner
from ml.runners.onnx_runner import OnnxRunner
from ml.runners.openvino_runner import OpenVinoRunner
from ml.runners.runner import PRECISIONS, Runner


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
        runner: "openvino", "onnxruntime" or "keras".
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
    elif runner == "onnxruntime":
        ready = OnnxRunner(
            card, weights, sha256=sha256, cache_dir=cache_dir, threads=threads
        )
    elif runner == "keras":
        ready = KerasRunner(card, weights, precision=precision)
    else:
        raise ModelError(
            "There is no runner %(runner)s. Known: openvino, onnxruntime, keras.",
            params={"runner": runner},
        )
    return LoadedModel(card, ready, sha256=sha256, gate=load_gate(card))
