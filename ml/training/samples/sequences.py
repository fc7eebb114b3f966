"""Batches of images for Keras."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import keras
import numpy as np

from ml.datasets.manifest import PackedImages
from ml.preprocessing import equalise, normalise, soften, squash
from ml.training.samples.augmentation import Augmentation, mix, vary


class ImageSequence(keras.utils.PyDataset):
    """Varied images of one epoch: float32 (batch, size, size, 1) and their targets."""

    def __init__(
        self,
        images: PackedImages,
        *,
        targets: np.ndarray,
        indices: np.ndarray,
        size: int,
        batch_size: int,
        seed: int,
        strength: Augmentation,
        lungs: np.ndarray | None = None,
    ) -> None:
        """Take the images; `lungs` are their lung masks."""
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self.images, self.targets, self.indices = images, targets, indices
        self.size, self.batch_size = size, batch_size
        self.seed, self.strength, self.lungs = seed, strength, lungs

    def __len__(self) -> int:
        return len(self.indices) // self.batch_size

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        start = batch * self.batch_size
        chosen = self.indices[start : start + self.batch_size]
        rng = np.random.default_rng((self.seed, batch))
        # In 16 bits, as inference has them: in 8, squashing leaves gaps in the
        # histogram, and equalising moves the image by 0.05 of a standard deviation.
        inputs = [
            vary(
                self.images.deep_image(i),
                size=self.size,
                rng=rng,
                strength=self.strength,
                lungs=None if self.lungs is None else self.lungs[i],
            )
            for i in chosen
        ]
        images, targets = np.stack(inputs), self.targets[chosen]
        if self.strength.mixing:
            return mix(images, targets, rng=rng, alpha=self.strength.mixing)
        return images, targets


def plain_inputs(
    images: PackedImages, indices: Iterable[int], *, size: int
) -> np.ndarray:
    """Return packed images as the network sees them at inference, float32."""
    squares = [soften(squash(images.deep_image(i), size=size)) for i in indices]
    return np.stack([normalise(equalise(square)) for square in squares])


def evenly_drawn(
    labels: np.ndarray,
    *,
    shares: Sequence[float],
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw about `count` images, each class by its share; every image before any twice.

    Args:
        labels: int (images,), the class of each.
        shares: Share of each class, in the order of the classes.
        count: How many to draw.
        rng: Decides which and in what order.

    Returns:
        int64 indices in random order.
    """
    drawn = []
    for number, share in enumerate(shares):
        members = np.flatnonzero(labels == number)
        wanted = round(count * share / sum(shares))
        rounds = -(-wanted // max(1, len(members)))
        shuffled = [rng.permutation(members) for _ in range(rounds)]
        drawn.append(np.concatenate([*shuffled, members[:0]])[:wanted])
    return rng.permutation(np.concatenate(drawn).astype(np.int64))
