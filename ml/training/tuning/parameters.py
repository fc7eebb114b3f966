"""Parameters of a recipe that can be tuned, and their ranges."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ml.errors import TrainingError
from ml.training.recipes import Recipe
from ml.training.samples.augmentation import Augmentation

# Lowest and highest value of each; rates are searched by their logarithm. The strength
# of the augmentation is a factor: 0 leaves images as they are, 1 is the recipe's own.
RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (3e-5, 3e-3),
    "weight_decay": (1e-4, 0.2),
    "augmentation": (0.0, 1.5),
    "label_smoothing": (0.0, 0.15),
    "dropout": (0.0, 0.5),
}
LOGARITHMIC = frozenset({"learning_rate", "weight_decay"})
SMALLEST_AREA = 0.2


def with_params(recipe: Recipe, params: Mapping[str, float]) -> Recipe:
    """Return a recipe with tuned values for those of `RANGES` that are given.

    Raises:
        TrainingError: A name is unknown or a value is no number within its range.
    """
    for name, value in params.items():
        if name not in RANGES:
            raise TrainingError(
                "The parameter %(name)s cannot be tuned; known: %(known)s.",
                params={"name": name, "known": ", ".join(RANGES)},
            )
        low, high = RANGES[name]
        if not isinstance(value, int | float) or not low <= value <= high:
            raise TrainingError(
                "%(name)s is %(value)r, not a number from %(low)g to %(high)g.",
                params={"name": name, "value": value, "low": low, "high": high},
            )
    strength = params.get("augmentation", 1.0)
    return replace(
        recipe,
        peak_learning_rate=params.get("learning_rate", recipe.peak_learning_rate),
        weight_decay=params.get("weight_decay", recipe.weight_decay),
        label_smoothing=params.get("label_smoothing", recipe.label_smoothing),
        augmentation=scaled(recipe.augmentation, strength),
        refinements=replace(
            recipe.refinements,
            dropout=params.get("dropout", recipe.refinements.dropout),
        ),
    )


def read_params(path: Path) -> dict[str, float]:
    """Read tuned values from a JSON file, such as `tune_model` writes.

    Raises:
        TrainingError: The file is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            "%(path)s cannot be read: %(reason)s.",
            params={"path": path, "reason": error},
        ) from error
    if not isinstance(content, dict):
        raise TrainingError("%(path)s holds no JSON object.", params={"path": path})
    params = content.get("params", content)
    if not isinstance(params, dict):
        raise TrainingError("%(path)s holds no params.", params={"path": path})
    return params


def scaled(augmentation: Augmentation, strength: float) -> Augmentation:
    """Return variations that are `strength` times as strong; mirroring stays."""
    narrow, wide = (math.exp(strength * math.log(x)) for x in augmentation.aspect_range)
    area = 1.0 - strength * (1.0 - augmentation.smallest_area)
    return replace(
        augmentation,
        smallest_area=max(SMALLEST_AREA, area),
        aspect_range=(narrow, wide),
        rotation_degrees=strength * augmentation.rotation_degrees,
        gamma_log_range=strength * augmentation.gamma_log_range,
        contrast_range=min(0.9, strength * augmentation.contrast_range),
        brightness_range=strength * augmentation.brightness_range,
        border_probability=min(1.0, strength * augmentation.border_probability),
        patch_probability=min(1.0, strength * augmentation.patch_probability),
        blur_probability=min(1.0, strength * augmentation.blur_probability),
        lung_crop_probability=min(1.0, strength * augmentation.lung_crop_probability),
        lungs_only_probability=min(1.0, strength * augmentation.lungs_only_probability),
        mixing=strength * augmentation.mixing,
    )
