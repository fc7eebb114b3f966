"""Temporary files in the folder of incoming uploads; closing one deletes it."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from accounts.errors import Unavailable

CHUNK_BYTES = 1024 * 1024

TemporaryFile = tempfile._TemporaryFileWrapper  # the type has no public name


def new_temporary_file() -> "TemporaryFile[bytes]":
    """Open a named temporary file where uploads go; closing it deletes it."""
    folder = Path(settings.INCOMING_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=folder, suffix=".upload")


def storage_unavailable() -> Unavailable:
    """Return the answer to a disk that is full or missing."""
    return Unavailable(
        _("Files cannot be stored at the moment. Send this file again later."),
        reason_code="storage_unavailable",
    )


def sha256_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of a whole file in hexadecimal; leave it at its end."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def on_disk(file: IO[bytes]) -> Iterator[Path]:
    """Give the path of an open file: its own if it has one, else that of a copy."""
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


def _is_the_file(file: IO[bytes], path: Path) -> bool:
    """Return whether the path still names the open file."""
    try:
        there, ours = path.stat(), os.fstat(file.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
