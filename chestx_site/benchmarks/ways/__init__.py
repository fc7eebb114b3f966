"""The ways to run a network that `manage.py bench inference` compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ml.cards.card import Card


@dataclass(frozen=True)
class Setting:
    """What every way is given.

    Attributes:
        card: The model.
        cache_dir: Where exported graphs are kept.
        threads: Threads of one pass; 0 leaves it to the library.
        precision: float32 or bfloat16.
    """

    card: Card
    cache_dir: Path
    threads: int
    precision: str


class Way(Protocol):
    """A network that is ready.

    Attributes:
        whole: Whether it begins with the image (preprocessing, scores, heat maps) or
            with the prepared input and gives bare outputs.
    """

    whole: bool

    def one(self, image: np.ndarray) -> np.ndarray:
        """Read one image, float probabilities or logits (labels,).

        Args:
            image: Display values, uint16 (H, W), where `whole`; else float32
                (size, size, channels).
        """
        ...

    def many(self, images: np.ndarray) -> None:
        """Read a batch; one more axis in front."""
        ...
