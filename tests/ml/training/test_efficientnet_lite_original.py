"""Our EfficientNet-Lite0 computes what the original does, from the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.architectures.efficientnet_lite import build_efficientnet_lite0
from ml.training.start import efficientnet_lite
from ml.training.start.initial_weights import initialise
from ml.training.start.torch_file import read_tensors

pytestmark = pytest.mark.slow

# Written by `write_efficientnet_lite_outputs.py` there.
OUTPUTS = Path(__file__).parent / "data" / "efficientnet-lite0-outputs.npz"


def test_maps_and_logits_are_those_of_the_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On colours, with the original's last stride and its 1000 classes."""
    network = build_efficientnet_lite0(1000, 3, "float32", None, last_stride=2)
    monkeypatch.setattr(efficientnet_lite, "_fold_colours", lambda *args, **named: None)
    initialise(network, "efficientnet-lite0")
    tensors = read_tensors(efficientnet_lite._weights_file("efficientnet-lite0"))
    head = [tensors["_fc.weight"].T, tensors["_fc.bias"]]
    network.get_layer("logits").set_weights(head)
    with np.load(OUTPUTS) as stored:
        side = int(stored["side"])
        rng = np.random.default_rng(int(stored["seed"]))
        images = rng.normal(size=(2, side, side, 3)).astype(np.float32)
        logits, maps = network(images, training=False)
        assert np.allclose(np.asarray(maps), stored["maps"], rtol=0, atol=1e-4)
        assert np.allclose(np.asarray(logits), stored["logits"], rtol=0, atol=1e-4)
        assert stored["maps"].max() > 1


def test_grey_images_give_nearly_the_answer_of_their_colours() -> None:
    """Not quite: where the original pads with 127, we pad with 127.5."""
    grey = np.random.default_rng(0).uniform(size=(2, 64, 64, 1)).astype(np.float32)
    answers = []
    for channels, scaled in (
        (1, (grey - 0.5) / 0.25),
        (3, np.repeat((grey * 255 - 127) / 128, 3, axis=3)),
    ):
        network = build_efficientnet_lite0(2, channels, "float32", None)
        with pytest.MonkeyPatch.context() as patch:
            if channels == 3:
                patch.setattr(efficientnet_lite, "_fold_colours", lambda *a, **b: None)
            initialise(network, "efficientnet-lite0")
        answers.append(np.asarray(network(scaled, training=False)[1]))
    assert np.abs(answers[0] - answers[1]).max() < 0.05 * answers[1].max()
