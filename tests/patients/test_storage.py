"""Objects are stored under their sha256, completely or not at all, and swept later."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, default_storage
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.errors import Unavailable
from accounts.models import Role
from patients import storage
from patients.ingest import IngestResult
from patients.models import Instance, Upload
from tests.dicom_factory import image_bytes
from tests.factories import UserFactory
from tests.owner import erasure
from tests.patients.sending import send

pytestmark = pytest.mark.slow


OLD = timedelta(days=2).total_seconds()


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    """Let the test have a storage of its own."""
    options = {**settings.STORAGES["default"]["OPTIONS"], "location": str(tmp_path)}
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {**settings.STORAGES["default"], "OPTIONS": options},
    }
    return tmp_path


def put(content: bytes) -> tuple[str, Path]:
    """Store bytes; return their hash and where they stand."""
    with transaction.atomic():
        key = storage.put_object(io.BytesIO(content))
    return key.rpartition("/")[2], Path(default_storage.path(key))


def age(path: Path) -> None:
    when = path.stat().st_mtime - OLD
    os.utime(path, (when, when))


@pytest.mark.django_db
def test_an_object_is_stored_under_its_hash_and_readable_by_its_owner_only(
    folder: Path,
) -> None:
    sha256, path = put(b"image")
    assert sha256 == hashlib.sha256(b"image").hexdigest()
    assert path == folder / sha256[:2] / sha256[2:4] / sha256
    assert path.read_bytes() == b"image"
    assert path.stat().st_mode & 0o777 == 0o600
    for above in (path.parent, path.parent.parent):
        assert above.stat().st_mode & 0o777 == 0o700


@pytest.mark.django_db
def test_storing_again_changes_nothing(folder: Path) -> None:
    _, path = put(b"image")
    number = path.stat().st_ino
    _, again = put(b"image")
    assert again == path
    assert path.stat().st_ino == number
    assert [p for p in folder.rglob("*") if p.is_file()] == [path]


@pytest.mark.django_db
def test_a_failed_write_leaves_no_file(folder: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(Unavailable) as fault:
        storage.put_object(Broken(b"x"), sha256="ab" * 32)
    assert fault.value.reason_code == "storage_unavailable"
    assert not [p for p in folder.rglob("*") if p.is_file()]


@pytest.mark.django_db
def test_a_full_disk_is_a_temporary_fault_and_stores_no_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable):
        send(image_bytes())
    assert not Instance.objects.exists()
    assert not Upload.objects.exists()


def test_bytes_are_synced_before_the_file_is_renamed(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def recorded_sync(fd: int) -> None:
        events.append("sync")
        sync(fd)

    def recorded_rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "replace", recorded_rename)
    default_storage.save("quarantine/x", ContentFile(b"image"))
    assert events[:2] == ["sync", "rename"]
    assert events[2:] == ["sync"] * 2  # the folder that was made, and the one above


@pytest.mark.django_db
def test_the_bytes_of_conflicts_are_in_quarantine(folder: Path) -> None:
    key = storage.quarantine(io.BytesIO(b"other"), "cd" * 32)
    assert key == f"quarantine/{'cd' * 32}"
    with storage.open_quarantined("cd" * 32) as file:
        assert file.read() == b"other"
    storage.discard_quarantined("cd" * 32)
    assert not default_storage.exists(key)


@pytest.mark.django_db
def test_an_instance_gives_its_bytes_and_its_path() -> None:
    content = image_bytes()
    assert send(content).instance is not None
    instance = Instance.objects.get()
    with storage.open_object(instance) as file:
        assert file.read() == content
    with storage.local_path(instance) as path:
        assert path.read_bytes() == content
    assert path.exists()


@pytest.mark.django_db
def test_a_storage_without_paths_gives_a_copy(
    settings: Settings, tmp_path: Path
) -> None:
    settings.INCOMING_DIR = str(tmp_path)
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    assert isinstance(default_storage, InMemoryStorage)
    content = image_bytes()
    send(content)
    instance = Instance.objects.get()
    with storage.local_path(instance) as path:
        assert path.read_bytes() == content
    assert not path.exists()


@pytest.mark.django_db
def test_the_sweep_removes_old_unreferenced_objects() -> None:
    _, orphan = put(b"orphan")
    _, young = put(b"young")
    send(image_bytes())
    with storage.local_path(Instance.objects.get()) as kept:
        age(kept)
    age(orphan)
    assert storage.sweep_orphans() == 1
    assert not orphan.exists()
    assert young.exists()
    assert kept.exists()
    assert storage.sweep_orphans() == 0


@pytest.mark.django_db
def test_the_sweep_removes_unfinished_files_of_a_crash(folder: Path) -> None:
    _, path = put(b"image")
    left, fresh = path.parent / ".x.part", path.parent / ".y.part"
    for unfinished in (left, fresh):
        unfinished.write_bytes(b"half")
    age(left)
    storage.sweep_orphans()
    assert not left.exists()
    assert fresh.exists()


def quarantined(content: bytes) -> tuple[str, Path]:
    """Put bytes into quarantine without a row, as a rollback leaves them; age them."""
    sha256 = hashlib.sha256(content).hexdigest()
    with transaction.atomic():
        key = storage.quarantine(io.BytesIO(content), sha256)
    path = Path(default_storage.path(key))
    age(path)
    return sha256, path


def conflicting() -> tuple[bytes, Upload]:
    """Send a file that contradicts a stored one; return it and its row."""
    uids = {"SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3.5"}
    send(image_bytes(**uids))
    content = image_bytes(**uids, Modality="CT")
    return content, send(content).upload


@pytest.mark.django_db
def test_the_sweep_removes_old_quarantined_bytes_without_a_conflict() -> None:
    _, orphan = quarantined(b"orphan")
    _, young = quarantined(b"young")
    os.utime(young)
    assert storage.sweep_orphans() == 1
    assert not orphan.exists()
    assert young.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("resolution", ["", Upload.Resolution.KEPT_STORED])
def test_the_sweep_keeps_the_bytes_that_a_conflict_needs(resolution: str) -> None:
    _, upload = conflicting()
    if resolution:
        admin = UserFactory(role=Role.ADMIN)
        Upload.objects.filter(pk=upload.pk).update(
            resolution=resolution, resolved_by=admin, resolved_at=timezone.now()
        )
    path = Path(default_storage.path(storage.quarantine_key(upload.sha256)))
    age(path)
    assert storage.sweep_orphans() == 0
    assert path.exists()


@pytest.mark.django_db(transaction=True)
def test_the_sweep_keeps_the_bytes_of_a_conflict_that_is_being_written() -> None:
    """An ingest has put them there again, after they were an orphan for days."""
    content, upload = conflicting()
    with erasure(), connection.cursor() as cursor:
        cursor.execute("SELECT erase_uploads(ARRAY[%s])", [upload.pk])
    _, path = quarantined(content)
    meant, swept = threading.Event(), threading.Event()
    put_into_quarantine = storage.quarantine

    def wait(file: IO[bytes], sha256: str) -> str:
        key = put_into_quarantine(file, sha256)
        age(path)
        meant.set()
        assert swept.wait(30)
        return key

    def ingest() -> IngestResult:
        try:
            return send(content)
        finally:
            connections.close_all()

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(storage, "quarantine", wait)
        sending = pool.submit(ingest)
        try:
            assert meant.wait(30)
            assert storage.sweep_orphans() == 0
        finally:
            swept.set()
        result = sending.result()
    assert result.outcome == Upload.Outcome.CONFLICT
    assert storage.sweep_orphans() == 0
    assert path.read_bytes() == content


@pytest.mark.django_db(transaction=True)
def test_the_bytes_of_a_conflict_that_was_rolled_back_are_swept(
    request: pytest.FixtureRequest,
) -> None:
    uids = {"SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3.5"}
    send(image_bytes(**uids))
    request.getfixturevalue("broken_trail")
    content = image_bytes(**uids, Modality="CT")
    with pytest.raises(Unavailable):
        send(content)
    key = storage.quarantine_key(hashlib.sha256(content).hexdigest())
    age(Path(default_storage.path(key)))
    assert storage.sweep_orphans() == 1
    assert not default_storage.exists(key)


@pytest.mark.django_db
def test_storing_an_object_again_renews_its_age() -> None:
    _, path = put(b"image")
    age(path)
    put(b"image")
    assert storage.sweep_orphans() == 0
    assert path.exists()


@pytest.mark.django_db(transaction=True)
def test_the_sweep_keeps_objects_of_an_open_transaction() -> None:
    """Its Instance is not committed yet, and the object was an orphan for days."""
    sha256, path = put(b"image")
    age(path)
    number = storage._lock_number(sha256)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "SELECT pg_advisory_xact_lock_shared(%s, %s)",
                [storage._OBJECT_LOCK, number],
            )
            assert storage.sweep_orphans() == 0
            assert path.exists()
            cursor.execute("ROLLBACK")
        assert storage.sweep_orphans() == 1
        assert not path.exists()
    finally:
        other.close()


@pytest.mark.parametrize(
    "remove", [storage.remove_object_if_orphan, storage.discard_quarantined]
)
@pytest.mark.django_db(transaction=True)
def test_objects_of_an_open_transaction_are_never_removed(
    remove: Callable[[str], bool],
) -> None:
    """Its row is not committed yet: whoever deletes waits for it."""
    sha256, path = put(b"image")
    storage.quarantine(io.BytesIO(b"image"), sha256)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "SELECT pg_advisory_xact_lock_shared(%s, %s)",
                [storage._OBJECT_LOCK, storage._lock_number(sha256)],
            )
            with transaction.atomic(), connection.cursor() as own:
                own.execute("SET LOCAL lock_timeout = '100ms'")
                with pytest.raises(OperationalError):
                    remove(sha256)
            cursor.execute("ROLLBACK")
        assert path.exists()
        assert default_storage.exists(f"quarantine/{sha256}")
        assert remove(sha256)
    finally:
        other.close()


@pytest.mark.parametrize(
    "store",
    [
        lambda: storage.put_object(io.BytesIO(b"image")),
        lambda: storage.quarantine(
            io.BytesIO(b"image"), hashlib.sha256(b"image").hexdigest()
        ),
    ],
    ids=["object", "quarantine"],
)
@pytest.mark.django_db(transaction=True)
def test_storing_holds_the_lock_until_the_transaction_ends(
    store: Callable[[], str],
) -> None:
    sha256 = hashlib.sha256(b"image").hexdigest()
    other = connection.copy()

    def is_free() -> bool:
        with other.cursor() as cursor:
            cursor.execute(
                "SELECT pg_try_advisory_xact_lock(%s, %s)",
                [storage._OBJECT_LOCK, storage._lock_number(sha256)],
            )
            return cursor.fetchone()[0]

    try:
        with transaction.atomic():
            store()
            assert not is_free()
        assert is_free()
    finally:
        other.close()


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_do_not_run_at_once() -> None:
    _, path = put(b"image")
    age(path)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [storage._SWEEP_LOCK])
            assert storage.sweep_orphans() == 0
            cursor.execute("ROLLBACK")
        assert path.exists()
    finally:
        other.close()
