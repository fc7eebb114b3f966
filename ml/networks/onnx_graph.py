"""Translate an OpenVINO graph to ONNX, once for each weights file.

Keras writes ONNX only on TensorFlow, JAX or PyTorch, and a site that runs models has
none of them. The OpenVINO graph of a model is there anyway; its operations are few, and
each has its counterpart in ONNX.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.cards.card import Card
from ml.errors import ModelError
from ml.networks.openvino_export import GRAPH_NAME, graph_folder

if TYPE_CHECKING:
    import onnx
    import openvino

ONNX_NAME = "graph.onnx"
OUTPUT_NAMES = ("logits", "maps")
INPUT_NAME = "image"
OPSET = 17


def onnx_file(card: Card, weights: Path, *, sha256: str, cache_dir: Path) -> Path:
    """Return a card's graph as ONNX, for one image; the first call writes it.

    It lies beside the OpenVINO graph and has the same outputs, (logits, maps).

    Raises:
        ModelError: The graph has an operation that is not translated, or could not be
            exported.
    """
    folder = graph_folder(card, weights, sha256=sha256, cache_dir=cache_dir)
    final = folder / ONNX_NAME
    if not final.exists():
        import onnx
        import openvino

        graph = openvino.Core().read_model(folder / GRAPH_NAME)
        size = card.input_size
        graph.reshape([1, size, size, card.input_channels])
        unfinished = folder / f".{ONNX_NAME}.{os.getpid()}"
        onnx.save(translated(graph, name=card.name), unfinished)
        unfinished.replace(final)
    return final


def translated(graph: openvino.Model, *, name: str) -> onnx.ModelProto:
    """Translate a graph of fixed shapes; its constants are computed first.

    Raises:
        ModelError: An operation of the graph is not in `OPERATIONS`.
    """
    import onnx
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(graph)
    translation = _Translation(name)
    for operation in graph.get_ordered_ops():
        translation.add(operation)
    outputs = OUTPUT_NAMES[: len(graph.outputs)]
    for result, output in zip(graph.results, outputs, strict=True):
        translation.node("Identity", translation.inputs(result), output)
    value = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        translation.nodes,
        name,
        [value(INPUT_NAME, onnx.TensorProto.FLOAT, list(graph.inputs[0].shape))],
        [
            value(output, onnx.TensorProto.FLOAT, list(result.input_value(0).shape))
            for result, output in zip(graph.results, outputs, strict=True)
        ],
        translation.constants,
    )
    model = onnx.helper.make_model(
        body, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8
    )
    onnx.checker.check_model(model)
    return model


@dataclass
class _Translation:
    """The ONNX nodes of the operations so far; a value is named after its output."""

    model: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def add(self, operation: openvino.Node) -> None:
        """Translate the next operation in topological order."""
        kind = operation.get_type_name()
        if kind in ("Constant", "Result"):
            return
        if kind == "Parameter":
            self.node("Identity", [INPUT_NAME], _out(operation))
            return
        if kind not in OPERATIONS:
            raise ModelError(
                "%(model)s has the operation %(operation)s, which is not translated to "
                "ONNX.",
                params={"model": self.model, "operation": kind},
                reason_code="not_translated",
            )
        OPERATIONS[kind](self, operation)

    def node(
        self, kind: str, inputs: Sequence[str], output: str, **attributes: Any
    ) -> None:
        """Add a node."""
        import onnx

        node = onnx.helper.make_node(kind, list(inputs), [output], **attributes)
        self.nodes.append(node)

    def constant(self, value: np.ndarray | np.generic, name: str) -> str:
        """Add a constant and return its name."""
        import onnx

        array = np.ascontiguousarray(value)
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def inputs(self, operation: openvino.Node, *numbers: int) -> list[str]:
        """Return the names of some inputs, or of all; add constants, once each."""
        values = operation.input_values()
        chosen = [values[number] for number in numbers] or values
        for value in chosen:
            name, node = _name(value), value.get_node()
            if node.get_type_name() == "Constant" and name not in self.known:
                self.known.add(name)
                self.constant(np.asarray(node.get_data(), np.float32), name)
        return [_name(value) for value in chosen]


Operation = Callable[[_Translation, "openvino.Node"], None]


def _name(value: openvino.Output) -> str:
    return f"{value.get_node().get_name()}:{value.get_index()}"


def _out(operation: openvino.Node) -> str:
    return _name(operation.output(0))


def _values(operation: openvino.Node, number: int) -> np.ndarray:
    """Return the constant that is an input of an operation.

    Raises:
        ModelError: The input is computed from the image.
    """
    node = operation.input_value(number).get_node()
    if node.get_type_name() != "Constant":
        raise ModelError(
            "An operation %(operation)s has a setting that depends on the image.",
            params={"operation": operation.get_type_name()},
            reason_code="not_translated",
        )
    return np.asarray(node.get_data())


def _same(kind: str) -> Operation:
    """Return the translation of an operation with the same inputs in ONNX."""
    return lambda graph, operation: graph.node(
        kind, graph.inputs(operation), _out(operation)
    )


def _window(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return strides, padding and dilation; OpenVINO has resolved "same" by now."""
    return {
        "strides": list(attributes["strides"]),
        "pads": [*attributes["pads_begin"], *attributes["pads_end"]],
        "dilations": list(attributes["dilations"]),
    }


def _convolution(graph: _Translation, operation: openvino.Node) -> None:
    window = _window(operation.get_attributes())
    graph.node("Conv", graph.inputs(operation), _out(operation), **window)


def _group_convolution(graph: _Translation, operation: openvino.Node) -> None:
    """ONNX has one axis for groups and the outputs of a group."""
    kernel = _values(operation, 1)
    weights = kernel.reshape(-1, *kernel.shape[2:])
    name = graph.constant(np.float32(weights), f"{_out(operation)}:weights")
    graph.node(
        "Conv",
        [*graph.inputs(operation, 0), name],
        _out(operation),
        group=kernel.shape[0],
        **_window(operation.get_attributes()),
    )


def _pooling(graph: _Translation, operation: openvino.Node) -> None:
    attributes = operation.get_attributes()
    options = {"kernel_shape": list(attributes["kernel"]), **_window(attributes)}
    kind = "MaxPool"
    if operation.get_type_name() == "AvgPool":
        kind = "AveragePool"
        # The dilation of a mean comes with a later version of ONNX.
        del options["dilations"]
        options["count_include_pad"] = int(not attributes["exclude-pad"])
    graph.node(kind, graph.inputs(operation, 0), _out(operation), **options)


def _normalisation(graph: _Translation, operation: openvino.Node) -> None:
    epsilon = operation.get_attributes()["epsilon"]
    graph.node(
        "BatchNormalization", graph.inputs(operation), _out(operation), epsilon=epsilon
    )


def _clamp(graph: _Translation, operation: openvino.Node) -> None:
    limits = operation.get_attributes()
    ends = [
        graph.constant(np.float32(limits[end]), f"{_out(operation)}:{end}")
        for end in ("min", "max")
    ]
    graph.node("Clip", [*graph.inputs(operation), *ends], _out(operation))


def _pad(graph: _Translation, operation: openvino.Node) -> None:
    mode = operation.get_attributes()["pad_mode"]
    ends = np.concatenate([_values(operation, 1), _values(operation, 2)])
    name = graph.constant(ends.astype(np.int64), f"{_out(operation)}:pads")
    image, value = graph.inputs(operation, 0, 3)
    graph.node("Pad", [image, name, value], _out(operation), mode=mode)


def _transpose(graph: _Translation, operation: openvino.Node) -> None:
    order = [int(axis) for axis in _values(operation, 1)]
    graph.node("Transpose", graph.inputs(operation, 0), _out(operation), perm=order)


def _reshape(graph: _Translation, operation: openvino.Node) -> None:
    shape = graph.constant(
        np.array(operation.output(0).shape, np.int64), f"{_out(operation)}:shape"
    )
    graph.node("Reshape", [*graph.inputs(operation, 0), shape], _out(operation))


def _mean(graph: _Translation, operation: openvino.Node) -> None:
    graph.node(
        "ReduceMean",
        graph.inputs(operation, 0),
        _out(operation),
        axes=[int(axis) for axis in np.atleast_1d(_values(operation, 1))],
        keepdims=int(operation.get_attributes()["keep_dims"]),
    )


def _product(graph: _Translation, operation: openvino.Node) -> None:
    attributes = operation.get_attributes()
    names = graph.inputs(operation)
    for number, key in enumerate(("transpose_a", "transpose_b")):
        if attributes[key]:
            turned = f"{_out(operation)}:{key}"
            rank = len(operation.input_value(number).shape)
            order = [*range(rank - 2), rank - 1, rank - 2]
            graph.node("Transpose", [names[number]], turned, perm=order)
            names[number] = turned
    graph.node("MatMul", names, _out(operation))


def _concatenation(graph: _Translation, operation: openvino.Node) -> None:
    axis = int(operation.get_attributes()["axis"])
    graph.node("Concat", graph.inputs(operation), _out(operation), axis=axis)


def _swish(graph: _Translation, operation: openvino.Node) -> None:
    factor = _values(operation, 1) if operation.get_input_size() > 1 else np.ones(())
    scaled = graph.constant(np.asarray(factor, np.float32), f"{_out(operation)}:factor")
    [image], gate = graph.inputs(operation, 0), f"{_out(operation)}:gate"
    graph.node("Mul", [image, scaled], f"{gate}:scaled")
    graph.node("Sigmoid", [f"{gate}:scaled"], gate)
    graph.node("Mul", [image, gate], _out(operation))


def _cast(graph: _Translation, operation: openvino.Node) -> None:
    """Every value that is computed is float32, so a cast to it changes nothing."""
    graph.node("Identity", graph.inputs(operation), _out(operation))


# What our networks consist of (`ml.architectures`).
OPERATIONS: dict[str, Operation] = {
    "Add": _same("Add"),
    "AvgPool": _pooling,
    "BatchNormInference": _normalisation,
    "Clamp": _clamp,
    "Concat": _concatenation,
    "Convert": _cast,
    "Convolution": _convolution,
    "GroupConvolution": _group_convolution,
    "MatMul": _product,
    "MaxPool": _pooling,
    "Multiply": _same("Mul"),
    "Pad": _pad,
    "ReduceMean": _mean,
    "Relu": _same("Relu"),
    "Reshape": _reshape,
    "Sigmoid": _same("Sigmoid"),
    "Squeeze": _reshape,
    "Swish": _swish,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
