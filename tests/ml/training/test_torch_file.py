"""Files of PyTorch are read without it, and only plain tensors."""

from __future__ import annotations

import io
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ml.errors import TrainingError
from ml.training.start.torch_file import read_tensors

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


class Storage:
    """The numbers behind a tensor, as PyTorch writes them."""

    def __init__(self, key: str, values: np.ndarray) -> None:
        self.key, self.values = key, values


class Tensor:
    """Is pickled as PyTorch pickles a tensor."""

    def __init__(self, storage: Storage, shape: tuple, strides: tuple, offset: int = 0):
        self.arguments: tuple[Any, ...] = (
            storage,
            offset,
            shape,
            strides,
            False,
            OrderedDict(),
        )

    def __reduce__(self) -> tuple[Any, tuple]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture(autouse=True)
def classes_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pickle find the names that it writes."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")

    def _rebuild_tensor_v2(*arguments: Any) -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Pickler(pickle.Pickler):
    """Refers to storages as PyTorch does."""

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        kind = sys.modules["torch"].FloatStorage
        return ("storage", kind, value.key, "cpu", value.values.size, None)


def write(path: Path, tensors: dict[str, Any], storages: list[Storage]) -> Path:
    file = io.BytesIO()
    for part in (MAGIC_NUMBER, 1001, {"little_endian": True}):
        pickle.dump(part, file, 2)
    Pickler(file, 2).dump(OrderedDict(tensors))
    pickle.dump([storage.key for storage in storages], file, 2)
    for storage in storages:
        file.write(storage.values.size.to_bytes(8, "little"))
        file.write(storage.values.astype("<f4").tobytes())
    path.write_bytes(file.getvalue())
    return path


def test_tensors_are_views_of_their_storages(tmp_path: Path) -> None:
    storage = Storage("1", np.arange(8, dtype=np.float32))
    tensors = {
        "whole": Tensor(storage, (2, 4), (4, 1)),
        "turned": Tensor(storage, (4, 2), (1, 4)),
        "end": Tensor(storage, (2,), (1,), 6),
        "number": Tensor(storage, (), (), 3),
    }
    read = read_tensors(write(tmp_path / "a.pth", tensors, [storage]))
    assert read["whole"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert read["turned"].tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert read["end"].tolist() == [6, 7]
    assert read["number"] == 3


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    storage = Storage("1", np.arange(4, dtype=np.float32))
    for tensor in (
        Tensor(storage, (5,), (1,)),
        Tensor(storage, (2,), (1,), 3),
        Tensor(storage, (2,), (-1,), 1),
    ):
        path = write(tmp_path / "a.pth", {"a": tensor}, [storage])
        with pytest.raises(TrainingError, match="no plain tensors"):
            read_tensors(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, tuple]:
            return print, ("run",)

    path = write(tmp_path / "a.pth", {"a": Code()}, [])
    with pytest.raises(TrainingError, match="no plain tensors"):
        read_tensors(path)


@pytest.mark.parametrize("kept", [0, 20, -3])
def test_a_cut_file_is_refused(tmp_path: Path, kept: int) -> None:
    storage = Storage("1", np.arange(4, dtype=np.float32))
    path = write(tmp_path / "a.pth", {"a": Tensor(storage, (4,), (1,))}, [storage])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(TrainingError, match="no plain tensors"):
        read_tensors(path)
