"""The upload handler: how files of a form are received."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest
from django.test import RequestFactory
from pytest_django import Settings

from accounts.errors import TooLarge
from patients.files.temporary import new_temporary_file, on_disk
from patients.files.upload_handler import (
    LimitedUploadedFile,
    RefusedBodyError,
    check_request_size,
    take_files_of,
)


@pytest.fixture(autouse=True)
def _own_folder(settings: Settings, tmp_path: Path) -> None:
    settings.INCOMING_DIR = str(tmp_path / "incoming")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close what the requests of a test brought, as the server does."""
    yield
    for request in REQUESTS:
        request.close()
    REQUESTS.clear()


REQUESTS: list[HttpRequest] = []


def posted(*files: tuple[str, bytes]) -> HttpRequest:
    uploads = [SimpleUploadedFile(name, content) for name, content in files]
    request = RequestFactory().post("/", {"file": uploads, "patient_id": "P-1"})
    return taking_files(request)


def taking_files(request: HttpRequest) -> HttpRequest:
    """Return a request as the upload routes read it."""
    REQUESTS.append(request)
    take_files_of(request)
    return request


def received(*files: tuple[str, bytes]) -> list[LimitedUploadedFile]:
    return [
        file
        for file in posted(*files).FILES.getlist("file")
        if isinstance(file, LimitedUploadedFile)
    ]


def test_an_uploaded_file_is_on_disk_with_its_hash(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (file,) = received(("image.dcm", content))
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (file.received_bytes, file.size) == (len(content), len(content))
    assert not file.too_large
    path = Path(file.temporary_file_path())
    assert path.parent == tmp_path / "incoming"
    assert path.read_bytes() == content == file.read()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    file.close()
    assert not path.exists()


def test_a_file_over_the_limit_is_discarded_and_its_siblings_are_kept(
    settings: Settings,
) -> None:
    settings.MAX_FILE_BYTES = 100_000
    large, small = b"x" * 900_000, b"y" * 100_000
    first, second, third = received(("a", b"z"), ("b", large), ("c", small))
    assert second.too_large
    assert second.received_bytes == len(large)
    assert second.sha256 == hashlib.sha256(large).hexdigest()
    assert Path(second.temporary_file_path()).stat().st_size == 0
    assert (first.read(), third.read()) == (b"z", small)
    assert not first.too_large
    assert not third.too_large


def test_an_empty_file_is_kept_as_an_empty_file() -> None:
    """Django's client leaves empty files out, so the body is written by hand."""
    body = (
        b"--b\r\nContent-Disposition: form-data; name=file; filename=e.png\r\n\r\n"
        b"\r\n--b--\r\n"
    )
    request = RequestFactory().post(
        "/", body, content_type="multipart/form-data; boundary=b"
    )
    taking_files(request)
    (file,) = request.FILES.getlist("file")
    assert (file.size, file.received_bytes) == (0, 0)
    assert file.sha256 == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("name", ["..", ".", "/", "a/..", "\\", "&#47;", "\x01", " /"])
def test_a_file_without_a_usable_name_is_kept(name: str) -> None:
    """Django leaves such files out without a word."""
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{one}"\r\n\r\n'
        f"{content}\r\n"
        for one, content in (("a.png", "first"), (name, "second"), ("c.png", "third"))
    )
    request = RequestFactory().post(
        "/", f"{parts}--b--\r\n", content_type="multipart/form-data; boundary=b"
    )
    taking_files(request)
    files = request.FILES.getlist("file")
    assert [file.read() for file in files] == [b"first", b"second", b"third"]
    assert [file.name for file in files] == ["a.png", "unnamed", "c.png"]


def test_a_request_over_the_limit_is_not_read(settings: Settings) -> None:
    settings.MAX_REQUEST_BYTES = 1000
    request = posted(("a", b"x" * 2000))
    assert not request.FILES
    assert not request.POST
    with pytest.raises(TooLarge) as refused:
        check_request_size(request)
    assert refused.value.status == 413
    check_request_size(posted(("a", b"x")))


@pytest.mark.parametrize("length", ["", "none", "-1"])
def test_an_invalid_content_length_is_not_too_large(length: str) -> None:
    request = RequestFactory().get("/", CONTENT_LENGTH=length)
    check_request_size(request)


def test_an_open_file_has_a_path(tmp_path: Path) -> None:
    """Its own where there is one; a copy of what is in memory, or was deleted."""
    own = tmp_path / "image.dcm"
    own.write_bytes(b"abc")
    with own.open("rb") as file:
        with on_disk(file) as path:
            assert path == own
        own.unlink()
        with on_disk(file) as path:
            assert path != own
            assert path.read_bytes() == b"abc"
    memory = SimpleUploadedFile("image.dcm", b"def")
    with on_disk(memory) as path:
        assert path.read_bytes() == b"def"
    assert not path.exists()
    with new_temporary_file() as temporary:
        temporary.write(b"ghi")
        with on_disk(temporary) as path:
            assert path.read_bytes() == b"ghi"


def test_a_form_that_may_not_bring_files_writes_none(tmp_path: Path) -> None:
    """What every route does that is not for uploads."""
    file = SimpleUploadedFile("a.dcm", b"x" * 1000)
    request = RequestFactory().post("/", {"file": file, "patient_id": "P-1"})
    with pytest.raises(RefusedBodyError) as refused:
        _ = request.POST
    assert refused.value.refusal.reason_code == "unexpected_file"
    assert not (tmp_path / "incoming").exists()


def test_a_form_of_fields_needs_no_permission_for_files() -> None:
    request = RequestFactory().post("/", {"username": "a"})
    assert request.POST["username"] == "a"
