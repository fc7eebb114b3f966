"""Convert a `.keras` file to graphs for the runners, once for each weights file.

`python -m ml.networks.openvino_export` does it in a child process with Keras' openvino
backend, so a worker never imports Keras.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import zipfile
from pathlib import Path

from ml.cards.card import GRAPH_FORMAT, Card
from ml.errors import ModelError
from ml.networks.child_process import ChildFailed, end_with_parent, run_module
from ml.networks.head_layers import head_of_network
from ml.networks.onnx_graph import NOT_TRANSLATED, translate
from ml.networks.weights_file import network_of_file

logger = logging.getLogger(__name__)

# Increase it when the exported graph changes; then graphs of older code are not used.
EXPORT_VERSION = "4"
EXPORT_TIMEOUT_S = 300
GRAPH_NAME = "graph.xml"
ONNX_NAME = "graph.onnx"
HEAD_NAME = "head.npz"


def graph_folder(card: Card, weights: Path, *, sha256: str, cache_dir: Path) -> Path:
    """Return the folder with a card's graphs and head; the first call creates it.

    The graphs have the input size of the card; those of an imported network may lack
    the one in ONNX (`ml.networks.onnx_graph`). Two processes may create them at the
    same time: each works in its own folder, and the first to finish renames it.

    Raises:
        ModelError: The export failed.
    """
    final = cache_dir / "graphs" / f"{sha256}-{card.input_size}-{EXPORT_VERSION}"
    if (final / GRAPH_NAME).exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".export-", dir=final.parent))
    try:
        if card.weights_format == GRAPH_FORMAT:
            unpack_graph(weights, unfinished)
        else:
            _export_in_child(card, weights, unfinished)
        _translate(card, unfinished)
        try:
            unfinished.rename(final)
        except OSError:
            # Another process was first; its result is the same.
            if not (final / GRAPH_NAME).exists():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return final


def _translate(card: Card, folder: Path) -> None:
    try:
        translate(
            folder / GRAPH_NAME,
            folder / ONNX_NAME,
            size=card.input_size,
            channels=card.input_channels,
        )
    except ModelError as error:
        if error.reason_code != NOT_TRANSLATED:
            raise
        logger.info("%s %s: %s", card.name, card.version, error.message)


def _export_in_child(card: Card, weights: Path, folder: Path) -> None:
    arguments = [
        f"--weights={weights.resolve()}",
        f"--architecture={card.architecture}",
        f"--classes={card.network_outputs or 0}",
        f"--size={card.input_size}",
        f"--channels={card.input_channels}",
        f"--out={folder.resolve()}",
    ]
    try:
        run_module(
            "ml.networks.openvino_export",
            arguments,
            keras_backend="openvino",
            timeout_s=EXPORT_TIMEOUT_S,
        )
    except ChildFailed as failure:
        raise ModelError(
            "The graph of %(name)s %(version)s could not be built: %(failure)s",
            params={
                "name": card.name,
                "version": card.version,
                "failure": str(failure),
            },
            reason_code="export_failed",
        ) from failure


def export(
    weights: Path,
    *,
    architecture: str,
    classes: int | None,
    size: int,
    channels: int,
    folder: Path,
) -> None:
    """Write the graph with the outputs (logits, maps), and the head as its own file.

    A network without maps has only logits, and no head file.
    """
    import keras

    network = network_of_file(
        weights, architecture=architecture, classes=classes, channels=channels
    )
    # Keras traces an open size with one pixel, which is too small for some layers.
    shape = (None, size, size, channels)
    network.export(
        str(folder / GRAPH_NAME),
        format="openvino",
        verbose=False,
        input_signature=[keras.InputSpec(shape=shape, dtype="float32")],
    )
    if len(network.outputs) > 1:
        head_of_network(network).save(folder / HEAD_NAME)


def pack_graph(graph: Path, packed: Path) -> None:
    """Pack an OpenVINO graph, `.xml` and `.bin`, into one weights file."""
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for part in (graph, graph.with_suffix(".bin")):
            archive.write(part, GRAPH_NAME.replace(".xml", part.suffix))


def unpack_graph(packed: Path, folder: Path) -> None:
    """Unpack the graph of a weights file that `pack_graph` wrote.

    Raises:
        ModelError: The file is not such an archive.
    """
    try:
        with zipfile.ZipFile(packed) as archive:
            for name in (GRAPH_NAME.replace(".xml", ".bin"), GRAPH_NAME):
                (folder / name).write_bytes(archive.read(name))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            "%(file)s does not contain an OpenVINO graph.", params={"file": packed.name}
        ) from error


def main() -> None:
    """Export a weights file as an OpenVINO graph."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--classes", type=int, required=True, help="0: as the file has")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    export(
        arguments.weights,
        architecture=arguments.architecture,
        classes=arguments.classes or None,
        size=arguments.size,
        channels=arguments.channels,
        folder=arguments.out,
    )


if __name__ == "__main__":
    main()
