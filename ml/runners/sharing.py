"""What the heads of one backbone share: a runner, and its outputs by columns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from threading import RLock
from typing import TypeVar, cast
from weakref import WeakValueDictionary

import numpy as np

from ml.networks.heads import Head
from ml.runners.runner import Runner

T = TypeVar("T")

_kept: WeakValueDictionary[Hashable, object] = WeakValueDictionary()
_making = RLock()


def shared(key: Hashable, make: Callable[[], T]) -> T:
    """Return what this process has under a key while it is in use; else make it."""
    with _making:
        kept = _kept.get(key)
        if kept is None:
            kept = make()
            _kept[key] = kept
        return cast(T, kept)


class ColumnsRunner:
    """A runner of some columns of a network's logits, with their part of the head."""

    def __init__(self, whole: Runner, columns: tuple[int, int]) -> None:
        """Bind a runner of the whole network to the columns [begin, end).

        Raises:
            ModelError: The network does not have these columns.
        """
        self.backend, self.precision = whole.backend, whole.precision
        self.library_versions: Mapping[str, str] = whole.library_versions
        self.head: Head | None = whole.head and whole.head.of_columns(*columns)
        self._whole, self._columns = whole, slice(*columns)

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one pass of the whole network; return these logits, and the maps."""
        logits, maps = self._whole.run(image)
        return logits[self._columns], maps

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the whole network on several images; return these logits, and maps."""
        logits, maps = self._whole.run_many(images)
        return logits[:, self._columns], maps
