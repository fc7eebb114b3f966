"""A real demo in a folder of its own, and a client that knows it from outside only."""

from __future__ import annotations

import contextlib
import http.client
import http.cookiejar
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from chestx_site.benchmarks.figures import BenchmarkError
from chestx_site.supervision.demo import HOST
from chestx_site.supervision.processes import ChildProcess, wait_until

FINISHED = frozenset({"succeeded", "rejected", "failed"})
_LONGEST_START_S = 300.0
_LONGEST_STOP_S = 30.0
_LONGEST_READING_S = 120.0
_ANSWER_TIMEOUT_S = 60.0
# Asking costs the server time too, so not more often than the answer is worth.
_POLL_S = 0.02
# What the demo says when its own patients are in the record.
_LOADED = b"Loaded: demo patients"


@dataclass
class Site:
    """A demo that runs: where it is, and how to sign in."""

    var_dir: Path
    port: int
    password: str

    @property
    def environment(self) -> dict[str, str]:
        """What the environment of the demo, and of commands on its record, has more."""
        return {
            # Empty: the demo's own servers.
            "DATABASE_URL": "",
            "REDIS_URL": "",
            "VAR_DIR": str(self.var_dir),
            "PORT": str(self.port),
            "DEMO_PASSWORD": self.password,
            "SIGN_IN_FAILURES": "100",
        }

    def manage(self, *arguments: str) -> None:
        """Run a command of manage.py on this demo's record.

        Raises:
            BenchmarkError: It failed; the message has what it said.
        """
        done = subprocess.run(  # noqa: S603 - our own commands
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(
                f"manage.py {arguments[0]} failed:\n{done.stdout[-2000:]}"
                f"{done.stderr[-2000:]}"
            )


@contextlib.contextmanager
def running_demo(say: Callable[[str], None]) -> Iterator[Site]:
    """Start `manage.py demo`, wait until it has read its own patients, and stop it.

    Raises:
        BenchmarkError: It does not start; the message has the end of its log.
    """
    folder = Path(tempfile.mkdtemp(prefix="chestx-bench-"))
    folder.chmod(0o711)  # PostgreSQL's own user passes through
    site = Site(folder / "var", _free_port(), secrets.token_urlsafe(12))
    say(f"Starting a demo on port {site.port}")
    demo = ChildProcess(
        name="demo",
        command=[sys.executable, "manage.py", "demo"],
        log=folder / "demo.log",
        environment=site.environment,
        working_dir=settings.BASE_DIR,
        # Killed outright, it could not stop its own children.
        death_signal=signal.SIGTERM,
        stop_timeout_s=_LONGEST_STOP_S,
    )
    try:
        demo.start()
        _wait_for(demo, site)
        yield site
    finally:
        demo.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(demo: ChildProcess, site: Site) -> None:
    log = site.var_dir.parent / "demo.log"

    def ready() -> bool:
        if not demo.is_alive():
            return True
        if _LOADED not in log.read_bytes():
            return False
        try:
            return RestClient(site).idle()
        except (OSError, http.client.HTTPException, BenchmarkError):
            return False

    in_time = wait_until(ready, timeout_s=_LONGEST_START_S, interval_s=1.0)
    if not in_time or not demo.is_alive():
        raise BenchmarkError(f"The demo did not start:\n{demo.log_tail(lines=20)}")


class RestClient:
    """The REST interface, as a program of the hospital uses it."""

    def __init__(self, site: Site, *, username: str = "integration") -> None:
        self._port = site.port
        self._headers: dict[str, str] = {}
        credentials = {"username": username, "password": site.password}
        answer = self.call(
            "POST",
            "/api/v1/auth/token/",
            json.dumps(credentials).encode(),
            "application/json",
        )
        self._headers = {"Authorization": f"Token {answer['token']}"}

    def call(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> Any:
        """Send a request and return its JSON.

        Raises:
            BenchmarkError: The answer is an error.
        """
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = content_type
        # One connection a request, as most senders have: the server closes idle ones.
        with contextlib.closing(
            http.client.HTTPConnection(HOST, self._port, timeout=_ANSWER_TIMEOUT_S)
        ) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise BenchmarkError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content)

    def upload(self, name: str, content: bytes, **fields: str) -> str:
        """Send one image and return the id of its prediction.

        Raises:
            BenchmarkError: It was not stored, or no model is to read it.
        """
        body, content_type = form(name, content, fields)
        answer = self.call("POST", "/api/v1/uploads/", body, content_type)
        (image,) = answer["files"]
        if image["outcome"] != "stored" or not image["predictions"]:
            raise BenchmarkError(f"{name} was not stored to be read: {image}")
        return str(image["predictions"][0]["id"])

    def result(self, prediction_id: str, *, poll_s: float = _POLL_S) -> dict[str, Any]:
        """Wait for the stored result of a run and return it.

        Raises:
            BenchmarkError: There is none in time, or it did not succeed.
        """
        end = time.monotonic() + _LONGEST_READING_S
        while time.monotonic() < end:
            found = self.call("GET", f"/api/v1/predictions/{prediction_id}/")
            if found["status"] in FINISHED:
                if found["status"] != "succeeded":
                    raise BenchmarkError(f"An image was not read: {found}")
                return dict(found)
            time.sleep(poll_s)
        raise BenchmarkError(f"No result after {_LONGEST_READING_S:g} s")

    def idle(self) -> bool:
        """Whether images have come in, and none waits to be read."""
        newest = self.call("GET", "/api/v1/predictions/")["results"]
        return bool(newest) and all(row["status"] in FINISHED for row in newest)


class BrowserSession:
    """A session of the pages, signed in."""

    def __init__(self, site: Site, *, username: str = "radiologist") -> None:
        self._base = f"http://{HOST}:{site.port}"
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._cookies)
        )
        self.get("/sign-in/")
        token = next(c.value for c in self._cookies if c.name == "csrftoken")
        signing_in = {
            "username": username,
            "password": site.password,
            "csrfmiddlewaretoken": token or "",
        }
        self.get("/sign-in/", urllib.parse.urlencode(signing_in).encode())

    def get(self, path: str, data: bytes | None = None) -> bytes:
        """Ask for a page and return it whole.

        Raises:
            BenchmarkError: The answer is an error, or the sign-in page once more.
        """
        request = urllib.request.Request(  # noqa: S310 - our own address
            self._base + path, data=data, headers={"Referer": self._base + path}
        )
        try:
            with self._opener.open(request, timeout=_ANSWER_TIMEOUT_S) as answer:
                if "/sign-in/" in answer.url and not path.startswith("/sign-in/"):
                    raise BenchmarkError(f"{path} asks to sign in")
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise BenchmarkError(f"{path}: {error.code}") from error


def form(name: str, content: bytes, fields: dict[str, str]) -> tuple[bytes, str]:
    """Return a form with one file (RFC 7578), and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        f"--{boundary}\r\nContent-Disposition: form-data; "
        f'name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    parts += [head.encode(), content, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
