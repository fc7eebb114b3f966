"""Losses for training: cross-entropy or focal loss, weighted or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ml.datasets.ground_truth import GroundTruth
from ml.training.heads import columns_of, of_head
from ml.training.recipes import Head, Recipe

# A class of a handful of images must not decide every step.
LARGEST_WEIGHT = 10.0
# The focal factor's own gradient has no end where a probability is 0 or 1.
NEVER_CERTAIN = 1e-6


def loss_of(recipe: Recipe, train: GroundTruth) -> Callable[[Any, Any], Any]:
    """Return the loss of a recipe: targets and logits (images, labels) to a number.

    It is the sum over the heads, each by its weight. Focal loss (Lin et al. 2017) makes
    images count less the surer the network is of their truth; weights make a rare
    label's images count more.
    """
    parts = [
        (columns, head.weight, _loss_of_head(recipe, head, columns, train))
        for head, columns in columns_of(recipe)
    ]

    def loss(targets: Any, logits: Any) -> Any:
        return sum(
            weight * of_head(targets[:, columns], logits[:, columns])
            for columns, weight, of_head in parts
        )

    return loss


def _loss_of_head(
    recipe: Recipe, head: Head, columns: slice, train: GroundTruth
) -> Callable[[Any, Any], Any]:
    weights = np.ones(len(head.labels), np.float32)
    if recipe.refinements.class_weights:
        weights = class_weights(head.task, of_head(train, columns)[1])
    loss = softmax_loss if head.task == "softmax" else sigmoid_loss
    return loss(
        weights,
        gamma=recipe.refinements.focal_gamma,
        smoothing=recipe.label_smoothing,
    )


def class_weights(task: str, train: GroundTruth) -> np.ndarray:
    """Return the weight of each label of a head, float32.

    Softmax: the inverse of how often a class is there, 1 on average over the images.
    Sigmoid: what a positive weighs against a negative, so that both weigh the same.
    """
    count = train.positive.shape[1]
    positives = np.maximum((train.positive & train.known).sum(axis=0), 1)
    if task == "softmax":
        weights = len(train.rows) / (count * positives)
    else:
        weights = (train.known & ~train.positive).sum(axis=0) / positives
    return np.clip(weights, 1 / LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)


def softmax_loss(
    weights: np.ndarray, *, gamma: float, smoothing: float
) -> Callable[[Any, Any], Any]:
    """Return the mean categorical loss of one-hot targets; unknown ones are -1."""
    from keras import ops

    def loss(targets: Any, logits: Any) -> Any:
        wanted = targets * (1.0 - smoothing) + smoothing / len(weights)
        logged = ops.log_softmax(logits)
        each = -wanted * logged * _doubt(ops.exp(logged), gamma)
        known = ops.cast(targets[:, 0] >= 0, logits.dtype)
        each = ops.sum(each, axis=-1) * ops.sum(targets * weights, axis=-1)
        return ops.sum(each * known) / ops.maximum(ops.sum(known), 1.0)

    return loss


def sigmoid_loss(
    weights: np.ndarray, *, gamma: float, smoothing: float
) -> Callable[[Any, Any], Any]:
    """Return the mean binary loss over the labels that are known (target not -1)."""
    from keras import ops

    def loss(targets: Any, logits: Any) -> Any:
        known = ops.cast(targets >= 0, logits.dtype)
        wanted = targets * (1.0 - smoothing) + 0.5 * smoothing
        score = ops.sigmoid(logits)
        # softplus(-x) is -log(sigmoid(x)), and finite for any logit.
        present = wanted * weights * ops.softplus(-logits) * _doubt(score, gamma)
        absent = (1.0 - wanted) * ops.softplus(logits) * _doubt(1.0 - score, gamma)
        return ops.sum((present + absent) * known) / ops.maximum(ops.sum(known), 1.0)

    return loss


def _doubt(probability: Any, gamma: float) -> Any:
    """Return the focal factor of terms whose truth has this probability."""
    from keras import ops

    if not gamma:
        return 1.0
    return ops.power(ops.maximum(1.0 - probability, NEVER_CERTAIN), gamma)
