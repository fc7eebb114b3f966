"""The ways to run a network that `manage.py bench inference` compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ml.cards.card import Card


@dataclass(frozen=True)
class Setting:
    """Settings of a way.

    Attributes:
        card: The model.
        cache_dir: Folder of exported graphs.
        threads: Threads of one pass; 0: the library decides.
        precision: float32, bfloat16 or int8.
        runner: Of our own way.
    """

    card: Card
    cache_dir: Path
    threads: int
    precision: str
    runner: str


class Way(Protocol):
    """A loaded network.

    Attributes:
        whole: True: from the image to scores and heat maps. False: from the prepared
            input to bare outputs.
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
        """Read a batch, with one more axis in front."""
        ...
