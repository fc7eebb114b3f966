"""pytest plugin that starts a PostgreSQL and a Redis for each test session.

`addopts` loads it, so that it sets the environment before pytest-django reads the
settings. The controller starts the servers once and removes their folder at the end.
Workers of pytest-xdist inherit the environment; each gets its own Redis database and
VAR_DIR. pytest-django gives each worker its own PostgreSQL database.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from chestx_site.embedded import database_owner_url, database_url, redis_url
from chestx_site.embedded.services import EmbeddedServices

_SESSION_DIR = "CHESTX_TEST_SESSION_DIR"
_services = pytest.StashKey[EmbeddedServices]()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, object, object]:
    """Set the environment for this session's servers before settings are read."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        folder = Path(tempfile.mkdtemp(prefix="chestx-tests-"))
        # If root runs the tests, PostgreSQL's own user must pass through.
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        os.environ[_SESSION_DIR] = str(folder)
        # Workers ignore addopts; this loads the plugin there in time.
        os.environ["PYTEST_PLUGINS"] = __name__
        os.environ["CHESTX_ENV"] = "development"
        # After its first test Playwright keeps an event loop in this thread, and Django
        # would then refuse all access to the database.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    point_at_servers(
        Path(os.environ[_SESSION_DIR]), worker_number=_worker_number(worker)
    )
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers once per session."""
    if _is_controller(config) and not config.option.collectonly:
        services = EmbeddedServices(
            _services_dir(Path(os.environ[_SESSION_DIR])),
            say=lambda sentence: None,
            durable=False,
        )
        services.start()
        config.stash[_services] = services


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers and remove their state."""
    if services := config.stash.get(_services, None):
        services.stop()
    if _is_controller(config):
        shutil.rmtree(os.environ[_SESSION_DIR], ignore_errors=True)


def point_at_servers(session_dir: Path, *, worker_number: int) -> None:
    """Set the URLs of the servers and VAR_DIR for one test process.

    Args:
        session_dir: The folder of this test session.
        worker_number: 0 without pytest-xdist, else from 1.
    """
    services = _services_dir(session_dir)
    var_dir = session_dir / f"var{worker_number}"
    for name in (".", "incoming", "objects", "static"):
        (var_dir / name).mkdir(mode=0o700, exist_ok=True)
    os.environ["VAR_DIR"] = str(var_dir)
    os.environ["DATABASE_URL"] = database_url(services)
    os.environ["DATABASE_OWNER_URL"] = database_owner_url(services)
    os.environ["REDIS_URL"] = redis_url(services, database=worker_number)


def _services_dir(session_dir: Path) -> Path:
    return session_dir / "services"


def _is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def _worker_number(worker: str | None) -> int:
    """Return 1 for gw0, 2 for gw1, … and 0 without workers."""
    return int(worker.removeprefix("gw")) + 1 if worker else 0
