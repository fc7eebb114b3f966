"""Real programs of the project, started for tests and observed from outside."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chestx_site.supervision.processes import wait_until

ROOT = Path(__file__).parents[2]
PASSWORD = "Test-4711-password"
# Variables of the test session that other programs must not inherit.
SESSION_ONLY = (
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "PYTEST_PLUGINS",
    "SECRET_KEY",
    "DJANGO_ALLOW_ASYNC_UNSAFE",
)


def free_port() -> int:
    """Return a TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def short_folder() -> Generator[Path, None, None]:
    """Make a folder with a short path that PostgreSQL's user may enter; remove it."""
    folder = Path(tempfile.mkdtemp(prefix="chestx-program-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def environment(**variables: str) -> dict[str, str]:
    """Return this process' environment as a user's shell would have it."""
    kept = {
        name: value for name, value in os.environ.items() if name not in SESSION_ONLY
    }
    return kept | variables


def processes_of(var_dir: Path) -> dict[int, str]:
    """Return the living processes that work on a state folder, with their commands."""
    commands = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (place / "cmdline").read_bytes()
            if os.fsencode(var_dir) in command + (place / "environ").read_bytes():
                commands[int(place.name)] = (
                    command.replace(b"\0", b" ").decode().strip()
                )
    return commands


class RunningDemo:
    """`manage.py demo` (or `make demo`) on a state folder and a port of its own."""

    def __init__(self, var_dir: Path, *command: str, port: int | None = None) -> None:
        self.var_dir = var_dir
        self.port = port or free_port()
        self.log = var_dir.parent / f"{var_dir.name}.log"
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command or (sys.executable, "manage.py", "demo"),
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(
                    VAR_DIR=str(var_dir), PORT=str(self.port), DEMO_PASSWORD=PASSWORD
                ),
                # As a shell starts a job in the background.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            )

    @property
    def output(self) -> str:
        """What it has printed so far, over all its starts on this folder."""
        return self.log.read_text(encoding="utf-8")

    def wait_until_ready(self, *, timeout_s: float = 120) -> float:
        """Return after how many seconds `/readyz` said 200."""
        ready = wait_until(
            lambda: self.get("/readyz")[0] == 200 or self.process.poll() is not None,
            timeout_s=timeout_s,
            interval_s=0.2,
        )
        assert ready, self.output
        assert self.process.poll() is None, self.output
        return time.monotonic() - self.began

    def wait_until_read(self, *, timeout_s: float = 240) -> None:
        """Wait until the demo's own images are loaded and read by all models.

        An image that is sent earlier waits for models to be loaded.
        """
        token = self.token("integration")
        waiting = "/api/v1/predictions/?status=queued&status=running"

        def all_read() -> bool:
            if "Loaded: demo patients" not in self.output:
                return False
            status, body = self.get(waiting, token=token)
            return status == 200 and not body["results"]

        assert wait_until(all_read, timeout_s=timeout_s, interval_s=1), self.output

    def get(self, path: str, *, token: str | None = None) -> tuple[int, Any]:
        """Return status and body (JSON if it is any); 0 where nobody answers."""
        return self._ask("GET", path, token=token)

    def token(self, user: str) -> str:
        """Sign in over REST and return the token."""
        credentials = {"username": user, "password": PASSWORD}
        status, body = self._ask("POST", "/api/v1/auth/token/", given=credentials)
        assert status == 200, body
        return str(body["token"])

    def _ask(
        self,
        method: str,
        path: str,
        *,
        given: dict[str, str] | None = None,
        token: str | None = None,
    ) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method
        )
        if token:
            request.add_header("Authorization", f"Token {token}")
        if given is not None:
            request.data = json.dumps(given).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.read())
        except (OSError, http.client.HTTPException):
            return 0, None

    def pids(self, *parts: str) -> set[int]:
        """Return the processes of this demo whose command holds all these parts."""
        return {
            pid
            for pid, command in processes_of(self.var_dir).items()
            if all(part in command for part in parts)
        }

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal, wait for the end, and return how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.process.kill()
        self.process.wait()
        assert wait_until(lambda: not processes_of(self.var_dir), timeout_s=10)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
