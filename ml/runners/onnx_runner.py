"""Run a graph with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ml.cards.card import Card
from ml.errors import ModelError
from ml.networks.heads import load_head
from ml.networks.onnx_graph import INPUT_NAME, NOT_TRANSLATED
from ml.networks.openvino_export import HEAD_NAME, ONNX_NAME, graph_folder
from ml.runners.runner import NO_MAPS, versions_of


class OnnxRunner:
    """ONNX Runtime on the CPU, in float32; does not import Keras."""

    backend = "onnxruntime"
    precision = "float32"

    def __init__(
        self, card: Card, weights: Path, *, sha256: str, cache_dir: Path, threads: int
    ) -> None:
        import onnxruntime

        folder = graph_folder(card, weights, sha256=sha256, cache_dir=cache_dir)
        file = folder / ONNX_NAME
        if not file.exists():
            raise ModelError(
                "%(name)s has an operation that ONNX Runtime is not given.",
                params={"name": card.name},
                reason_code=NOT_TRANSLATED,
            )
        self.head = load_head(folder / HEAD_NAME) if card.heat_maps else None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait by turning take the cores of the next image's decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )
        self.library_versions: Mapping[str, str] = versions_of(
            "onnxruntime", "numpy", "opencv-python-headless"
        )

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass; a session serves several threads at a time."""
        logits, *maps = self._session.run(None, {INPUT_NAME: image[None]})
        return logits[0], maps[0][0] if self.head is not None else NO_MAPS

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass per image; batches are not faster on a CPU."""
        outputs = [self.run(image) for image in images]
        return np.stack([o[0] for o in outputs]), np.stack([o[1] for o in outputs])
