"""Translate an OpenVINO graph to ONNX: channels first, normalisation in the weights.

Keras writes ONNX only on TensorFlow, JAX or PyTorch, and a site that runs models has
none of them. The OpenVINO graph that it writes is channels last, with transpositions
around each convolution and normalisation that OpenVINO does not remove. So the graph is
translated here, once for each weights file, and both ONNX Runtime and OpenVINO run the
translation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import ModelError

if TYPE_CHECKING:
    import onnx
    import openvino

INPUT_NAME = "image"
OUTPUT_NAMES = ("logits", "maps")
OPSET = 17
NOT_TRANSLATED = "not_translated"
# Orders of axes: from channels last to channels first, and back.
CHANNELS_FIRST = [0, 3, 1, 2]
CHANNELS_LAST = [0, 2, 3, 1]
# From channels last to channels, columns, rows, as Keras normalises, and back; and to
# that from channels first.
COLUMNS_FIRST = [0, 3, 2, 1]
SWAPPED = [0, 1, 3, 2]


def translate(graph: Path, target: Path, *, size: int, channels: int) -> None:
    """Write an OpenVINO graph as ONNX, for one image of this size.

    Raises:
        ModelError: The graph has an operation that is not in `OPERATIONS`.
    """
    import onnx
    import openvino

    model = openvino.Core().read_model(graph)
    model.reshape([1, size, size, channels])
    onnx.save(translated(model), target)


def translated(graph: openvino.Model) -> onnx.ModelProto:
    """Translate a graph of fixed shapes; its constants are computed first.

    The input and the maps stay channels last.

    Raises:
        ModelError: An operation of the graph is not in `OPERATIONS`.
    """
    import onnx
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(graph)
    translation = _Translation()
    for operation in graph.get_ordered_ops():
        translation.add(operation)
    value = onnx.helper.make_tensor_value_info
    outputs = []
    for result, name in zip(graph.results, OUTPUT_NAMES, strict=False):
        translation.emit("Identity", [translation.last(result, 0)], name)
        shape = list(result.input_value(0).shape)
        outputs.append(value(name, onnx.TensorProto.FLOAT, shape))
    shape = list(graph.inputs[0].shape)
    body = onnx.helper.make_graph(
        translation.needed([output.name for output in outputs]),
        "network",
        [value(INPUT_NAME, onnx.TensorProto.FLOAT, shape)],
        outputs,
    )
    used = {name for node in body.node for name in node.input}
    body.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        for name, array in translation.constants.items()
        if name in used
    )
    model = onnx.helper.make_model(
        body, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8
    )
    onnx.checker.check_model(model)
    return model


@dataclass
class _Translation:
    """The ONNX nodes so far.

    A value of the OpenVINO graph is named after its output. `first` names, for a value
    that is channels last, the same value channels first, and `swapped` for one with
    channels, columns, rows. The value itself has a node only if an operation needs it.
    """

    nodes: dict[str, onnx.NodeProto] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    swapped: dict[str, str] = field(default_factory=dict)
    same_as: dict[str, str] = field(default_factory=dict)

    def add(self, operation: openvino.Node) -> None:
        """Translate the next operation in topological order."""
        kind = operation.get_type_name()
        if kind == "Result":
            return
        if kind == "Parameter":
            self.same_as[_out(operation)] = INPUT_NAME
        elif kind == "Constant":
            data = np.asarray(operation.get_data())
            real = data.dtype.kind == "f"
            self.constants[_out(operation)] = data.astype(np.float32) if real else data
        elif kind in OPERATIONS:
            OPERATIONS[kind](self, operation)
        else:
            raise ModelError(
                "The operation %(operation)s is not translated to ONNX.",
                params={"operation": kind},
                reason_code=NOT_TRANSLATED,
            )

    def emit(self, kind: str, inputs: list[str], output: str, **options: Any) -> None:
        """Add a node."""
        import onnx

        self.nodes[output] = onnx.helper.make_node(kind, inputs, [output], **options)

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """Add a constant and return its name."""
        self.constants[name] = np.asarray(value, dtype)
        return name

    def name(self, operation: openvino.Node, number: int) -> str:
        """Return the name of an input, whatever its layout."""
        name = _name(operation.input_value(number))
        return self.same_as.get(name, name)

    def last(self, operation: openvino.Node, number: int) -> str:
        """Return the name of an input in the layout of the OpenVINO graph."""
        name = self.name(operation, number)
        for known, order in ((self.first, CHANNELS_LAST), (self.swapped, SWAPPED)):
            if name in known and name not in self.nodes:
                self.emit("Transpose", [known[name]], name, perm=order)
        return name

    def is_turned(self, operation: openvino.Node) -> bool:
        """Return whether an image among the inputs is at hand channels first."""
        count = operation.get_input_size()
        return any(
            self.name(operation, number) in self.first for number in range(count)
        )

    def turned(self, operation: openvino.Node, number: int) -> str:
        """Return the name of an input channels first."""
        name = self.name(operation, number)
        rank = len(operation.input_value(number).shape)
        if name in self.first:
            return self.first[name]
        if name in self.constants:
            array = self.constants[name]
            whole = array.reshape((1,) * (len(CHANNELS_FIRST) - rank) + array.shape)
            scalar = whole if whole.size == 1 else whole.transpose(CHANNELS_FIRST)
            return self.constant(f"{name}:first", scalar)
        turned = self.first[name] = f"{name}:first"
        self.emit("Transpose", [name], turned, perm=CHANNELS_FIRST)
        return turned

    def put(self, operation: openvino.Node, kind: str, **options: Any) -> None:
        """Add a node with all inputs of an operation, channels first if they are."""
        turned = self.is_turned(operation)
        take = self.turned if turned else self.last
        inputs = [take(operation, n) for n in range(operation.get_input_size())]
        self.emit(kind, inputs, self.result(operation, turned=turned), **options)

    def result(self, operation: openvino.Node, *, turned: bool) -> str:
        """Return the name for the result of an operation in the layout it is made."""
        name = _out(operation)
        if turned:
            self.first[name] = f"{name}:first"
            return self.first[name]
        return name

    def needed(self, outputs: list[str]) -> list[onnx.NodeProto]:
        """Return the nodes that the outputs depend on, in their order."""
        wanted = set(outputs)
        kept = []
        for name, node in reversed(self.nodes.items()):
            if name in wanted:
                kept.append(node)
                wanted.update(node.input)
        return kept[::-1]


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
            "The operation %(operation)s is not translated to ONNX.",
            params={"operation": operation.get_type_name()},
            reason_code=NOT_TRANSLATED,
        )
    return np.asarray(node.get_data())


def _same(kind: str) -> Operation:
    """Return the translation of an operation with the same inputs in ONNX."""
    return lambda graph, operation: graph.put(operation, kind)


def _window(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return strides, padding and dilation; OpenVINO has resolved "same" by now."""
    return {
        "strides": list(attributes["strides"]),
        "pads": [*attributes["pads_begin"], *attributes["pads_end"]],
        "dilations": list(attributes["dilations"]),
    }


def _convolution(graph: _Translation, operation: openvino.Node) -> None:
    kernel = np.asarray(_values(operation, 1), np.float32)
    groups = 1
    if operation.get_type_name() == "GroupConvolution":
        # ONNX has one axis for the groups and the outputs of a group.
        groups = len(kernel)
        kernel = kernel.reshape(-1, *kernel.shape[2:])
    name = _out(operation)
    weights = graph.constant(f"{name}:weights", kernel)
    window = _window(operation.get_attributes())
    image = graph.last(operation, 0)
    graph.emit("Conv", [image, weights], name, group=groups, **window)


def _normalisation(graph: _Translation, operation: openvino.Node) -> None:
    """Behind a convolution the normalisation becomes a part of its weights."""
    epsilon = operation.get_attributes()["epsilon"]
    name = _out(operation)
    image = graph.name(operation, 0)
    if image in graph.swapped:
        # It does not tell rows from columns.
        image = graph.swapped[image]
        graph.swapped[name] = name = f"{name}:first"
    else:
        image = graph.last(operation, 0)
    gamma, beta, mean, variance = (
        np.asarray(_values(operation, number), np.float64) for number in range(1, 5)
    )
    factor = gamma / np.sqrt(variance + epsilon)
    shift = beta - mean * factor
    before = graph.nodes.get(image)
    if before is not None and before.op_type == "Conv" and len(before.input) == 2:
        _fold(graph, before, name, factor=factor, shift=shift)
        return
    shape = (-1,) + (1,) * (len(operation.output(0).shape) - 2)
    scale = graph.constant(f"{name}:scale", factor.reshape(shape))
    offset = graph.constant(f"{name}:offset", shift.reshape(shape))
    graph.emit("Mul", [image, scale], f"{name}:scaled")
    graph.emit("Add", [f"{name}:scaled", offset], name)


def _fold(
    graph: _Translation,
    convolution: onnx.NodeProto,
    name: str,
    *,
    factor: np.ndarray,
    shift: np.ndarray,
) -> None:
    """Add a convolution whose outputs are scaled and shifted."""
    import onnx

    image, weights = convolution.input
    folded = graph.constants[weights] * factor[:, None, None, None]
    inputs = [
        image,
        graph.constant(f"{name}:weights", folded),
        graph.constant(f"{name}:bias", shift),
    ]
    options = {
        each.name: onnx.helper.get_attribute_value(each)
        for each in convolution.attribute
    }
    graph.emit("Conv", inputs, name, **options)


def _pooling(graph: _Translation, operation: openvino.Node) -> None:
    attributes = operation.get_attributes()
    options = {"kernel_shape": list(attributes["kernel"]), **_window(attributes)}
    kind = "MaxPool"
    if operation.get_type_name() == "AvgPool":
        kind = "AveragePool"
        # The dilation of a mean comes with a later version of ONNX.
        del options["dilations"]
        options["count_include_pad"] = int(not attributes["exclude-pad"])
    graph.emit(kind, [graph.last(operation, 0)], _out(operation), **options)


def _image_only(
    graph: _Translation, operation: openvino.Node, kind: str, constants: list[str]
) -> None:
    """Add a node with the image of an operation and constants, in either layout."""
    turned = graph.is_turned(operation)
    image = graph.turned(operation, 0) if turned else graph.last(operation, 0)
    graph.emit(kind, [image, *constants], graph.result(operation, turned=turned))


def _clamp(graph: _Translation, operation: openvino.Node) -> None:
    limits = operation.get_attributes()
    ends = [
        graph.constant(f"{_out(operation)}:{end}", limits[end])
        for end in ("min", "max")
    ]
    _image_only(graph, operation, "Clip", ends)


def _pad(graph: _Translation, operation: openvino.Node) -> None:
    if operation.get_attributes()["pad_mode"] != "constant":
        _values(operation, 0)
    begin, end = _values(operation, 1), _values(operation, 2)
    if graph.is_turned(operation):
        begin, end = begin[CHANNELS_FIRST], end[CHANNELS_FIRST]
    name = f"{_out(operation)}:pads"
    pads = graph.constant(name, np.concatenate([begin, end]), np.int64)
    value = graph.constant(f"{_out(operation)}:value", _values(operation, 3))
    _image_only(graph, operation, "Pad", [pads, value])


def _transpose(graph: _Translation, operation: openvino.Node) -> None:
    """Two transpositions that undo each other are none."""
    order = [int(axis) for axis in _values(operation, 1)]
    name, image = _out(operation), graph.name(operation, 0)
    if order == CHANNELS_LAST:
        graph.first[name] = graph.last(operation, 0)
    elif order == CHANNELS_FIRST:
        graph.same_as[name] = graph.turned(operation, 0)
    elif order == COLUMNS_FIRST and image in graph.first:
        graph.swapped[name] = graph.first[image]
    elif order == COLUMNS_FIRST and image in graph.swapped:
        graph.first[name] = graph.swapped[image]
    else:
        graph.emit("Transpose", [graph.last(operation, 0)], name, perm=order)


def _reshape(graph: _Translation, operation: openvino.Node) -> None:
    name = f"{_out(operation)}:shape"
    shape = graph.constant(name, list(operation.output(0).shape), np.int64)
    graph.emit("Reshape", [graph.last(operation, 0), shape], _out(operation))


def _mean(graph: _Translation, operation: openvino.Node) -> None:
    axes = [int(axis) for axis in np.atleast_1d(_values(operation, 1))]
    kept = int(operation.get_attributes()["keep_dims"])
    image = graph.name(operation, 0)
    options = {"keepdims": kept}
    if image in graph.first and axes == [1, 2] and not kept:
        image, axes = graph.first[image], [2, 3]
    else:
        image = graph.last(operation, 0)
    graph.emit("ReduceMean", [image], _out(operation), axes=axes, **options)


def _product(graph: _Translation, operation: openvino.Node) -> None:
    attributes = operation.get_attributes()
    names = [graph.last(operation, number) for number in range(2)]
    for number, key in enumerate(("transpose_a", "transpose_b")):
        if attributes[key]:
            rank = len(operation.input_value(number).shape)
            order = [*range(rank - 2), rank - 1, rank - 2]
            turned = f"{_out(operation)}:{key}"
            graph.emit("Transpose", [names[number]], turned, perm=order)
            names[number] = turned
    graph.emit("MatMul", names, _out(operation))


def _concatenation(graph: _Translation, operation: openvino.Node) -> None:
    axis = int(operation.get_attributes()["axis"])
    if graph.is_turned(operation):
        axis = CHANNELS_FIRST.index(axis)
    graph.put(operation, "Concat", axis=axis)


def _swish(graph: _Translation, operation: openvino.Node) -> None:
    factor = _values(operation, 1) if operation.get_input_size() > 1 else 1.0
    name = _out(operation)
    scale = graph.constant(f"{name}:factor", factor)
    turned = graph.is_turned(operation)
    image = graph.turned(operation, 0) if turned else graph.last(operation, 0)
    graph.emit("Mul", [image, scale], f"{name}:scaled")
    graph.emit("Sigmoid", [f"{name}:scaled"], f"{name}:gate")
    result = graph.result(operation, turned=turned)
    graph.emit("Mul", [image, f"{name}:gate"], result)


def _cast(graph: _Translation, operation: openvino.Node) -> None:
    """Every value that is computed is float32, so a cast to it changes nothing."""
    graph.same_as[_out(operation)] = graph.name(operation, 0)


# What our networks consist of (`ml.architectures`).
OPERATIONS: dict[str, Operation] = {
    "Add": _same("Add"),
    "AvgPool": _pooling,
    "BatchNormInference": _normalisation,
    "Clamp": _clamp,
    "Concat": _concatenation,
    "Convert": _cast,
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
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
