"""The bytes of an open file, mapped instead of read into memory."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

Bytes = bytes | mmap.mmap


@contextmanager
def mapped(file: IO[bytes]) -> Iterator[Bytes]:
    """Give the bytes of a file; slices copy, `struct` and `re` do not."""
    try:
        descriptor = file.fileno()
    except (AttributeError, OSError, ValueError):
        file.seek(0)
        yield file.read()
        return
    if file.writable():
        file.flush()
    try:
        view = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:  # an empty file cannot be mapped
        yield b""
        return
    with view:
        yield view
