"""From a SavedModel folder to an OpenVINO graph, read and not run."""

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
# A probability of 0 or 1 has no logit.
SMALLEST_PROBABILITY = 1e-7


def folder_sha256(folder: Path) -> str:
    """Return one hash over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def read_saved_model(folder: Path) -> openvino.Model:
    """Convert a SavedModel folder.

    Raises:
        ModelError: It is none, or holds operations that OpenVINO does not know.
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
        raise ModelError(f"{folder.name} is no SavedModel folder.")
    try:
        graph = openvino.Core().read_model(folder)
    except (*failures, RuntimeError, ValueError, TypeError) as error:
        unknown = UNKNOWN_OPERATIONS.search(str(error))
        reason = "its graph cannot be read"
        if unknown:
            reason = (
                f"OpenVINO does not know {unknown[1].strip()}. Random operations come "
                "from augmentation: save the network without it, or as .keras"
            )
        raise ModelError(f"{folder.name} cannot be converted: {reason}.") from error
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError("The network has several inputs or outputs; one is wanted.")
    return graph


def shape_of(graph: openvino.Model) -> tuple[int | None, int | None, int | None]:
    """Return height, width and channels of a graph's input; None where free.

    Raises:
        ModelError: The input is no batch of pictures with channels last.
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
    """Return a graph of one size whose output is logits.

    Args:
        graph: A converted network.
        size: Side of the input.
        channels: Channels of the input.
        probabilities_of: "softmax" or "sigmoid" where the outputs are probabilities,
            "" where they are logits already.
    """
    import openvino
    from openvino import opset13

    graph.reshape([openvino.Dimension(), size, size, channels])
    output = graph.output(0).get_node().input_value(0)
    if probabilities_of:
        least = opset13.constant(np.float32(SMALLEST_PROBABILITY))
        known = opset13.log(opset13.maximum(output, least))
        if probabilities_of == "sigmoid":
            one = opset13.constant(np.float32(1.0))
            rest = opset13.maximum(opset13.subtract(one, output), least)
            known = opset13.subtract(known, opset13.log(rest))
        output = known.output(0)
    return openvino.Model([opset13.result(output)], graph.get_parameters(), "network")
