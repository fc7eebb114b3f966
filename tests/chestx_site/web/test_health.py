"""The answers of `/healthz` and `/readyz` when parts are down."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import connections
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from chestx_site.celery import app
from chestx_site.web import health
from diagnoses.leases import claim
from tests.factories import PredictionFactory

pytestmark = pytest.mark.slow


@pytest.fixture
def nowhere(tmp_path: Path) -> str:
    """Return the URL of a broker that is not there."""
    return f"redis+socket://{tmp_path / 'no.sock'}?virtual_host=0"


def test_healthz_answers_without_a_database(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_without_a_worker_readyz_is_ready_but_degraded(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "database": "ok",
        "storage": "ok",
        "broker": "ok",
        "worker": "degraded",
    }


@pytest.mark.django_db
def test_a_worker_that_is_busy_is_there_although_it_does_not_answer(
    client: Client,
) -> None:
    PredictionFactory()
    assert claim("worker-1")
    assert client.get("/readyz").json()["worker"] == "ok"


@pytest.mark.django_db
def test_without_a_broker_readyz_is_ready_but_degraded(
    client: Client, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = app.connection_for_write(url=nowhere)
    monkeypatch.setattr(app, "connection_for_write", lambda: connection)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["broker"] == "degraded"
    assert answer.json()["worker"] == "degraded"


@pytest.mark.django_db
def test_readyz_fails_where_storage_cannot_be_written(
    client: Client, tmp_path: Path
) -> None:
    with override_settings(
        STORAGES={
            "default": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(tmp_path / "gone")},
            },
            "staticfiles": {
                "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
            },
        }
    ):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["storage"] == "unavailable"


def test_readyz_fails_without_a_database(
    client: Client, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock():
        elsewhere = connections["default"].copy()
        elsewhere.settings_dict["OPTIONS"] = {"host": str(tmp_path)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(health, "connection", elsewhere)
            answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["database"] == "unavailable"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_pages_accept_no_post(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405


def test_the_storage_probe_leaves_no_file() -> None:
    folder = Path(default_storage.location)
    before = sorted(folder.iterdir())
    assert health._storage_takes_files()
    assert sorted(folder.iterdir()) == before
