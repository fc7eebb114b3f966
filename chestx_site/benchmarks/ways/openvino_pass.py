"""Bare pass with OpenVINO, on the graph of the workers."""

from __future__ import annotations

import numpy as np
import openvino

from chestx_site.benchmarks.ways import Setting
from ml.networks.openvino_export import GRAPH_NAME, graph_folder

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoPass:
    """A compiled graph for each batch size."""

    whole = False

    def __init__(self, setting: Setting) -> None:
        """Read the graph of `ml.inference`, or export it."""
        card = setting.card
        folder = graph_folder(
            card,
            card.weights_file,
            sha256=str(card.weights_sha256),
            cache_dir=setting.cache_dir,
        )
        self._path = folder / GRAPH_NAME
        self._core = openvino.Core()
        self._shape = (card.input_size, card.input_size, card.input_channels)
        self._options = {
            "INFERENCE_PRECISION_HINT": _HINTS[setting.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(setting.cache_dir / "compiled"),
        }
        if setting.threads:
            self._options["INFERENCE_NUM_THREADS"] = str(setting.threads)
        self._requests: dict[int, openvino.InferRequest] = {}

    def one(self, image: np.ndarray) -> np.ndarray:
        """Run one pass; logits."""
        return self._infer(image[None])[0]

    def many(self, images: np.ndarray) -> None:
        """Run one pass of a batch."""
        self._infer(images)

    def _infer(self, images: np.ndarray) -> np.ndarray:
        request = self._requests.get(len(images))
        if request is None:
            graph = self._core.read_model(self._path)
            graph.reshape([len(images), *self._shape])
            compiled = self._core.compile_model(graph, "CPU", self._options)
            request = self._requests[len(images)] = compiled.create_infer_request()
        request.infer([images])
        return request.get_output_tensor(0).data


load = OpenVinoPass
