"""The part of an export that needs Keras, run as a child process.

`python -m ml.exchange.export_child` writes a network in another format, runs the
exported file with a runtime of that format, and stores the outputs.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.architectures.build import build
from ml.networks.child_process import end_with_parent
from ml.networks.head_layers import made_by
from ml.networks.weights_file import network_of_file

if TYPE_CHECKING:
    import keras

REQUEST_NAME = "request.json"
INPUTS_NAME = "inputs.npy"
OUTPUTS_NAME = "outputs.npz"
EXPORTED_NAMES = {
    "onnx": "exported.onnx",
    "openvino": "exported.xml",
    "savedmodel": "exported",
    "tflite": "exported.tflite",
}
# Names of the formats in `keras.Model.export`.
KERAS_FORMATS = {
    "onnx": "onnx",
    "openvino": "openvino",
    "savedmodel": "tf_saved_model",
    "tflite": "litert",
}
LOGITS_RANK = 2

Outputs = list[np.ndarray]


def with_columns(
    network: keras.Model, *, architecture: str, begin: int, end: int
) -> keras.Model:
    """Return a network with some columns of the logits of another, and its maps."""
    _, size, _, channels = network.inputs[0].shape
    own = build(architecture, classes=end - begin, channels=channels, size=size)
    last, _ = made_by(own.outputs[0])
    for layer in own.layers:
        weights = network.get_layer(layer.name).get_weights()
        if layer is last:
            weights = [array[..., begin:end] for array in weights]
        layer.set_weights(weights)
    return own


def export(network: keras.Model, file: Path, *, file_format: str, size: int) -> None:
    """Write a network in a format of `KERAS_FORMATS`."""
    import keras

    channels = network.inputs[0].shape[-1]
    # Keras exports ONNX only after the network was called once.
    network(np.zeros((1, size, size, channels), np.float32), training=False)
    options: dict[str, Any] = {}
    if file_format == "tflite":
        # TFLite needs a fixed input shape to plan its memory.
        shape = (1, size, size, channels)
        options["input_signature"] = [keras.InputSpec(shape=shape, dtype="float32")]
    network.export(
        str(file), format=KERAS_FORMATS[file_format], verbose=False, **options
    )


def run_exported(file: Path, images: np.ndarray, *, file_format: str) -> Outputs:
    """Run an exported file on images, one at a time; stack each output over images."""
    run = RUNNERS[file_format](file)
    outputs = [run(image[None]) for image in images]
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def _by_onnxruntime(file: Path) -> Callable[[np.ndarray], Outputs]:
    # Only in requirements.txt: the other formats do not need it.
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: [np.asarray(o) for o in session.run(None, {name: image})]


def _by_openvino(file: Path) -> Callable[[np.ndarray], Outputs]:
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(file), "CPU", options)
    return lambda image: [np.array(o) for o in compiled([image]).values()]


def _by_tensorflow(folder: Path) -> Callable[[np.ndarray], Outputs]:
    import keras

    layer = keras.layers.TFSMLayer(str(folder), call_endpoint="serve")

    def run(image: np.ndarray) -> Outputs:
        outputs = layer(image)
        values = outputs.values() if isinstance(outputs, dict) else outputs
        several = isinstance(values, list | tuple) or isinstance(outputs, dict)
        return [np.asarray(o) for o in (values if several else [values])]

    return run


# OpenVINO reads `.tflite` files with code that is independent of the TensorFlow export.
RUNNERS: dict[str, Callable[[Path], Callable[[np.ndarray], Outputs]]] = {
    "onnx": _by_onnxruntime,
    "openvino": _by_openvino,
    "savedmodel": _by_tensorflow,
    "tflite": _by_openvino,
}


def outputs_by_name(outputs: Outputs) -> dict[str, np.ndarray]:
    """Name outputs by their rank: the formats keep neither names nor order."""
    return {
        "logits" if output.ndim == LOGITS_RANK else "maps": output for output in outputs
    }


def main() -> None:
    """Export as the request file in the folder says."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    folder: Path = arguments.folder
    request = json.loads((folder / REQUEST_NAME).read_text(encoding="utf-8"))
    network = network_of_file(
        Path(request["weights"]),
        architecture=request["architecture"],
        classes=request["classes"],
        channels=request["channels"],
    )
    if request["columns"]:
        begin, end = request["columns"]
        network = with_columns(
            network, architecture=request["architecture"], begin=begin, end=end
        )
    file = folder / EXPORTED_NAMES[request["format"]]
    export(network, file, file_format=request["format"], size=request["size"])
    images = np.load(folder / INPUTS_NAME)
    outputs = run_exported(file, images, file_format=request["format"])
    np.savez(folder / OUTPUTS_NAME, allow_pickle=False, **outputs_by_name(outputs))


if __name__ == "__main__":
    main()
