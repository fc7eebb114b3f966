"""From a `.keras` file to the graph that OpenVINO runs: once for each weights file.

`python -m ml.graph_export` does it in a process of its own, under Keras' openvino
backend. So a worker never imports Keras, and nothing that goes wrong there stays.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ml.errors import ModelError
from ml.registry import Card
from ml.weights_file import network_of_file

# Raised when the exported graph changes: kept graphs of older code are left alone.
EXPORT_VERSION = "1"
EXPORT_TIMEOUT_S = 300
GRAPH_NAME = "graph.xml"
HEAD_NAME = "head.npz"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
_PR_SET_PDEATHSIG = 1


def graph_folder(card: Card, weights: Path, *, sha256: str, cache_dir: Path) -> Path:
    """Return the folder with a card's graph and head, made at the first call.

    Two processes may make it at once: each works in a folder of its own, and the
    first to finish gives it its name.

    Raises:
        ModelError: The export failed.
    """
    final = cache_dir / "graphs" / f"{sha256}-{EXPORT_VERSION}"
    if (final / GRAPH_NAME).exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=".export-", dir=final.parent))
    try:
        _export_in_child(card, weights, own)
        try:
            own.rename(final)
        except OSError:
            # Another process was first; what it made is the same.
            if not (final / GRAPH_NAME).exists():
                raise
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return final


def _export_in_child(card: Card, weights: Path, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ml.graph_export",
        f"--weights={weights.resolve()}",
        f"--architecture={card.architecture}",
        f"--classes={len(card.labels)}",
        f"--channels={card.input_channels}",
        f"--out={folder.resolve()}",
        f"--parent={os.getpid()}",
    ]
    environment = os.environ | {"KERAS_BACKEND": "openvino"}
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")) if part
    )
    try:
        # Our own module, with arguments of our own making.
        done = subprocess.run(  # noqa: S603
            command,
            env=environment,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=EXPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(card, "it took too long") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise _failed(card, lines[-1])


def _failed(card: Card, reason: str) -> ModelError:
    return ModelError(
        f"The graph of {card.name} {card.version} could not be made: {reason}",
        reason_code="export_failed",
    )


def export(
    weights: Path, *, architecture: str, classes: int, channels: int, folder: Path
) -> None:
    """Write the graph with the outputs (logits, maps) and the head's weights."""
    network = network_of_file(
        weights, architecture=architecture, classes=classes, channels=channels
    )
    network.export(str(folder / GRAPH_NAME), format="openvino", verbose=False)
    kernel, bias = (
        np.asarray(array, np.float32)
        for array in network.get_layer("logits").get_weights()
    )
    np.savez(folder / HEAD_NAME, kernel=kernel, bias=bias)


def _end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to end this process with the worker that wants the graph.

    An export takes seconds and both cores; one for a worker that was killed would
    hold up the next.
    """
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent_pid:
        sys.exit("the process that wanted the graph has ended")


def main() -> None:
    """Export as the command line says; see `_export_in_child`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    _end_with_parent(arguments.parent)
    export(
        arguments.weights,
        architecture=arguments.architecture,
        classes=arguments.classes,
        channels=arguments.channels,
        folder=arguments.out,
    )


if __name__ == "__main__":
    main()
