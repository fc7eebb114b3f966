"""The part of an import that needs Keras, run as a child process.

`python -m ml.exchange.import_child` opens the user's network, rebuilds it as a flat
graph, and saves its weights. It reports in JSON the properties of the network and the
outputs of the original for the sanity images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import ModelError
from ml.exchange.flattening import Flat, flatten
from ml.exchange.opening import open_network
from ml.exchange.saved_model import read_saved_model, shape_of, with_logits
from ml.networks.child_process import end_with_parent
from ml.networks.head_layers import head_of_network
from ml.networks.openvino_export import pack_graph
from ml.preprocessing import preprocess

if TYPE_CHECKING:
    import keras

CHANNELS = (1, 3)
HEAD_TOLERANCE = 1e-3
WEIGHTS_NAMES = {"keras": "weights.keras", "openvino": "weights.zip"}
REPORT_NAME = "report.json"
IMAGES_NAME = "images.npz"
REQUEST_NAME = "request.json"


def import_network(request: dict[str, Any], *, folder: Path) -> dict[str, Any]:
    """Write the weights of an imported network into `folder`; return its properties.

    Args:
        request: As `ml.exchange.importing` wrote it: file, labels, task, size, scaling,
            activation.
        folder: Contains the sanity images; the weights are written there.

    Raises:
        ModelError: The network cannot be imported.
    """
    file = Path(request["file"])
    if file.is_dir():
        return _import_saved_model(request, file, folder)
    model = open_network(file, scratch=folder)
    size, channels = _input_of(_input_shape(model), request["size"])
    flat = flatten(model, size=size, channels=channels)
    outputs = int(flat.network.outputs[0].shape[-1])
    _check_outputs(outputs, request["labels"])
    _check_activation(flat.activation, request)
    flat.network.save(folder / WEIGHTS_NAMES["keras"])
    images = _images(folder, size, channels, request["scaling"])
    _check_head(flat, images)
    return {
        "format": "keras",
        "size": size,
        "channels": channels,
        "activation": flat.activation,
        "last_convolution": flat.last_convolution,
        "no_maps": flat.no_maps,
        "parameters": int(flat.network.count_params()),
        "original": np.asarray(model.predict_on_batch(images)).tolist(),
    }


def _import_saved_model(
    request: dict[str, Any], source: Path, folder: Path
) -> dict[str, Any]:
    import openvino

    graph = read_saved_model(source)
    size, channels = _input_of(shape_of(graph), request["size"])
    if not request["activation"]:
        raise ModelError(
            "A SavedModel does not state whether its outputs are logits. Add "
            "--activation logits or --activation probabilities."
        )
    activation = request["task"] if request["activation"] == "probabilities" else ""
    graph = with_logits(
        graph, size=size, channels=channels, probabilities_of=activation
    )
    outputs = graph.output(0).partial_shape[-1]
    _check_outputs(0 if outputs.is_dynamic else outputs.get_length(), request["labels"])
    openvino.save_model(graph, folder / "converted.xml", compress_to_fp16=False)
    pack_graph(folder / "converted.xml", folder / WEIGHTS_NAMES["openvino"])
    return {
        "format": "openvino",
        "size": size,
        "channels": channels,
        "activation": activation,
        "last_convolution": "",
        "no_maps": "A SavedModel does not name its last convolution.",
        "parameters": None,
        "original": None,
    }


def _input_shape(model: keras.Model) -> tuple[int | None, int | None, int | None]:
    if not model.built:
        raise ModelError(
            "The network has no input shape. Call it once before you save it."
        )
    inputs = model.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ModelError(
            "The network must have one input, (batch, height, width, channels)."
        )
    return tuple(inputs[0].shape[1:])


def _input_of(
    shape: tuple[int | None, int | None, int | None], size: int | None
) -> tuple[int, int]:
    """Return side and channels of the input, from the network and from --size."""
    height, width, channels = shape
    if channels not in CHANNELS:
        raise ModelError(
            "The input has %(channels)s channels; 1 or 3 are expected.",
            params={"channels": str(channels)},
        )
    if height != width:
        raise ModelError(
            "The input is %(height)s x %(width)s; a square is expected.",
            params={"height": str(height), "width": str(width)},
        )
    if height is None and size is None:
        raise ModelError("The network takes any size. Add --size PIXELS.")
    if height and size and height != size:
        raise ModelError(
            "The network takes %(height)d pixels, but --size is %(size)d.",
            params={"height": height, "size": size},
        )
    return int(height or size or 0), int(channels)


def _check_outputs(outputs: int, labels: list[str]) -> None:
    if outputs == len(labels):
        return
    if outputs == 1 and len(labels) == 2:
        raise ModelError(
            "The network has one output, but 2 labels are given. A single output is "
            "the probability of one label: give only that one."
        )
    raise ModelError(
        "The network has %(outputs)d outputs, but %(labels)d labels are given.",
        params={"outputs": outputs, "labels": len(labels)},
    )


def _check_activation(activation: str, request: dict[str, Any]) -> None:
    expected = request["activation"]
    if expected == "logits" and activation:
        raise ModelError(
            "The network ends with %(activation)s, so its outputs are not logits.",
            params={"activation": activation},
        )
    if expected == "probabilities" and not activation:
        raise ModelError(
            "The network ends without an activation, so its outputs are logits."
        )
    if activation and activation != request["task"]:
        raise ModelError(
            "The network ends with %(activation)s, but --task is %(task)s.",
            params={"activation": activation, "task": request["task"]},
        )


def _images(folder: Path, size: int, channels: int, scaling: str) -> np.ndarray:
    """Return the sanity images as inputs of the network."""
    with np.load(folder / IMAGES_NAME) as stored:
        return np.stack(
            [
                preprocess(stored[name], size=size, channels=channels, scaling=scaling)[
                    0
                ]
                for name in sorted(stored.files)
            ]
        )


def _check_head(flat: Flat, images: np.ndarray) -> None:
    """Check that the head gives the network's logits, so that its gradient is right."""
    if flat.no_maps:
        return
    head = head_of_network(flat.network)
    logits, maps = (np.asarray(o) for o in flat.network.predict_on_batch(images))
    logits_of_head = np.stack([head.logits(each) for each in maps])
    largest = max(1.0, float(np.abs(logits).max()))
    if not np.abs(logits_of_head - logits).max() <= HEAD_TOLERANCE * largest:
        raise ModelError("The head could not be rebuilt: its logits differ.")


def main() -> None:
    """Import as the request file in the folder says; report a ModelError, too."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    folder: Path = arguments.folder
    request = json.loads((folder / REQUEST_NAME).read_text(encoding="utf-8"))
    try:
        report = import_network(request, folder=folder)
    except ModelError as error:
        report = {"error": error.to_json()}
    (folder / REPORT_NAME).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
