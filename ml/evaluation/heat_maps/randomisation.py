"""Sanity check (Adebayo et al. 2018): do heat maps depend on what was learned?

The weights are destroyed from the head down, layer by layer, and the heat maps of the
same images compared with those of the whole network. A map that stays as it was shows
the image's edges, not what the network learned. Compared is the heat before its
negative part is cut off: two maps that are cut to nothing cannot be compared.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ml import metrics
from ml.evaluation.bootstrap import patient_counts, with_interval
from ml.evaluation.heat_maps.explained import head_of, signed_heat
from ml.inference import LoadedModel
from ml.networks.heads import STEPS, Head
from ml.networks.openvino_export import GRAPH_NAME, graph_folder
from ml.runners.runner import Runner

# Shares of the network's weight arrays that are destroyed with the head, from the
# last layer down.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Fewer values than this are no weights: an epsilon, a factor.
LEAST_VALUES = 8
# The upper end of the interval that the check allows with everything destroyed.
LARGEST_CORRELATION = 0.5

# Networks destroyed at each share: one alone may be alike by chance.
DRAWS = 3

# Maps a share of the layers and the number of a draw to a network.
MakeRunner = Callable[[float, int], Runner]


@dataclass(frozen=True)
class HeatedImage:
    """An input of the network, float32 (size, size, channels), and a label of it."""

    square: np.ndarray
    label: int
    patient: str


class RandomisedRunner:
    """A model's graph on OpenVINO, with shuffled weights from some layer on.

    Each array of weights is shuffled in itself: what it learned is gone, how large
    its values are stays, so that numbers pass through the layers as before.
    """

    backend = "openvino"
    precision = "float32"
    library_versions: Mapping[str, str] = {}

    def __init__(
        self, model: LoadedModel, *, cache_dir: Path, share: float, seed: int
    ) -> None:
        """Shuffle the head and the last `share` of the graph's weight arrays."""
        import openvino

        card = model.card
        folder = graph_folder(
            card, card.weights_file, sha256=model.weights_sha256, cache_dir=cache_dir
        )
        core = openvino.Core()
        graph = core.read_model(folder / GRAPH_NAME)
        graph.reshape([1, card.input_size, card.input_size, card.input_channels])
        rng = np.random.default_rng(seed)
        _shuffle_graph(graph, share=share, rng=rng)
        self.head: Head | None = shuffled_head(head_of(model.runner), rng=rng)
        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()
        columns = card.backbone.columns if card.backbone else (0, len(card.labels))
        self._columns = slice(*columns)
        self._lock = threading.Lock()

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass; the logits are those of shuffled weights, too."""
        with self._lock:
            self._request.infer([image[None]])
            logits, maps = (
                self._request.get_output_tensor(i).data[0].copy() for i in range(2)
            )
        return logits[self._columns], maps

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass an image."""
        outputs = [self.run(image) for image in images]
        return np.stack([o[0] for o in outputs]), np.stack([o[1] for o in outputs])


def _shuffle_graph(graph: Any, *, share: float, rng: np.random.Generator) -> None:
    from openvino import opset13

    constants = _weights_in_order(graph)
    for node in constants[len(constants) - round(share * len(constants)) :]:
        values = node.data
        shuffled = rng.permutation(values.ravel()).reshape(values.shape)
        replacement = opset13.constant(np.ascontiguousarray(shuffled))
        node.output(0).replace(replacement.output(0))


def _weights_in_order(graph: Any) -> list[Any]:
    """Return the graph's constants that are weights, in the order of their use."""
    constants: dict[str, Any] = {}
    for operation in graph.get_ordered_ops():
        for number in range(operation.get_input_size()):
            node = operation.input_value(number).get_node()
            if node.get_type_name() != "Constant":
                continue
            values = node.data
            if values.dtype.kind == "f" and values.size >= LEAST_VALUES:
                constants.setdefault(node.get_friendly_name(), node)
    return list(constants.values())


def shuffled_head(head: Head, *, rng: np.random.Generator) -> Head:
    """Return a head whose arrays are shuffled, each in itself."""
    steps = []
    for step in head.steps:
        settings: dict[str, Any] = dict(step.settings())
        for name, values in step.arrays().items():
            settings[name] = rng.permutation(values.ravel()).reshape(values.shape)
        steps.append(STEPS[step.kind](**settings))
    return Head(steps)


def randomisation_metrics(
    runner: Runner,
    images: Sequence[HeatedImage],
    make_runner: MakeRunner,
    *,
    step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Return how alike heat maps stay, as rank correlations with intervals by patient.

    Args:
        runner: The whole network.
        images: Whose heat is compared.
        make_runner: Makes a network whose head and last share of weights are gone, as
            the given draw decides.
        step: Called after each share.
    """
    whole = [signed_heat(runner, image.square)[image.label] for image in images]
    stages = []
    for share in SHARES:
        alike = np.zeros(len(images))
        for draw in range(DRAWS):
            destroyed = make_runner(share, draw)
            alike += [
                rank_correlation(
                    grid, signed_heat(destroyed, image.square)[image.label]
                )
                for grid, image in zip(whole, images, strict=True)
            ]
        stages.append({"share_of_layers": share, **_alike(alike / DRAWS, images)})
        step()
    high = stages[-1]["rank_correlation"]["high"]
    return {
        "stages": stages,
        "draws": DRAWS,
        "largest_allowed": LARGEST_CORRELATION,
        "passed": high is not None and high < LARGEST_CORRELATION,
    }


def _alike(alike: np.ndarray, images: Sequence[HeatedImage]) -> dict[str, Any]:
    defined = np.isfinite(alike)
    patients = [f.patient for f, ok in zip(images, defined, strict=True) if ok]
    return {
        "images": int(defined.sum()),
        "flat_maps": int((~defined).sum()),
        "rank_correlation": with_interval(
            partial(metrics.mean, alike[defined]), patient_counts(patients)
        ),
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's correlation of two grids; NaN where one is flat."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
