"""Temporary files in the folder of incoming uploads; closing one deletes it."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from accounts.errors import TooLarge, Unavailable
from patients import messages

CHUNK_BYTES = 1024 * 1024
_OWNER_END = "-"
_RETRY_AFTER_S = 60
# A file is locked right after it is made.
_YOUNGEST_ABANDONED_S = 60.0

TemporaryFile = tempfile._TemporaryFileWrapper  # the type has no public name


def new_temporary_file(owner: str = "") -> "TemporaryFile[bytes]":
    """Open a named temporary file where uploads go; closing it deletes it.

    Args:
        owner: Key of the user whose quota it counts for; "" for a file of ChestX.
    """
    folder = Path(settings.INCOMING_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the caller closes it
        dir=folder, prefix=f"{owner}{_OWNER_END}", suffix=".upload"
    )
    # Tells files in use from those that a killed process has left.
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def check_quota(owner: str, *, more_bytes: int = 0) -> None:
    """Check that temporary files may grow by so many bytes.

    Args:
        owner: Key of the user who sends them.
        more_bytes: What the request will write at most.

    Raises:
        TooLarge: quota_too_small: it would never fit.
        Unavailable: quota_used: it fits once other uploads are finished.
    """
    limits = (
        (f"{owner}{_OWNER_END}", settings.INCOMING_USER_BYTES),
        ("", settings.INCOMING_BYTES),
    )
    for start, limit in limits:
        if more_bytes > limit:
            raise TooLarge(
                messages.QUOTA_TOO_SMALL, params={"limit_mb": limit // (1024 * 1024)}
            )
        if _used_bytes(start) + more_bytes > limit:
            _remove_abandoned()
            if _used_bytes(start) + more_bytes > limit:
                raise Unavailable(
                    _(
                        "Too many files are being received at the moment. Send this "
                        "file again in a minute."
                    ),
                    reason_code="quota_used",
                    retry_after=_RETRY_AFTER_S,
                )


def _used_bytes(start: str) -> int:
    """Return the size of the temporary files whose name has this start."""
    used = 0
    for path in _temporary_files():
        if path.name.startswith(start):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                used += path.stat().st_size
    return used


def _temporary_files() -> Iterator[Path]:
    return Path(settings.INCOMING_DIR).glob("*.upload")


def _remove_abandoned() -> None:
    """Delete the files of processes that were killed."""
    newest = time.time() - _YOUNGEST_ABANDONED_S
    for path in _temporary_files():
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            if path.stat().st_mtime < newest:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


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
