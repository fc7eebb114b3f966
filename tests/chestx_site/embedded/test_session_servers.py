"""The pytest plugin: each session has its own servers, which end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis
from django.conf import settings

from chestx_site.embedded import places
from chestx_site.supervision.processes import wait_until
from chestx_site.testing import _worker_number, point_at_servers
from tests.chestx_site.programs import ROOT, processes_of

# A session in a session starts as from a shell.
OUTER_ONLY = ("PYTEST_", "CHESTX_TEST_", "DATABASE_", "REDIS_URL", "VAR_DIR")


def shell_environment(**variables: str) -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OUTER_ONLY)
    } | variables


def test_a_test_session_has_its_own_servers() -> None:
    assert Path(os.environ["CHESTX_TEST_SESSION_DIR"]) in settings.VAR_DIR.parents
    with psycopg.connect(os.environ["DATABASE_URL"]) as client:
        version = client.execute("SHOW server_version").fetchone()
    assert version is not None
    assert version[0].startswith("18.")
    with redis.Redis(unix_socket_path=settings.REDIS_URL[14:].split("?")[0]) as client:
        assert client.info("server")["server_name"] == "valkey"


def test_a_statement_that_fails_leaves_no_value_in_the_log() -> None:
    """Two images that make one patient at once fail so, as a matter of course."""
    log = Path(os.environ["CHESTX_TEST_SESSION_DIR"]) / "services/log/postgresql.log"
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as client:
        client.execute("CREATE TEMP TABLE person (name text UNIQUE, sex char(1))")
        insert = "INSERT INTO person VALUES ('Wachtmeister', 'F')"
        client.execute(insert)
        with pytest.raises(psycopg.errors.UniqueViolation):
            client.execute(insert)
    assert wait_until(lambda: "person_name_key" in log.read_text(), timeout_s=5)
    assert "Wachtmeister" not in log.read_text()


def test_each_worker_has_a_redis_database_and_a_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "VAR_DIR"):
        monkeypatch.setenv(name, "")  # given back after the test
    seen = set()
    for worker in (None, "gw0", "gw1"):
        point_at_servers(tmp_path, worker_number=_worker_number(worker))
        seen.add((os.environ["REDIS_URL"], os.environ["VAR_DIR"]))
        assert Path(os.environ["VAR_DIR"], "objects").is_dir()
    assert len({url for url, _ in seen}) == len({folder for _, folder in seen}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_servers_stop_when_the_test_session_is_terminated(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Measured: without a word to the kernel, SIGTERM to pytest orphans both."""
    (tmp_path / "test_waiting.py").write_text(
        "import os, pathlib, time\n"
        "def test_waiting():\n"
        "    folder = os.environ['CHESTX_TEST_SESSION_DIR']\n"
        "    pathlib.Path(os.environ['NOTE']).write_text(folder)\n"
        "    time.sleep(60)\n"
    )
    note = tmp_path / "note"
    session = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")),
            *("-p", "no:cacheprovider", str(tmp_path / "test_waiting.py")),
        ],
        cwd=ROOT,
        env=shell_environment(NOTE=str(note)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert wait_until(lambda: note.exists() and bool(note.read_text()), timeout_s=60)
    folder = Path(note.read_text())
    assert len(processes_of(folder / "services")) >= 2
    session.send_signal(number)
    session.wait(10)
    assert wait_until(lambda: not processes_of(folder), timeout_s=4)
    for program in (places.state_dir(folder / "services"), folder):
        subprocess.run(["rm", "-rf", str(program)], check=True)
