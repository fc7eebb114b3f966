"""Read the tensors of a PyTorch file in the form before version 1.6, without PyTorch.

A file is four pickles (a magic number, the protocol, facts about the system, and the
tensors, which refer to their storages), a pickled list of the storages' keys, and their
numbers one after the other. A pickle can run code, so only the classes of plain tensors
are known here (`torch/serialization.py` of PyTorch, `_legacy_load`).
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ml.errors import TrainingError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8"}


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, in elements."""

    storage: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary by name.

    Raises:
        TrainingError: The file holds something else, or is cut.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, KeyError) as error:
        raise TrainingError(
            "%(path)s holds no plain tensors.", params={"path": path}
        ) from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _TensorUnpickler(file).load() != _MAGIC_NUMBER:
        raise ValueError
    for _ in ("protocol", "system"):
        _TensorUnpickler(file).load()
    tensors: dict[str, _Tensor] = _TensorUnpickler(file).load()
    dtypes = {tensor.storage: tensor.dtype for tensor in tensors.values()}
    storages: dict[str, np.ndarray] = {}
    for key in _TensorUnpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        dtype = np.dtype(dtypes[key])
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
        if storages[key].size != count:
            raise EOFError
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _array(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    storage = storages[tensor.storage]
    last = tensor.offset + sum(
        (length - 1) * stride
        for length, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    if not (
        tensor.offset >= 0
        and last < storage.size
        and min(tensor.strides, default=0) >= 0
    ):
        raise ValueError
    return np.lib.stride_tricks.as_strided(
        storage[tensor.offset :],
        tensor.shape,
        [stride * storage.itemsize for stride in tensor.strides],
    ).copy()


def _rebuild(
    storage: tuple[str, str],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_rest: object,
) -> _Tensor:
    key, dtype = storage
    return _Tensor(key, dtype, offset, shape, strides)


class _TensorUnpickler(pickle.Unpickler):
    """Knows the classes of plain tensors only."""

    def find_class(self, module: str, name: str) -> Callable[..., object] | str:
        """Return what stands for a class of the file."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(
        self, reference: tuple[str, str, str, str, int, object]
    ) -> tuple[str, str]:
        """Return key and dtype of a storage."""
        kind, dtype, key, _location, _count, view = reference
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("not a storage")
        return key, dtype
