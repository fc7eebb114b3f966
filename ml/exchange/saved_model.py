"""Convert a SavedModel folder to an OpenVINO graph without running it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import ModelError

if TYPE_CHECKING:
    import openvino

FILE_OF_A_SAVED_MODEL = "saved_model.pb"
UNKNOWN_OPERATIONS = re.compile(r"No conversion rule found for operations: (.+)")
# The logit of a probability of 0 or 1 is infinite.
SMALLEST_PROBABILITY = 1e-7


def folder_sha256(folder: Path) -> str:
    """Return one sha256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def read_saved_model(folder: Path) -> openvino.Model:
    """Convert a SavedModel folder.

    Raises:
        ModelError: It is no such folder, or OpenVINO cannot convert an operation.
    """
    import openvino
    from openvino import frontend

    failures = (
        frontend.GeneralFailure,
        frontend.InitializationFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )
    if not (folder / FILE_OF_A_SAVED_MODEL).is_file():
        raise ModelError(
            "%(folder)s is not a SavedModel folder.", params={"folder": folder.name}
        )
    try:
        graph = openvino.Core().read_model(folder)
    except (*failures, RuntimeError, ValueError, TypeError) as error:
        unknown = UNKNOWN_OPERATIONS.search(str(error))
        if unknown is None:
            raise ModelError(
                "%(folder)s cannot be converted: its graph cannot be read.",
                params={"folder": folder.name},
            ) from error
        raise ModelError(
            "%(folder)s cannot be converted: OpenVINO does not have %(operations)s. "
            "Random operations come from augmentation: save the network without it, or "
            "as .keras.",
            params={"folder": folder.name, "operations": unknown[1].strip()},
        ) from error
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError("The network has several inputs or outputs; one is expected.")
    return graph


def shape_of(graph: openvino.Model) -> tuple[int | None, int | None, int | None]:
    """Return height, width and channels of a graph's input; None if not fixed.

    Raises:
        ModelError: The input is not a batch of images with channels last.
    """
    shape = graph.input(0).partial_shape
    if shape.rank.is_dynamic or shape.rank.get_length() != 4:
        raise ModelError("The input is not (batch, height, width, channels).")
    height, width, channels = (
        None if dimension.is_dynamic else dimension.get_length()
        for dimension in list(shape)[1:]
    )
    return height, width, channels


def with_logits(
    graph: openvino.Model, *, size: int, channels: int, probabilities_of: str
) -> openvino.Model:
    """Return the graph with a fixed input size and logits as output.

    Args:
        graph: A converted network.
        size: Side of the input.
        channels: Channels of the input.
        probabilities_of: "softmax" or "sigmoid" if the outputs are probabilities, "" if
            they are logits.
    """
    import openvino
    from openvino import opset13

    graph.reshape([openvino.Dimension(), size, size, channels])
    output = graph.output(0).get_node().input_value(0)
    if probabilities_of:
        least = opset13.constant(np.float32(SMALLEST_PROBABILITY))
        logits = opset13.log(opset13.maximum(output, least))
        if probabilities_of == "sigmoid":
            one = opset13.constant(np.float32(1.0))
            rest = opset13.maximum(opset13.subtract(one, output), least)
            logits = opset13.subtract(logits, opset13.log(rest))
        output = logits.output(0)
    return openvino.Model([opset13.result(output)], graph.get_parameters(), "network")
