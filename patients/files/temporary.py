"""Files that live as long as they are open, in the folder where uploads arrive."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

CHUNK_BYTES = 1024 * 1024

TemporaryFile = tempfile._TemporaryFileWrapper  # the type has no public name


def new_temporary_file() -> "TemporaryFile[bytes]":
    """Open a named temporary file where uploads go; closing it deletes it."""
    folder = Path(settings.INCOMING_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=folder, suffix=".upload")


@contextlib.contextmanager
def on_disk(file: BinaryIO) -> Iterator[Path]:
    """Give an open file as a path: its own where it has one, else of a copy."""
    named = getattr(file, "temporary_file_path", None)
    own = named() if named else getattr(file, "name", None)
    if isinstance(own, str | Path) and _is_the_file(file, Path(own)):
        if file.writable():
            file.flush()
        yield Path(own)
        return
    with new_temporary_file() as copy:
        file.seek(0)
        shutil.copyfileobj(file, copy, CHUNK_BYTES)
        copy.flush()
        yield Path(copy.name)


def _is_the_file(file: BinaryIO, path: Path) -> bool:
    """Whether the path still names the very file that is open."""
    try:
        there, ours = path.stat(), os.fstat(file.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
