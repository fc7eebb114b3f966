"""Quotas of the folder of incoming files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory
from pytest_django import Settings

from accounts.errors import TooLarge, Unavailable
from accounts.models import Role
from patients.files.temporary import check_quota, new_temporary_file
from patients.files.upload_handler import RefusedBodyError, take_files_of
from tests.clients import person, program
from tests.dicom_factory import image_bytes
from tests.factories import UserFactory

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def _quotas(settings: Settings, tmp_path: Path) -> None:
    settings.INCOMING_DIR = str(tmp_path)
    settings.INCOMING_USER_BYTES = 10 * MB
    settings.INCOMING_BYTES = 15 * MB


def test_a_user_has_a_quota_of_temporary_bytes() -> None:
    with new_temporary_file("one") as file:
        file.truncate(8 * MB)
        check_quota("one", more_bytes=2 * MB)
        with pytest.raises(Unavailable) as refused:
            check_quota("one", more_bytes=2 * MB + 1)
        assert refused.value.headers == {"Retry-After": "60"}
        check_quota("other", more_bytes=7 * MB)
    check_quota("one", more_bytes=10 * MB)


def test_all_users_together_have_a_quota() -> None:
    with new_temporary_file("one") as one, new_temporary_file() as chestx:
        one.truncate(8 * MB)
        chestx.truncate(6 * MB)
        check_quota("two", more_bytes=MB)
        with pytest.raises(Unavailable):
            check_quota("two", more_bytes=MB + 1)


def test_what_never_fits_is_too_large() -> None:
    with pytest.raises(TooLarge) as refused:
        check_quota("one", more_bytes=10 * MB + 1)
    assert refused.value.reason_code == "quota_too_small"


def test_files_of_killed_processes_do_not_count(tmp_path: Path) -> None:
    abandoned = tmp_path / "one-abandoned.upload"
    with new_temporary_file("one") as in_use:
        in_use.truncate(4 * MB)
        in_use.flush()
        with abandoned.open("wb") as file:
            file.truncate(8 * MB)
        for path in (abandoned, Path(in_use.name)):
            os.utime(path, (1, 1))
        check_quota("one", more_bytes=6 * MB)
        assert not abandoned.exists()
        assert Path(in_use.name).exists()
        with pytest.raises(Unavailable):
            check_quota("one", more_bytes=6 * MB + 1)


def test_requests_that_start_together_stay_within_the_quota(
    settings: Settings, tmp_path: Path
) -> None:
    """Each fits when it starts; what others write meanwhile is counted too."""
    settings.INCOMING_USER_BYTES = settings.INCOMING_BYTES = 12 * MB
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + bytes(11 * MB) + b"\r\n--b--\r\n"
    request = RequestFactory().post("/", body, "multipart/form-data; boundary=b")
    take_files_of(request)
    reading, others = request.read, new_temporary_file()

    def read(size: int) -> bytes:
        others.truncate(8 * MB)
        return reading(size)

    setattr(request, "read", read)  # noqa: B010 - Django's type is narrower
    with others, pytest.raises(RefusedBodyError) as refused:
        _ = request.FILES
    assert refused.value.refusal.reason_code == "quota_used"
    assert not list(tmp_path.iterdir())


@pytest.mark.django_db
def test_uploads_over_the_quota_are_told_to_come_back(settings: Settings) -> None:
    user = UserFactory(role=Role.TECHNOLOGIST)
    settings.INCOMING_USER_BYTES = MB
    with new_temporary_file(str(user.pk)) as file:
        file.truncate(MB)
        for client, path in (
            (program(user=user), "/api/v1/uploads/"),
            (person(user=user), "/upload/"),
        ):
            upload = new_upload()
            answer = client.post(path, {"file": upload})
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "60"
    settings.INCOMING_USER_BYTES = 1000
    answer = program(user=user).post("/api/v1/uploads/", {"file": new_upload()})
    assert (answer.status_code, answer.json()["reason_code"]) == (
        413,
        "quota_too_small",
    )
    settings.INCOMING_USER_BYTES = MB
    answer = program(user=user).post("/api/v1/uploads/", {"file": new_upload()})
    assert answer.status_code == 202


def new_upload() -> SimpleUploadedFile:
    """Return a DICOM image to send."""
    return SimpleUploadedFile("a.dcm", image_bytes())
