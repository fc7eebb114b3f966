"""The part of an import that needs Keras, in a process of its own.

`python -m ml.exchange.import_child`: opens the user's network, rebuilds it flat, writes
it as weights, and tells in JSON what it found and what the original says of the sanity
images.
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


def import_network(asked: dict[str, Any], *, folder: Path) -> dict[str, Any]:
    """Write the weights of an import into `folder`; return what is to be known.

    Args:
        asked: What `ml.exchange.importing` wrote: file, labels, task, size, scaling,
            activation.
        folder: Holds the sanity images; the weights are written there.

    Raises:
        ModelError: The network cannot be imported.
    """
    file = Path(asked["file"])
    if file.is_dir():
        return _import_saved_model(asked, file, folder)
    model = open_network(file, scratch=folder)
    size, channels = _input_of(_input_shape(model), asked["size"])
    flat = flatten(model, size=size, channels=channels)
    outputs = int(flat.network.outputs[0].shape[-1])
    _check_outputs(outputs, asked["labels"])
    _check_activation(flat.activation, asked)
    flat.network.save(folder / WEIGHTS_NAMES["keras"])
    images = _images(folder, size, channels, asked["scaling"])
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
    asked: dict[str, Any], source: Path, folder: Path
) -> dict[str, Any]:
    import openvino

    graph = read_saved_model(source)
    size, channels = _input_of(shape_of(graph), asked["size"])
    if not asked["activation"]:
        raise ModelError(
            "A SavedModel does not say whether its outputs are logits: add "
            "--activation logits or --activation probabilities."
        )
    given = asked["task"] if asked["activation"] == "probabilities" else ""
    graph = with_logits(graph, size=size, channels=channels, probabilities_of=given)
    outputs = graph.output(0).partial_shape[-1]
    _check_outputs(0 if outputs.is_dynamic else outputs.get_length(), asked["labels"])
    openvino.save_model(graph, folder / "converted.xml", compress_to_fp16=False)
    pack_graph(folder / "converted.xml", folder / WEIGHTS_NAMES["openvino"])
    return {
        "format": "openvino",
        "size": size,
        "channels": channels,
        "activation": given,
        "last_convolution": "",
        "no_maps": "A SavedModel does not tell its last convolution.",
        "parameters": None,
        "original": None,
    }


def _input_shape(model: keras.Model) -> tuple[int | None, int | None, int | None]:
    if not model.built:
        raise ModelError(
            "The network does not say the shape of its input: save it after a call."
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
    """Decide side and channels of the input from what is fixed and what was asked."""
    height, width, channels = shape
    if channels not in CHANNELS:
        raise ModelError(f"The input has {channels} channels; 1 or 3 are wanted.")
    if height != width:
        raise ModelError(f"The input is {height} x {width}; a square is wanted.")
    if height is None and size is None:
        raise ModelError("The network takes any size: say --size PIXELS.")
    if height and size and height != size:
        raise ModelError(f"The network takes {height} pixels, and --size says {size}.")
    return int(height or size or 0), int(channels)


def _check_outputs(outputs: int, labels: list[str]) -> None:
    if outputs == len(labels):
        return
    hint = ""
    if outputs == 1 and len(labels) == 2:
        hint = " A single output is the probability of one label: name that one."
    raise ModelError(
        f"The network has {outputs} outputs, and {len(labels)} labels are named.{hint}"
    )


def _check_activation(found: str, asked: dict[str, Any]) -> None:
    wanted = asked["activation"]
    if wanted == "logits" and found:
        raise ModelError(f"The network ends with {found}: its outputs are no logits.")
    if wanted == "probabilities" and not found:
        raise ModelError("The network ends without an activation: it gives logits.")
    if found and found != asked["task"]:
        raise ModelError(
            f"The network ends with {found}, and --task says {asked['task']}."
        )


def _images(folder: Path, size: int, channels: int, scaling: str) -> np.ndarray:
    """Return the sanity images as the network takes them."""
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
    """Hold the head against the network: its gradient is that of these numbers."""
    if flat.no_maps:
        return
    head = head_of_network(flat.network)
    logits, maps = (np.asarray(o) for o in flat.network.predict_on_batch(images))
    again = np.stack([head.logits(each) for each in maps])
    largest = max(1.0, float(np.abs(logits).max()))
    if not np.abs(again - logits).max() <= HEAD_TOLERANCE * largest:
        raise ModelError("The head could not be rebuilt: other logits come out.")


def main() -> None:
    """Import as a JSON file in the folder says; a refusal is a report, too."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    asked = json.loads((arguments.folder / "asked.json").read_text(encoding="utf-8"))
    try:
        report = import_network(asked, folder=arguments.folder)
    except ModelError as refusal:
        report = {"refused": refusal.message, "reason_code": refusal.reason_code}
    text = json.dumps(report)
    (arguments.folder / REPORT_NAME).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
