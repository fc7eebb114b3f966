"""Compile a network for training: one output, an optimizer, a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml.datasets.ground_truth import GroundTruth
from ml.training.distillation import distillation_loss, student_accuracy, taught
from ml.training.losses import loss_of
from ml.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

HEAD_LAYER = "logits"


def compiled(
    network: keras.Model,
    recipe: Recipe,
    train: GroundTruth,
    *,
    head_only: bool,
    teacher: keras.Model | None = None,
) -> keras.Model:
    """Return a compiled model of a network's logits; frozen layers keep statistics.

    With a teacher, its logits stand behind those of the network.
    """
    import keras

    for layer in network.layers:
        is_head = layer.name == HEAD_LAYER
        frozen = head_only or layer.name.startswith(recipe.frozen)
        layer.trainable = is_head or not frozen

    loss = loss_of(recipe, train)
    if teacher is None:
        classifier = keras.Model(network.inputs, network.outputs[0])
    else:
        classifier = taught(network, teacher)
        loss = distillation_loss(recipe, loss)
    classifier.compile(
        optimizer=optimizer_of(recipe, recipe.peak_learning_rate),
        loss=loss,
        metrics=[student_accuracy(recipe)] if _is_one_softmax(recipe) else [],
        jit_compile=False,
    )
    return classifier


def _is_one_softmax(recipe: Recipe) -> bool:
    return len(recipe.heads) == 1 and recipe.heads[0].task == "softmax"


def optimizer_of(
    recipe: Recipe, rate: float | keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a recipe, with this learning rate."""
    import keras

    class TrunkAdamW(keras.optimizers.AdamW):
        """AdamW (Loshchilov and Hutter 2019) with a lower rate before the heads."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            """Update one variable."""
            # Some backends give their own variable, which has no path.
            own = self._trainable_variables[self._get_variable_index(variable)]
            is_head = own.path.startswith(HEAD_LAYER)
            share = 1.0 if is_head else recipe.trunk_rate
            super().update_step(gradient, variable, learning_rate * share)

    optimizer = TrunkAdamW(rate, weight_decay=recipe.weight_decay, global_clipnorm=1.0)
    # Decay pulls on what is multiplied with the image, not on shifts and scales.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


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
