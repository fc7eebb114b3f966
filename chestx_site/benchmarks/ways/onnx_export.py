"""Export a network as ONNX: `python -m …onnx_export CARD OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

from ml.cards.card import read_card
from ml.networks.weights_file import load_network


def main() -> None:
    """Export to a temporary name first, so that the final file is complete."""
    card, out = read_card(Path(sys.argv[1])), Path(sys.argv[2])
    unfinished = out.with_suffix(".unfinished.onnx")
    network = load_network(card, card.weights_file)
    shape = (card.input_size, card.input_size, card.input_channels)
    # Keras exports only networks that have been called.
    network(np.zeros((1, *shape), np.float32))
    network.export(
        str(unfinished),
        format="onnx",
        verbose=False,
        input_signature=[keras.InputSpec(shape=(None, *shape), dtype="float32")],
    )
    unfinished.replace(out)


if __name__ == "__main__":
    main()
