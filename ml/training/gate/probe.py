"""The probe of the gate: a small network that tells which way up an image is.

One hidden layer on what `ml.gate.out_of_distribution.embed` gives; learned here in
NumPy within seconds, from train images and what `ml.training.gate.samples` makes of
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HIDDEN = 64
BATCH = 256
PEAK_RATE = 2e-3
WEIGHT_DECAY = 1e-4
# Of the embedding's unit spread: images elsewhere are a little different.
NOISE = 0.15
DROPPED = 0.2
MOMENTUM, SECOND_MOMENTUM = 0.9, 0.999
NAMES = ("probe_in", "probe_in_bias", "probe_out", "probe_out_bias")


@dataclass(frozen=True)
class Lesson:
    """Embedded images, float (images, dimensions), their class and their weight."""

    places: np.ndarray
    classes: np.ndarray
    weights: np.ndarray


def learn_probe(
    lesson: Lesson, *, classes: int, seed: int, steps: int
) -> dict[str, np.ndarray]:
    """Train the probe; the names are those that `probe_logits` reads.

    Args:
        lesson: The images; a class without any is never said.
        classes: How many classes there are.
        seed: Of the first numbers and of the order of the images.
        steps: How many batches are learned from.
    """
    rng = np.random.default_rng(seed)
    wide = lesson.places.shape[1]
    values = [
        rng.normal(0.0, wide**-0.5, (wide, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0.0, HIDDEN**-0.5, (HIDDEN, classes)),
        np.zeros(classes),
    ]
    first = [np.zeros_like(value) for value in values]
    second = [np.zeros_like(value) for value in values]
    share = lesson.weights / lesson.weights.sum()
    drawn = rng.choice(len(share), (steps, BATCH), p=share)
    for step, images in enumerate(drawn):
        noise = rng.normal(0.0, NOISE, (BATCH, wide))
        slopes = _slopes(
            values, lesson.places[images] + noise, lesson.classes[images], rng
        )
        rate = PEAK_RATE * 0.5 * (1.0 + np.cos(np.pi * step / steps))
        for k, slope in enumerate(slopes):
            first[k] += (1.0 - MOMENTUM) * (slope - first[k])
            second[k] += (1.0 - SECOND_MOMENTUM) * (slope**2 - second[k])
            mean = first[k] / (1.0 - MOMENTUM ** (step + 1))
            spread = np.sqrt(second[k] / (1.0 - SECOND_MOMENTUM ** (step + 1)))
            values[k] -= rate * (mean / (spread + 1e-8) + WEIGHT_DECAY * values[k])
    return dict(zip(NAMES, values, strict=True))


def _slopes(
    values: list[np.ndarray],
    places: np.ndarray,
    classes: np.ndarray,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Return the gradient of the mean cross-entropy of a batch."""
    into, into_bias, out, out_bias = values
    before = places @ into + into_bias
    kept = (rng.random(before.shape) >= DROPPED) / (1.0 - DROPPED)
    hidden = np.maximum(before, 0.0) * kept
    logits = hidden @ out + out_bias
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    found[np.arange(len(classes)), classes] -= 1.0
    found /= len(classes)
    back = (found @ out.T) * kept * (before > 0)
    return [places.T @ back, back.sum(axis=0), hidden.T @ found, found.sum(axis=0)]
