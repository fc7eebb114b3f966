"""Compile a network for training: one output, an optimizer, a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.datasets.ground_truth import GroundTruth
from ml.training.losses import loss_of
from ml.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

HEAD_LAYER = "logits"


def compiled(
    network: keras.Model, recipe: Recipe, train: GroundTruth, *, head_only: bool
) -> keras.Model:
    """Return a compiled model of a network's logits; frozen layers keep statistics."""
    import keras

    for layer in network.layers:
        layer.trainable = not head_only or layer.name == HEAD_LAYER

    classifier = keras.Model(network.inputs, network.outputs[0])
    optimizer = keras.optimizers.AdamW(
        recipe.peak_learning_rate,
        weight_decay=recipe.weight_decay,
        global_clipnorm=1.0,
    )
    # Decay pulls on what is multiplied with the image, not on shifts and scales.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    classifier.compile(
        optimizer=optimizer,
        loss=loss_of(recipe, train),
        metrics=["accuracy"] if recipe.task == "softmax" else [],
        jit_compile=False,
    )
    return classifier


def dropout_of(network: keras.Model) -> float | None:
    """Return the rate of a network's last dropout layer, or None without one."""
    import keras

    rates = [
        layer.rate
        for layer in network.layers
        if isinstance(layer, keras.layers.Dropout)
    ]
    return float(rates[-1]) if rates else None


def set_dropout(network: keras.Model, rate: float | None) -> None:
    """Set the rate of a network's dropout layers; None leaves them as they are."""
    import keras

    for layer in network.layers:
        if rate is not None and isinstance(layer, keras.layers.Dropout):
            layer.rate = rate
