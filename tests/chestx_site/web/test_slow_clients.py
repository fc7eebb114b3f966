"""A real web server: slow clients keep no one waiting, and lose their connection."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from accounts.models import Role
from accounts.tokens import issue_token
from chestx_site.supervision.processes import wait_until
from patients.models import Upload
from tests.chestx_site.programs import ROOT, free_port
from tests.clients import person
from tests.dicom_factory import image_bytes
from tests.factories import UserFactory

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

HOST = "127.0.0.1"
SLOW_CLIENTS = 50
# Of the server under test, so that the test needs no minutes.
HEADER_DEADLINE_S, GRACE_S = 4.0, 4.0


@dataclass
class Web:
    """A running web server and its folder of incoming files."""

    port: int
    incoming: Path

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body of an answer."""
        asked = http.client.HTTPConnection(HOST, self.port, timeout=30)
        with contextlib.closing(asked) as client:
            client.request(method, path, body, headers or {})
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()

    def connect(self) -> socket.socket:
        """Open a connection with a small buffer, as a slow reader has."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect((HOST, self.port))
        return client


def signed_in() -> str:
    """Return the session cookie of a technologist."""
    return f"sessionid={person(Role.TECHNOLOGIST).cookies['sessionid'].value}"


@pytest.fixture
def web(tmp_path: Path) -> Generator[Web, None, None]:
    """Start a web server on the database of this test."""
    port = free_port()
    address = os.environ["DATABASE_URL"].replace(
        "/chestx?", f"/{connection.settings_dict['NAME']}?"
    )
    program = (
        "from chestx_site.web import client_socket as c, gunicorn_worker as w;"
        f"c.GRACE_S = w.GRACE_S = {GRACE_S}; w.HEADER_DEADLINE_S = {HEADER_DEADLINE_S};"
        "from gunicorn.app.wsgiapp import run; run()"
    )
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-c", program),
                *("-c", "python:chestx_site.web.gunicorn_config"),
                "chestx_site.wsgi",
            ],
            cwd=ROOT,
            env=os.environ
            | {
                "DATABASE_URL": address,
                "DATABASE_OWNER_URL": "",
                "PORT": str(port),
                "VAR_DIR": str(tmp_path),
                "SECRET_KEY": settings.SECRET_KEY,
                "INCOMING_USER_MB": "8",
                "INCOMING_MB": "12",
            },
            stdout=log,
            stderr=log,
        )
    (tmp_path / "objects").mkdir()
    running = Web(port, tmp_path / "incoming")
    try:
        assert wait_until(lambda: _answers(running), timeout_s=60, interval_s=0.2), (
            tmp_path / "log"
        ).read_text()
        yield running
    finally:
        server.terminate()
        server.wait(30)


def _answers(web: Web) -> bool:
    try:
        return web.ask("/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


@contextlib.contextmanager
def trickling(clients: list[socket.socket]) -> Iterator[None]:
    """Let each client send one byte a second."""
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(1):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b"a")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for client in clients:
            client.close()


def post_start(path: str, *, length: int, headers: str = "") -> bytes:
    """Return the start of a request with a file."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\n{headers}\r\n--b\r\n"
        'Content-Disposition: form-data; name="file"; filename="a.dcm"\r\n\r\n'
    ).encode()


SILENT = b""
SLOW_HEADER = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
SLOW_FORM = (
    b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nusername="
)
STARTS: dict[str, Callable[[str], bytes]] = {
    "silent": lambda cookies: SILENT,
    "slow header": lambda cookies: SLOW_HEADER,
    "slow form": lambda cookies: SLOW_FORM,
    "large body of nobody": lambda cookies: post_start("/sign-in/", length=10**9),
    "slow upload": lambda cookies: post_start(
        "/upload/", length=2_000_000, headers=f"Cookie: {cookies}\r\n"
    ),
    "slow reader": lambda cookies: (
        "GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js "
        f"HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\n\r\n"
    ).encode(),
}


@pytest.mark.parametrize("kind", [*STARTS, "half closed"])
def test_slow_clients_keep_nobody_waiting(web: Web, kind: str) -> None:
    cookies = signed_in()
    start = STARTS.get(kind, STARTS["slow header"])(cookies)
    clients = [web.connect() for _ in range(SLOW_CLIENTS)]
    for client in clients:
        client.sendall(start)
        if kind == "half closed":
            client.shutdown(socket.SHUT_WR)
    with trickling(clients):
        for path in ("/healthz", "/", "/healthz", "/"):
            began = time.monotonic()
            status, _, _ = web.ask(path, headers={"Cookie": cookies})
            assert status == 200
            # Far from the deadlines above, at which a thread would become free.
            assert time.monotonic() - began < 2.5, path


@pytest.mark.parametrize("kind", ["silent", "slow header", "slow form", "slow upload"])
def test_a_slow_client_loses_its_connection(web: Web, kind: str) -> None:
    client = web.connect()
    client.sendall(STARTS[kind](signed_in()))
    answer = b""
    with trickling([client]):
        while True:
            try:
                data = client.recv(4096)
            except ConnectionResetError:
                break
            if not data:
                break
            answer += data
    assert not answer or answer.split()[1] in (b"408", b"400")


def test_an_honest_upload_over_a_slow_line_passes(web: Web) -> None:
    """20 kB a second, for longer than the grace time."""
    user = UserFactory(role=Role.TECHNOLOGIST)
    head = post_start("/", length=0).partition(b"\r\n\r\n")[2]
    body = head + image_bytes() + bytes(150_000) + b"\r\n--b--\r\n"
    start = post_start(
        "/api/v1/uploads/",
        length=len(body),
        headers=f"Authorization: Token {issue_token(user)[1]}\r\n"
        "Expect: 100-continue\r\n",
    ).partition(b"--b\r\n")[0]
    client = web.connect()
    client.sendall(start)
    assert client.recv(100).startswith(b"HTTP/1.1 100")
    began = time.monotonic()
    for at in range(0, len(body), 5000):
        client.sendall(body[at : at + 5000])
        time.sleep(0.25)
    assert time.monotonic() - began > GRACE_S
    answer = client.recv(4096)
    client.close()
    assert answer.split()[1] in (b"202", b"422"), answer
    assert Upload.objects.count() == 1


def test_a_body_that_nobody_reads_gets_its_answer_and_no_disk(web: Web) -> None:
    """The client sends on while it gets the answer, and sees no reset."""
    body = post_start("/", length=0).partition(b"\r\n\r\n")[2] + bytes(30_000_000)
    for path in ("/sign-in/", "/password/", "/api/v1/auth/token/", "/", "/no-such"):
        status, headers, _ = web.ask(
            path,
            method="POST",
            body=body,
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )
        assert status in (302, 404, 413), path
        assert headers["Connection"] == "close"
        assert not list(web.incoming.glob("*")), path


def test_uploads_share_the_disk_by_quota(web: Web) -> None:
    """One user with three uploads of 4 MB at once has room for two."""
    user = UserFactory(role=Role.TECHNOLOGIST)
    token = f"Authorization: Token {issue_token(user)[1]}\r\n"
    start = post_start("/api/v1/uploads/", length=3_900_000, headers=token)
    clients = [web.connect() for _ in range(2)]
    for client in clients:
        client.sendall(start + bytes(3_800_000))
    assert wait_until(
        lambda: sum(f.stat().st_size for f in web.incoming.glob("*")) > 7_000_000,
        timeout_s=10,
    )
    third = web.connect()
    third.sendall(start + bytes(3_800_000))
    answer = third.recv(4096)
    third.close()
    assert answer.split()[1] == b"503"
    assert b"Retry-After: 60" in answer
    for client in clients:
        client.close()
    assert wait_until(lambda: not list(web.incoming.glob("*")), timeout_s=20)
    huge = post_start("/api/v1/uploads/", length=9_000_000, headers=token)
    client = web.connect()
    client.sendall(huge + bytes(1000))
    client.shutdown(socket.SHUT_WR)
    assert client.recv(4096).split()[1] == b"413"
    client.close()


def test_a_request_after_another_on_one_connection_is_answered(web: Web) -> None:
    """Keep-alive, several requests at once, and one in pieces."""
    client = web.connect()
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    form = b"POST /api/v1/auth/token/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3"
    form += b"\r\nContent-Type: application/json\r\n\r\n{}\n"
    client.sendall(request * 3 + form + request[:20])
    time.sleep(0.5)
    client.sendall(request[20:])
    received = b""
    while received.count(b"HTTP/1.1 ") < 5 or not received.endswith(b'"ok"}'):
        received += client.recv(4096)
    client.close()
    assert received.count(b"HTTP/1.1 200") == 4
    assert received.count(b"HTTP/1.1 400") == 1
