"""Settings chosen on held-out images: which of them calibrate, and which do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml.datasets.ground_truth import GroundTruth
from ml.datasets.manifest import ManifestRow, drawn_percent
from ml.labels import TUBERCULOSIS_LABELS
from ml.training.recipes import Recipe, Stage
from ml.training.selection import choose

RECIPE = Recipe(
    name="made-up",
    version="1",
    architecture="tiny",
    labels=TUBERCULOSIS_LABELS,
    stages=(Stage(0.0, 32),),
    task="sigmoid",
)


class GreyImages:
    """Images of one grey, that of the sick brighter."""

    def __init__(self, positive: np.ndarray) -> None:
        self.positive = positive

    def __len__(self) -> int:
        return len(self.positive)

    def deep_image(self, index: int) -> np.ndarray:
        """Return one image."""
        noise = np.random.default_rng(index).integers(0, 999, (40, 40))
        return (noise + 1000 * self.positive[index]).astype(np.uint16)


class Guess:
    """A network whose logits are a little noise."""

    def predict_on_batch(self, inputs: np.ndarray) -> tuple[np.ndarray, None]:
        """Return logits, and no maps."""
        return inputs.std(axis=(1, 2)), None


def held_out(each_half: int) -> GroundTruth:
    """Return as many images for the scores as for the bands, half of them positive."""
    halves: tuple[list[str], list[str]] = ([], [])
    number = 0
    while min(map(len, halves)) < each_half:
        number += 1
        percent = drawn_percent(f"made-up/p{number}")
        if percent < RECIPE.held_out_percent:
            half = halves[percent >= RECIPE.held_out_percent // 2]
            if len(half) < each_half:
                half.append(f"p{number}")
    patients = [*halves[0], *halves[1]]
    rows = tuple(
        ManifestRow(
            path=f"{name}.png",
            dataset="made-up",
            split="train",
            patient=f"made-up/{name}",
            view="PA",
            licence="",
            labels=(),
        )
        for name in patients
    )
    positive = np.arange(len(rows))[:, None] % 2 == 0
    return GroundTruth(
        rows=rows,
        positive=positive,
        known=np.ones_like(positive),
        unknown=(),
        ambiguous=(),
    )


@pytest.mark.parametrize(
    ("each_half", "calibrated_on", "left_for_bands"), [(30, 30, 30), (14, 28, 0)]
)
def test_too_few_images_for_two_halves_all_serve_the_calibration(
    each_half: int, calibrated_on: int, left_for_bands: int
) -> None:
    truth = held_out(each_half)
    images: Any = GreyImages(truth.positive[:, 0])
    (choices,) = choose(RECIPE, Guess(), truth, images, learned=32)
    assert choices.calibration["images"] == calibrated_on
    assert choices.calibration["calibrated"]
    assert choices.uncertainty["calibrated_on"]["images"] == left_for_bands
