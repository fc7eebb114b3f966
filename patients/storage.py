"""Storage of objects under their SHA-256; a stored object never changes.

Objects have the key `ab/cd/<sha256>`, files in conflict `quarantine/<sha256>`. All
access goes through Django's storage API, so a bucket can replace the disk.
"""

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connection, transaction
from django.db.models import Q
from django.utils._os import safe_makedirs

from patients.files.temporary import (
    CHUNK_BYTES,
    on_disk,
    sha256_of,
    storage_unavailable,
)
from patients.models import Instance, Upload

logger = logging.getLogger(__name__)
ORPHAN_AGE = timedelta(days=1)
# First key of the advisory locks of this module; the second says which object.
_OBJECT_LOCK = 0x0B1EC7
_SWEEP_LOCK = 0x5EEB
_QUARANTINE = "quarantine"
_SHA256_HEX = re.compile(r"^[0-9a-f]{64}$")


class DurableFileSystemStorage(FileSystemStorage):
    """Files on disk that are complete or absent: temporary name, fsync, rename.

    A name is a hash of the content, so the same name always has the same bytes.
    """

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return the name unchanged: no other content can have it."""
        return name

    def refresh(self, name: str) -> None:
        """Set the modification time of an object to now."""
        os.utime(self.path(name))

    def remove_unfinished(self, *, older_than: timedelta) -> int:
        """Remove temporary files left by a crash and return their number."""
        end = (datetime.now(UTC) - older_than).timestamp()
        removed = 0
        for path in Path(self.location).rglob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < end:
                    path.unlink()
                    removed += 1
        return removed

    def _save(self, name: str, content: File) -> str:
        target = Path(self.path(name))
        safe_makedirs(
            target.parent, self.directory_permissions_mode or 0o777, exist_ok=True
        )
        descriptor, temporary = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name[:16]}.", suffix=".part"
        )
        try:
            with os.fdopen(descriptor, "wb") as out:
                for chunk in content.chunks(CHUNK_BYTES):
                    out.write(chunk)
                out.flush()
                if self.file_permissions_mode is not None:
                    os.fchmod(out.fileno(), self.file_permissions_mode)
                os.fsync(out.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_directories(target.parent, Path(self.location))
        return name


def _sync_directories(folder: Path, top: Path) -> None:
    """Sync a folder and its parents, so that the name of a file is durable."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder in (top, folder.parent):
            return
        folder = folder.parent


def object_key(sha256: str) -> str:
    """Return the storage key of an object by its sha256 in hexadecimal."""
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def quarantine_key(sha256: str) -> str:
    """Return the storage key of a file in conflict by its sha256 in hexadecimal."""
    return f"{_QUARANTINE}/{sha256}"


def put_object(file: IO[bytes], *, sha256: str = "") -> str:
    """Store the bytes under their SHA-256 and return the key; repeating has no effect.

    Call it inside the transaction that creates the Instance. Until that ends, a lock
    keeps `sweep_orphans` from deleting an object with the same bytes.

    Args:
        file: Read from its start; left at its end.
        sha256: Of the whole file, where the caller has computed it.

    Raises:
        Unavailable: The disk is full or missing; nothing was stored.
    """
    sha256 = sha256 or sha256_of(file)
    if connection.in_atomic_block:
        _lock_object(sha256)
    return _put(file, object_key(sha256))


def remove_object_if_orphan(sha256: str) -> bool:
    """Delete an object that no Instance refers to; return whether it was deleted.

    Transactions that store the same bytes at the same time are waited for.
    """
    with transaction.atomic():
        _lock_object_alone(sha256)
        if _is_stored(sha256):
            return False
        default_storage.delete(object_key(sha256))
    return True


def quarantine(file: IO[bytes], sha256: str) -> str:
    """Keep the bytes of a conflict under `quarantine/<sha256>` and return the key.

    Call it inside the transaction that makes the Upload, as `put_object`.
    """
    if connection.in_atomic_block:
        _lock_object(sha256)
    return _put(file, quarantine_key(sha256))


def open_object(instance: Instance) -> File:
    """Open the stored bytes of an instance for reading."""
    return default_storage.open(object_key(instance.object_sha256), "rb")


def open_original(instance: Instance) -> File:
    """Open the picture as it was sent, for reading."""
    return default_storage.open(object_key(instance.original_sha256), "rb")


def open_quarantined(sha256: str) -> File:
    """Open the bytes of a conflict for reading."""
    return default_storage.open(quarantine_key(sha256), "rb")


def discard_quarantined(sha256: str) -> bool:
    """Delete the bytes of a conflict unless another conflict needs them.

    Transactions that add a conflict with the same bytes are waited for.

    Returns:
        Whether they were deleted.
    """
    with transaction.atomic():
        _lock_object_alone(sha256)
        if _is_quarantined(sha256):
            return False
        default_storage.delete(quarantine_key(sha256))
    return True


@contextlib.contextmanager
def local_path(instance: Instance) -> Iterator[Path]:
    """Give the path of the stored bytes: `with local_path(instance) as path:`.

    On a disk this is the object itself (do not change it), else a temporary copy.
    """
    key = object_key(instance.object_sha256)
    if isinstance(default_storage, FileSystemStorage):
        yield Path(default_storage.path(key))
        return
    with default_storage.open(key, "rb") as stored, on_disk(stored) as path:
        yield path


def sweep_orphans(*, older_than: timedelta = ORPHAN_AGE) -> int:
    """Delete old objects that no row refers to and return their number.

    Transactions that rolled back leave such objects, in quarantine too. One sweep runs
    at a time. Each object is checked under its own lock, which `put_object` and
    `quarantine` share until the row is committed.
    """
    with transaction.atomic():
        if not _try_lock(_SWEEP_LOCK, 0):
            return 0
        end = datetime.now(UTC) - older_than
        removed = sum(
            _remove_if_orphan(sha256, key, is_needed, end)
            for sha256, key, is_needed in _stored_objects()
        )
        if isinstance(default_storage, DurableFileSystemStorage):
            default_storage.remove_unfinished(older_than=older_than)
    return removed


def _remove_if_orphan(
    sha256: str, key: str, is_needed: Callable[[str], bool], end: datetime
) -> bool:
    if _is_young(key, end):
        return False
    with transaction.atomic():
        if not _try_lock(_OBJECT_LOCK, _lock_number(sha256)):
            return False
        if is_needed(sha256) or _is_young(key, end):
            return False
        default_storage.delete(key)
    return True


def _is_young(key: str, end: datetime) -> bool:
    """Return whether an object is not old yet, or is gone."""
    try:
        return default_storage.get_modified_time(key) > end
    except FileNotFoundError:
        return True


def _is_stored(sha256: str) -> bool:
    """Return whether an Instance refers to the object, or to the picture as sent."""
    return Instance.objects.filter(
        Q(object_sha256=sha256) | Q(original_sha256=sha256)
    ).exists()


def _is_quarantined(sha256: str) -> bool:
    """Return whether a conflict needs its bytes: it is open, or keeps the copy."""
    return Upload.objects.filter(
        outcome=Upload.Outcome.CONFLICT,
        sha256=sha256,
        resolution__in=("", Upload.Resolution.KEPT_STORED),
    ).exists()


def _stored_objects() -> Iterator[tuple[str, str, Callable[[str], bool]]]:
    """Yield SHA-256, key, and what says whether it is needed, of every object."""
    if not default_storage.exists(""):
        return
    for first in default_storage.listdir("")[0]:
        if first == _QUARANTINE:
            for name in _hashes_in(first):
                yield name, quarantine_key(name), _is_quarantined
        if len(first) != 2:
            continue
        for second in default_storage.listdir(first)[0]:
            for name in _hashes_in(f"{first}/{second}"):
                yield name, object_key(name), _is_stored


def _hashes_in(folder: str) -> list[str]:
    return [n for n in default_storage.listdir(folder)[1] if _SHA256_HEX.match(n)]


def _put(file: IO[bytes], key: str) -> str:
    file.seek(0)
    try:
        if default_storage.exists(key):
            refresh = getattr(default_storage, "refresh", None)
            if refresh:
                refresh(key)
                return key
        return default_storage.save(
            key, file if isinstance(file, File) else File(file, key)
        )
    except OSError as error:
        logger.exception("storing a file failed")
        raise storage_unavailable() from error


def _lock_number(sha256: str) -> int:
    return int.from_bytes(bytes.fromhex(sha256[:8]), "big", signed=True)


def _lock_object(sha256: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock_shared(%s, %s)",
            [_OBJECT_LOCK, _lock_number(sha256)],
        )


def _lock_object_alone(sha256: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, %s)",
            [_OBJECT_LOCK, _lock_number(sha256)],
        )


def _try_lock(kind: int, number: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [kind, number])
        return bool(cursor.fetchone()[0])
