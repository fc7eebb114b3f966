"""The embedded servers under real signals, crashes and restarts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
import redis

from chestx_site.embedded import places, postgresql
from chestx_site.embedded.postgresql import MAJOR, EmbeddedPostgreSQL
from chestx_site.embedded.services import EmbeddedServices
from chestx_site.supervision.processes import wait_until

HOLDER = Path(__file__).with_name("holder.py")
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


@pytest.fixture
def var_dir() -> Generator[Path, None, None]:
    """Return a state folder with a short path, which PostgreSQL's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="chestx-services-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


class Holder:
    """The program in holder.py, and what it left on the machine."""

    def __init__(self, var_dir: Path) -> None:
        self.var_dir = var_dir
        self.process = subprocess.Popen(
            [sys.executable, str(HOLDER), str(var_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            # As a shell starts a job in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )

    def read_until(self, text: str) -> str:
        """Read what it says up to a line with this text, and return all of it."""
        assert self.process.stdout is not None
        output = ""
        for line in self.process.stdout:
            output += line
            if text in line:
                return output
        raise AssertionError(f"it never printed {text!r}, but:\n{output}")

    def servers(self) -> dict[str, int]:
        """Return the process ids of the main processes of both servers."""
        process_ids = {}
        for place in Path("/proc").iterdir():
            if place.name.isdigit() and (command := _command(place)):
                program = Path(command[0]).name
                if program in ("postgres", "valkey-server") and any(
                    str(self.var_dir) in part for part in command
                ):
                    process_ids[program] = int(place.name)
        return process_ids

    def leaves_nothing(self, *, timeout_s: float) -> bool:
        """Say whether everything it started is gone in time."""
        return wait_until(lambda: not self.servers(), timeout_s=timeout_s)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def _command(place: Path) -> list[str]:
    try:
        return (place / "cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.fixture
def holder(var_dir: Path) -> Generator[Holder, None, None]:
    started = Holder(var_dir)
    yield started
    started.end()
    assert started.leaves_nothing(timeout_s=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_both_servers_also_in_the_background(
    holder: Holder, number: signal.Signals
) -> None:
    holder.read_until("ready")
    began = time.monotonic()
    holder.process.send_signal(number)
    holder.read_until(f"stopped by {number.name}")
    assert holder.process.wait(10) == 0
    assert time.monotonic() - began < 10
    assert holder.servers() == {}


def test_servers_stop_with_a_killed_holder_and_the_next_start_recovers(
    holder: Holder, var_dir: Path
) -> None:
    holder.read_until("ready")
    with _connect(var_dir) as client:
        client.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    holder.process.kill()
    assert holder.leaves_nothing(timeout_s=4)
    with EmbeddedServices(var_dir, say=lambda _: None), _connect(var_dir) as client:
        assert client.execute("SELECT answer FROM kept").fetchall() == [(42,)]


@pytest.mark.parametrize("program", ["postgres", "valkey-server"])
def test_a_killed_server_is_restarted(
    holder: Holder, var_dir: Path, program: str
) -> None:
    holder.read_until("ready")
    before = holder.servers()
    assert before.keys() == {"postgres", "valkey-server"}
    os.kill(before[program], signal.SIGKILL)
    holder.read_until("SIGKILL")
    assert wait_until(lambda: _both_answer(var_dir), timeout_s=15)
    after = holder.servers()
    assert after.keys() == before.keys()
    assert after[program] != before[program]


def test_a_second_holder_is_refused_with_a_message(
    holder: Holder, var_dir: Path
) -> None:
    holder.read_until("ready")
    second = EmbeddedServices(var_dir, say=lambda _: None)
    with pytest.raises(places.EmbeddedServiceError, match="already runs on"):
        second.start()
    assert _both_answer(var_dir)


def test_a_pid_file_of_another_process_is_ignored(var_dir: Path) -> None:
    with EmbeddedServices(var_dir, say=lambda _: None, durable=False):
        pass
    # As after a crash, when the number went to another process meanwhile.
    pid_file = places.state_dir(var_dir) / "postgresql" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n0\n5432\n\n\n\n\n")
    with EmbeddedServices(var_dir, say=lambda _: None, durable=False):
        assert _both_answer(var_dir)


def test_a_cluster_of_another_major_version_is_refused_with_instructions(
    var_dir: Path,
) -> None:
    with EmbeddedServices(var_dir, say=lambda _: None, durable=False):
        pass
    version = places.state_dir(var_dir) / "postgresql" / "PG_VERSION"
    version.write_text("15\n")
    with pytest.raises(
        places.EmbeddedServiceError, match=f"PostgreSQL 15, but this is {MAJOR}"
    ):
        EmbeddedServices(var_dir, say=lambda _: None).start()


def test_an_incomplete_cluster_is_created_again(var_dir: Path) -> None:
    unfinished = places.state_dir(var_dir) / "postgresql.unfinished"
    (unfinished / "base").mkdir(parents=True)
    with EmbeddedServices(var_dir, say=lambda _: None, durable=False):
        assert _both_answer(var_dir)
    assert not unfinished.exists()


def test_readiness_checks_the_embedded_server_only(
    holder: Holder, var_dir: Path
) -> None:
    """A foreign server on the same sockets must not look like ours."""
    holder.read_until("ready")
    ours = EmbeddedServices(var_dir, say=lambda _: None)
    assert not ours.postgresql.answers()
    assert not ours.redis.answers()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_root_runs_postgresql_as_another_user(holder: Holder) -> None:
    holder.read_until("ready")
    server = Path("/proc", str(holder.servers()["postgres"]))
    assert server.stat().st_uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_root_copies_programs_that_postgresqls_user_cannot_reach(
    var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "chestx_site.embedded.postgresql.others_may_enter", lambda _: False
    )
    messages: list[str] = []
    before = os.umask(0o077)
    try:
        with EmbeddedServices(var_dir, say=messages.append, durable=False):
            assert _both_answer(var_dir)
    finally:
        os.umask(before)
    assert any("Copying PostgreSQL" in sentence for sentence in messages)


def test_the_socket_folder_is_closed_to_others(holder: Holder, var_dir: Path) -> None:
    holder.read_until("ready")
    for folder in (
        places.postgresql_socket_dir(var_dir),
        places.redis_socket(var_dir).parent,
        EmbeddedPostgreSQL(var_dir, say=lambda _: None)._data_dir,
    ):
        assert folder.stat().st_mode & 0o077 == 0


def test_no_superuser_may_connect(var_dir: Path) -> None:
    with EmbeddedServices(var_dir, say=lambda _: None):
        for role in ("postgres", "chestx"):
            with pytest.raises(
                psycopg.OperationalError, match=r"no pg_hba\.conf entry"
            ):
                psycopg.connect(places.database_url(var_dir, user=role))
        with _connect(var_dir) as client:
            roles = client.execute(
                "SELECT rolname, rolsuper FROM pg_roles WHERE rolname LIKE 'chestx%'"
            ).fetchall()
    assert sorted(roles) == [("chestx_app", False), ("chestx_owner", False)]


def test_a_cluster_of_one_role_gets_two(
    var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As version 0.1 made it: the superuser `chestx` owns the tables."""
    with monkeypatch.context() as earlier:
        earlier.setattr(postgresql, "SUPERUSER", "chestx")
        earlier.setattr(EmbeddedPostgreSQL, "_create_roles", lambda self, owner: None)
        with (
            EmbeddedServices(var_dir, say=lambda _: None),
            psycopg.connect(places.database_url(var_dir, user="chestx")) as client,
        ):
            client.execute(
                "CREATE TABLE kept (id bigint GENERATED ALWAYS AS IDENTITY);"
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN RETURN NULL; END';"
                "INSERT INTO kept DEFAULT VALUES;"
            )
    with EmbeddedServices(var_dir, say=lambda _: None):
        with _connect(var_dir) as client:
            client.execute("INSERT INTO kept DEFAULT VALUES; DROP FUNCTION refuse")
            assert client.execute("SELECT count(*) FROM kept").fetchone() == (2,)
        with (
            psycopg.connect(places.database_url(var_dir)) as client,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            client.execute("SELECT FROM kept")


def _connect(var_dir: Path) -> psycopg.Connection:
    return psycopg.connect(places.database_owner_url(var_dir), autocommit=True)


def _both_answer(var_dir: Path) -> bool:
    try:
        with _connect(var_dir) as client:
            client.execute("SELECT 1")
        with redis.Redis(unix_socket_path=str(places.redis_socket(var_dir))) as client:
            return bool(client.ping())
    except (psycopg.OperationalError, redis.ConnectionError):
        return False
