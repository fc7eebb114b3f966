"""Fixtures for all tests, and what a run without slow tests leaves out."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from accounts.models import AuditEvent
from tests.brackets import bracketed
from tests.owner import create_run_as_owner

WHOLLY_SLOW = re.compile(r"^pytestmark = .*\bmark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import wholly slow modules without slow tests: Keras takes seconds."""
    if config.getoption("markexpr") != "not slow" or collection_path.suffix != ".py":
        return None
    source = collection_path.read_text(encoding="utf-8")
    return True if WHOLLY_SLOW.search(source) else None


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
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
) -> None:
    """Let the owner of the tables create the test database."""
    _connect_as(settings.DATABASE_OWNER["USER"])


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Generator[None, None, None]:
    """Run the tests as the role that serves, and remove the database as its owner."""
    with django_db_blocker.unblock():
        create_run_as_owner()
        connection.close()
        connection.settings_dict = settings.DATABASES["default"]
    yield
    with django_db_blocker.unblock():
        connection.close()
        _connect_as(settings.DATABASE_OWNER["USER"])


def _connect_as(user: str) -> None:
    """Use another role from the next connection on, in this thread only."""
    connection.settings_dict = {**connection.settings_dict, "USER": user}


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


@pytest.fixture
def brackets() -> Generator[None, None, None]:
    """Put every translation into brackets."""
    with bracketed():
        yield
