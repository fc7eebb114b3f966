"""Score an image: a probability and a heat-map grid for every label, in one pass.

There are three runners: OpenVINO and ONNX Runtime for CPUs, with a graph that is
exported once, and Keras on any backend for accelerators. Decision support, not for
diagnosis.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ml.calibration import probabilities
from ml.cards.card import Card
from ml.ensemble import EnsembleModel, ReadsImages, load_ensemble
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
from ml.runners.sharing import ColumnsRunner, shared


@dataclass(frozen=True)
class _Pass:
    """One pass of a network: its input, all its outputs, and what computed them."""

    runner: Runner
    geometry: Geometry
    image: np.ndarray
    input_sha256: str
    logits: np.ndarray
    maps: np.ndarray


class LoadedModel:
    """A model that is ready to score images: card, network and gate.

    `network` computes the logits of every head of the weights file, `runner` those of
    this model only.
    """

    def __init__(
        self,
        card: Card,
        network: Runner,
        *,
        sha256: str,
        gate: FeatureGate | None = None,
    ) -> None:
        self.card = card
        self.network = network
        self.runner = network
        self._columns = slice(None)
        if card.backbone:
            self.runner = ColumnsRunner(network, card.backbone.columns)
            self._columns = slice(*card.backbone.columns)
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
        [output] = read_together(
            [self], display, thresholds=[thresholds], apply_gate=apply_gate
        )
        if isinstance(output, ImageRejected):
            raise output
        return output

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
        logits, maps = self.network.run_many(images)
        outputs: list[ModelOutput | ImageRejected] = []
        for i, (image, geometry) in enumerate(prepared):
            passed = _passed(self.network, geometry, image, logits[i], maps[i])
            outputs += _outputs_of([self], passed, [thresholds], apply_gate=apply_gate)
        return _timed(outputs, since=began)

    def prepared(self, display: np.ndarray) -> tuple[np.ndarray, Geometry]:
        """Return the network input for an image, and the geometry of its crop."""
        return preprocess(
            display,
            size=self.card.input_size,
            channels=self.card.input_channels,
            scaling=self.card.scaling,
        )

    def output_of(
        self,
        passed: _Pass,
        *,
        thresholds: Mapping[str, float] | None,
        gate: GateResult | None,
    ) -> ModelOutput:
        """Turn a pass of the network into scores; milliseconds are still 0."""
        logits = passed.logits[self._columns]
        probability = probabilities(
            logits,
            task=self.card.task,
            names=self.card.label_names,
            calibration=self.card.calibration,
        )
        if self.runner.head is None:
            grids, scales = gradcam.no_grids(len(logits))
        else:
            grids, scales = gradcam.grids(passed.maps, self.runner.head)
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
            backend=passed.runner.backend,
            precision=passed.runner.precision,
            library_versions=passed.runner.library_versions,
            input_sha256=passed.input_sha256,
            geometry=passed.geometry,
            scores=scores,
            label_set=label_set,
            milliseconds=0.0,
            gate=gate,
        )


def read_together(
    models: Sequence[LoadedModel],
    display: np.ndarray,
    *,
    thresholds: Sequence[Mapping[str, float] | None],
    apply_gate: bool = True,
) -> list[ModelOutput | ImageRejected]:
    """Score an image with the heads of one network, in one pass; see `read`.

    Args:
        models: Models with the same weights and input.
        display: uint16 (H, W), as `ml.pixels.display_frame` gives it.
        thresholds: For each model, label to threshold; the card's where one is missing.
        apply_gate: Whether the gates may reject the image.

    Returns:
        For each model its output, or the rejection by its gate. The milliseconds of
        each are its share of the total.

    Raises:
        ModelError: The models do not share weights and input.
    """
    began = time.perf_counter()
    if not models:
        return []
    _refuse_several_networks(models)
    network = models[0].network
    image, geometry = models[0].prepared(display)
    passed = _passed(network, geometry, image, *network.run(image))
    outputs = _outputs_of(models, passed, thresholds, apply_gate=apply_gate)
    return _timed(outputs, since=began)


def read_with_all(
    models: Sequence[ReadsImages], display: np.ndarray, *, apply_gate: bool = True
) -> list[ModelOutput | ImageRejected]:
    """Score an image with models of any kind, in one pass for each network.

    Args:
        models: Networks, heads and ensembles.
        display: uint16 (H, W), as `ml.pixels.display_frame` gives it.
        apply_gate: Whether the gates may reject the image.

    Returns:
        For each model its output by its card's thresholds, or the rejection.
    """
    outputs: dict[int, ModelOutput | ImageRejected] = {}
    networks: dict[tuple[object, ...], list[tuple[int, LoadedModel]]] = {}
    for number, model in enumerate(models):
        if isinstance(model, LoadedModel):
            networks.setdefault(_reads(model), []).append((number, model))
        else:
            outputs[number] = _read_or_rejected(model, display, apply_gate=apply_gate)
    for heads in networks.values():
        together = read_together(
            [model for _, model in heads],
            display,
            thresholds=[None] * len(heads),
            apply_gate=apply_gate,
        )
        outputs |= dict(zip([number for number, _ in heads], together, strict=True))
    return [outputs[number] for number in range(len(models))]


def _read_or_rejected(
    model: ReadsImages, display: np.ndarray, *, apply_gate: bool
) -> ModelOutput | ImageRejected:
    try:
        return model.read(display, apply_gate=apply_gate)
    except ImageRejected as rejection:
        return rejection


def _refuse_several_networks(models: Sequence[LoadedModel]) -> None:
    first = models[0]
    for other in models[1:]:
        if _reads(other) != _reads(first):
            raise ModelError(
                "%(first)s and %(other)s do not share weights and input, so one pass "
                "cannot serve both.",
                params={"first": first.card.name, "other": other.card.name},
            )


def _reads(model: LoadedModel) -> tuple[object, ...]:
    """Return what decides the outputs of a model's network for an image."""
    card = model.card
    return model.weights_sha256, card.input_size, card.input_channels, card.scaling


def _passed(
    network: Runner,
    geometry: Geometry,
    image: np.ndarray,
    logits: np.ndarray,
    maps: np.ndarray,
) -> _Pass:
    sha256 = hashlib.sha256(image.tobytes()).hexdigest()
    return _Pass(network, geometry, image, sha256, logits, maps)


def _outputs_of(
    models: Sequence[LoadedModel],
    passed: _Pass,
    thresholds: Sequence[Mapping[str, float] | None],
    *,
    apply_gate: bool,
) -> list[ModelOutput | ImageRejected]:
    """Return the output of each model; a gate that several share judges once."""
    judged: dict[int, GateResult | None] = {id(None): None}
    outputs: list[ModelOutput | ImageRejected] = []
    for model, own in zip(models, thresholds, strict=True):
        if model.gate is not None and id(model.gate) not in judged:
            judgement = model.gate.judge(passed.maps, passed.image)
            judged[id(model.gate)] = replace(judgement, applied=apply_gate)
        result = judged[id(model.gate)]
        if result is not None and result.refused and apply_gate:
            outputs.append(result.rejection())
        else:
            outputs.append(model.output_of(passed, thresholds=own, gate=result))
    return outputs


def _timed(
    outputs: Sequence[ModelOutput | ImageRejected], *, since: float
) -> list[ModelOutput | ImageRejected]:
    share = (time.perf_counter() - since) * 1000.0 / len(outputs)
    return [
        replace(each, milliseconds=share) if isinstance(each, ModelOutput) else each
        for each in outputs
    ]


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

    Heads of one backbone share what runs it, and their gate, within a process.

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

    def make() -> Runner:
        if runner == "openvino":
            return OpenVinoRunner(
                card,
                weights,
                sha256=sha256,
                cache_dir=cache_dir,
                threads=threads,
                precision=precision,
            )
        if runner == "onnxruntime":
            return OnnxRunner(
                card, weights, sha256=sha256, cache_dir=cache_dir, threads=threads
            )
        if runner == "keras":
            return KerasRunner(card, weights, precision=precision)
        raise ModelError(
            "There is no runner %(runner)s. Known: openvino, onnxruntime, keras.",
            params={"runner": runner},
        )

    if card.backbone is None:
        return LoadedModel(card, make(), sha256=sha256, gate=load_gate(card))
    key = (sha256, card.input_size, runner, precision, threads, cache_dir)
    gate_key = ("gate", card.gate and (card.gate.sha256, card.gate.threshold))
    network = shared(key, make)
    gate = shared(gate_key, lambda: load_gate(card)) if card.gate else None
    return LoadedModel(card, network, sha256=sha256, gate=gate)
