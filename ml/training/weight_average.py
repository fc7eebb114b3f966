"""The moving average of a network's weights while it is trained.

The average of the weights of the last batches lies in a flatter place than any of them,
and is measured and kept in their place (Izmailov et al. 2018, arXiv:1803.05407; as a
moving average: Tarvainen and Valpola 2017, arXiv:1703.01780).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


class WeightAverage:
    """Exponential moving average of the variables of a network, statistics included.

    Args:
        network: Whose weights are averaged; the average begins with them.
        decay: Share of the average that stays with each batch, 0 to 1; fewer batches
            than it looks back upon count alike.
    """

    def __init__(self, network: keras.Model, *, decay: float) -> None:
        self.network, self.decay = network, decay
        self.batches = 0
        self.arrays = _arrays(network)

    def update(self) -> None:
        """Take the weights after a batch into the average."""
        self.batches += 1
        decay = min(self.decay, (1 + self.batches) / (10 + self.batches))
        for mean, value in zip(self.arrays, _arrays(self.network), strict=True):
            mean += (1.0 - decay) * (value - mean)

    def load(self, arrays: Sequence[np.ndarray], *, batches: int) -> None:
        """Go on from the average of an earlier part of the run."""
        self.arrays = [np.array(array, np.float32) for array in arrays]
        self.batches = batches

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network the averaged weights, and its own again afterwards."""
        own = _arrays(self.network)
        _assign(self.network, self.arrays)
        try:
            yield
        finally:
            _assign(self.network, own)


def _arrays(network: keras.Model) -> list[np.ndarray]:
    return [np.array(variable.numpy(), np.float32) for variable in network.variables]


def _assign(network: keras.Model, arrays: Sequence[np.ndarray]) -> None:
    for variable, array in zip(network.variables, arrays, strict=True):
        variable.assign(array)
