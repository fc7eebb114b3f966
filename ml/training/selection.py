"""Choose a network's settings on held-out training patients, before val is read.

Input size, calibration and operating points come from one half of them, label sets
and bands from the other: a set is worth nothing on images that its scores were fitted
to. The heads of a network share its input size; the rest is chosen for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.architectures.build import FIXED_SIZE
from ml.calibration import probabilities
from ml.datasets.ground_truth import GroundTruth, images_of
from ml.datasets.image_cache import PackedImages
from ml.datasets.manifest import drawn_percent
from ml.metrics import expected_calibration_error
from ml.training.calibration import LEAST_IMAGES, fit_calibration
from ml.training.heads import columns_of, of_head, recipe_of_head
from ml.training.held_out import log_loss
from ml.training.operating_points import operating_points
from ml.training.recipes import Recipe
from ml.training.run import predict_logits
from ml.training.uncertainty import fit_uncertainty

# Images may be read a little larger than they were learned at (Touvron et al. 2019).
SIZE_STEPS = (1.0, 1.2)


@dataclass(frozen=True)
class Choices:
    """Settings chosen on held-out training patients, as the card keeps them."""

    size: int
    calibration: dict[str, Any]
    operating_points: dict[str, dict[str, float]]
    uncertainty: dict[str, Any]


def choose(
    recipe: Recipe,
    network: Any,
    held_out: GroundTruth,
    images: PackedImages,
    *,
    learned: int,
) -> list[Choices]:
    """Choose input size, calibration, operating points and label sets of every head.

    Args:
        recipe: What was trained.
        network: With the outputs (logits, maps).
        held_out: Images of train patients that the network did not see.
        images: The same images, packed.
        learned: Side of the images of the last epoch.

    Returns:
        The choices of each head of the recipe, in its order.
    """
    logits = {
        size: predict_logits(network, images, size=size)
        for size in _sizes(recipe, learned)
    }
    losses = {
        size: _loss(recipe, outputs, held_out) for size, outputs in logits.items()
    }
    size = min(losses, key=lambda tried: losses[tried])
    tried = {str(s): _rounded(x) for s, x in losses.items()}
    chosen = []
    for head, columns in columns_of(recipe):
        rows, own = of_head(held_out, columns)
        outputs = logits[size][rows, columns]
        chosen.append(_choose(recipe_of_head(recipe, head), outputs, own, size, tried))
    return chosen


def _loss(recipe: Recipe, logits: np.ndarray, held_out: GroundTruth) -> float:
    """Return the loss of all heads on the images that scores are fitted to."""
    first = _first_half(recipe, held_out)
    fitted, outputs = images_of(held_out, np.flatnonzero(first)), logits[first]
    total = 0.0
    for head, columns in columns_of(recipe):
        rows, own = of_head(fitted, columns)
        if len(rows):
            total += head.weight * log_loss(head.task, outputs[rows, columns], own)
    return total


def _choose(
    recipe: Recipe,
    logits: np.ndarray,
    held_out: GroundTruth,
    size: int,
    sizes_tried: dict[str, float],
) -> Choices:
    """Choose what belongs to one head; its logits and ground truth alone."""
    first = _first_half(recipe, held_out)
    if recipe.task == "sigmoid" and _has_too_few(
        images_of(held_out, np.flatnonzero(first))
    ):
        first[:] = True
    fitted = images_of(held_out, np.flatnonzero(first))
    calibration = _calibrate(recipe, logits[first], fitted, are_all=bool(first.all()))
    calibration["sizes_tried"] = sizes_tried
    scores = probabilities(
        logits, task=recipe.task, names=recipe.label_names, calibration=calibration
    )
    others = images_of(held_out, np.flatnonzero(~first))
    gap = _gap(recipe, scores[~first], others)
    calibration["expected_calibration_error_on_the_others"] = gap
    return Choices(
        size=size,
        calibration=calibration,
        operating_points=_points(recipe, scores[first], fitted),
        uncertainty=_uncertainty(recipe, scores[~first], others),
    )


def _first_half(recipe: Recipe, held_out: GroundTruth) -> np.ndarray:
    """Return bool (images,): images of the patients that scores are fitted to."""
    limit = recipe.held_out_percent // 2
    return np.array([drawn_percent(r.patient) < limit for r in held_out.rows], bool)


def _has_too_few(fitted: GroundTruth) -> bool:
    """Return whether no label has enough images of both kinds to be calibrated.

    Then all held-out images serve the calibration, and none are left for label sets.
    """
    positives = (fitted.positive & fitted.known).sum(axis=0)
    negatives = (~fitted.positive & fitted.known).sum(axis=0)
    return bool((np.minimum(positives, negatives) < LEAST_IMAGES).all())


def _sizes(recipe: Recipe, learned: int) -> list[int]:
    if recipe.architecture in FIXED_SIZE:
        return [learned]
    return sorted({round(learned * step / 32) * 32 for step in SIZE_STEPS})


def _calibrate(
    recipe: Recipe, logits: np.ndarray, fitted: GroundTruth, *, are_all: bool
) -> dict[str, Any]:
    patients = len({row.patient for row in fitted.rows})
    rest = "none are left for bands" if are_all else "the label sets on others"
    return {
        **fit_calibration(
            logits,
            fitted.positive,
            fitted.known,
            task=recipe.task,
            names=recipe.label_names,
        ),
        "images": len(fitted.rows),
        "patients": patients,
        "fitted_on": f"{patients} patients of the train split that were kept out of "
        f"learning; {rest}",
    }


def _points(
    recipe: Recipe, scores: np.ndarray, fitted: GroundTruth
) -> dict[str, dict[str, float]]:
    return operating_points(
        scores,
        fitted.positive,
        fitted.known,
        names=recipe.label_names,
        task=recipe.task,
    )


def _uncertainty(
    recipe: Recipe, scores: np.ndarray, others: GroundTruth
) -> dict[str, Any]:
    return fit_uncertainty(
        scores,
        others.positive,
        others.known,
        task=recipe.task,
        names=recipe.label_names,
        patients=[row.patient for row in others.rows],
    )


def _gap(recipe: Recipe, scores: np.ndarray, ground_truth: GroundTruth) -> float | None:
    """Return the calibration error of the class chosen, or of all known labels."""
    if not ground_truth.rows:
        return None
    if recipe.task == "softmax":
        right = scores.argmax(axis=1) == ground_truth.positive.argmax(axis=1)
        return _rounded(expected_calibration_error(scores.max(axis=1), right))
    known = ground_truth.known
    return _rounded(
        expected_calibration_error(scores[known], ground_truth.positive[known])
    )


def _rounded(value: float) -> float:
    return round(float(value), 4)
