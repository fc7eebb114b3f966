"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import override_settings

from accounts.models import AuditEvent


@pytest.fixture(scope="session", autouse=True)
def _quick_settings() -> Generator[None, None, None]:
    """Use quick password hashes and skip the search for static files."""
    with override_settings(
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        STORAGES={
            **settings.STORAGES,
            "staticfiles": {
                "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
            },
        },
        # Otherwise each test client looks for all static files when it starts.
        WHITENOISE_AUTOREFRESH=True,
    ):
        yield


@pytest.fixture(scope="session")
def chestx_data() -> Path:
    """Return the folder of real test data, or skip the test without it."""
    folder = Path(settings.CHESTX_DATA)
    if not (folder / "samples").is_dir():
        pytest.skip(f"no real data in {folder}: set CHESTX_DATA to run this test")
    return folder


@pytest.fixture
def broken_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every audit event fail to be written, as with a full disk."""

    def refuse(**values: object) -> None:
        raise OperationalError("could not extend file: No space left on device")

    monkeypatch.setattr(AuditEvent.objects, "create", refuse)
