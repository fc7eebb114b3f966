"""The probe of the gate: a small network that tells which way up an image is.

One hidden layer on what `ml.gate.out_of_distribution.embed` gives, trained from train
images and what `ml.training.gate.samples` makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

HIDDEN = 64
BATCH = 256
PEAK_RATE = 2e-3
WEIGHT_DECAY = 1e-4
# Of the embedding's unit spread: images elsewhere are a little different.
NOISE = 0.15
DROPPED = 0.2
STEPS_AT_ONCE = 100
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
        lesson: The images; classes without samples are never predicted.
        classes: How many classes there are.
        seed: Of the first numbers and of the order of the images.
        steps: How many batches are learned from.
    """
    import keras

    seeds = keras.random.SeedGenerator(seed)
    network = keras.Sequential(
        [
            keras.Input((lesson.places.shape[1],)),
            keras.layers.GaussianNoise(NOISE, seed=seed),
            keras.layers.Dense(
                HIDDEN,
                activation="relu",
                kernel_initializer=keras.initializers.LecunNormal(seeds),
            ),
            keras.layers.Dropout(DROPPED, seed=seed),
            keras.layers.Dense(
                classes, kernel_initializer=keras.initializers.LecunNormal(seeds)
            ),
        ]
    )
    network.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(PEAK_RATE, steps),
            weight_decay=WEIGHT_DECAY,
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # Steps are short: the time goes into handing them out one by one.
        steps_per_execution=min(steps, STEPS_AT_ONCE),
    )
    network.fit(
        _batches(lesson, seed=seed, steps=steps),
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
    )
    return dict(zip(NAMES, network.get_weights(), strict=True))


def _batches(
    lesson: Lesson, *, seed: int, steps: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw batches of images and their classes, each image by its weight."""
    rng = np.random.default_rng(seed)
    share = lesson.weights / lesson.weights.sum()
    places = lesson.places.astype(np.float32)
    for images in rng.choice(len(share), (steps, BATCH), p=share):
        yield places[images], lesson.classes[images]
