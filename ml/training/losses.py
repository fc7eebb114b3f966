"""Losses for training: cross-entropy or focal loss, weighted or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ml.datasets.ground_truth import GroundTruth
from ml.training.recipes import Recipe

# A class of a handful of images must not decide every step.
LARGEST_WEIGHT = 10.0
# The focal factor's own gradient has no end where a probability is 0 or 1.
NEVER_CERTAIN = 1e-6


def loss_of(recipe: Recipe, train: GroundTruth) -> Callable[[Any, Any], Any]:
    """Return the loss of a recipe: targets and logits (images, labels) to a number.

    Focal loss (Lin et al. 2017) makes images count less the surer the network is of
    their truth; weights make a rare label's images count more.
    """
    weights = class_weights(recipe, train)
    gamma = recipe.refinements.focal_gamma
    if recipe.task == "softmax":
        return softmax_loss(weights, gamma=gamma, smoothing=recipe.label_smoothing)
    return sigmoid_loss(weights, gamma=gamma, smoothing=recipe.label_smoothing)


def class_weights(recipe: Recipe, train: GroundTruth) -> np.ndarray:
    """Return the weight of each label, float32; ones without class weights.

    Softmax: the inverse of how often a class is there, 1 on average over the images.
    Sigmoid: what a positive weighs against a negative, so that both weigh the same.
    """
    count = len(recipe.labels)
    if not recipe.refinements.class_weights:
        return np.ones(count, np.float32)
    positives = np.maximum((train.positive & train.known).sum(axis=0), 1)
    if recipe.task == "softmax":
        weights = len(train.rows) / (count * positives)
    else:
        weights = (train.known & ~train.positive).sum(axis=0) / positives
    return np.clip(weights, 1 / LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)


def softmax_loss(
    weights: np.ndarray, *, gamma: float, smoothing: float
) -> Callable[[Any, Any], Any]:
    """Return the categorical loss of one-hot targets."""
    from keras import ops

    def loss(targets: Any, logits: Any) -> Any:
        wanted = targets * (1.0 - smoothing) + smoothing / len(weights)
        logged = ops.log_softmax(logits)
        each = -wanted * logged * _doubt(ops.exp(logged), gamma)
        return ops.mean(ops.sum(each, axis=-1) * ops.sum(targets * weights, axis=-1))

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
