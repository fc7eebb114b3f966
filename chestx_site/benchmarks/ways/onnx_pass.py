"""Bare pass with ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnxruntime

from chestx_site.benchmarks.ways import Setting


class OnnxPass:
    """A session for batches of any size."""

    whole = False

    def __init__(self, setting: Setting) -> None:
        """Open the exported network; export it in another process the first time."""
        sha256 = setting.card.weights_sha256
        path = setting.cache_dir / "onnx" / f"{sha256}.onnx"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            card = setting.card.card_file
            command = [
                sys.executable,
                "-m",
                "chestx_site.benchmarks.ways.onnx_export",
                str(card),
                str(path),
            ]
            # Our own module, with arguments of our own making.
            subprocess.run(  # noqa: S603
                command,
                env=os.environ | {"KERAS_BACKEND": "tensorflow"},
                check=True,
                stdout=subprocess.DEVNULL,
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def one(self, image: np.ndarray) -> np.ndarray:
        """Run one pass; logits."""
        return self._infer(image[None])[0]

    def many(self, images: np.ndarray) -> None:
        """Run one pass of a batch."""
        self._infer(images)

    def _infer(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: images})[0]


load = OnnxPass
