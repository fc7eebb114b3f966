"""What every runner offers, and the precisions of a pass."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Protocol

import numpy as np

from ml.networks.heads import Head

# Precisions of a pass, with their names in OpenVINO; what an INT8 graph does not
# quantise is float32.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}

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


def versions_of(*distributions: str) -> dict[str, str]:
    """Return the installed version of each distribution."""
    return {name: installed_version(name) for name in distributions}
