"""Run a graph with OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards.card import Card
from ml.networks.heads import load_head
from ml.networks.int8_graph import int8_graph
from ml.networks.openvino_export import (
    GRAPH_NAME,
    HEAD_NAME,
    ONNX_NAME,
    graph_folder,
)
from ml.runners.runner import NO_MAPS, PRECISIONS, versions_of


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
        self.precision = _supported_precision(card, precision, core)
        file = folder / ONNX_NAME
        if self.precision == "int8":
            file = int8_graph(card, weights, cache_dir=cache_dir)
        elif not file.exists():
            file = folder / GRAPH_NAME
        graph = core.read_model(file)
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
        self.library_versions: Mapping[str, str] = versions_of(
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


def _supported_precision(card: Card, precision: str, core: Any) -> str:
    """Return the precision, or float32 where it is not offered.

    A card may tell that a precision changes too much. Without such a measurement
    bfloat16 is used where the processor supports it; INT8 needs a graph of its own.
    """
    offered = card.precisions.offers(precision) if card.precisions else None
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and ("BF16" not in capabilities or offered is False):
        return "float32"
    if precision == "int8" and not offered:
        return "float32"
    return precision
