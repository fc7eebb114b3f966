"""A ChestX in a folder of its own: port, password, environment and commands."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext

from chestx_site.demo import HOST
from chestx_site.supervision.processes import ChildProcess

_READY_TIMEOUT_S = 5.0
_SHOWN_OUTPUT = 2000


class SiteError(Exception):
    """The site of a test bed does not start, or answers with an error."""


@contextlib.contextmanager
def temporary_folder(prefix: str, *, keep: bool = False) -> Iterator[Path]:
    """Create a folder with a short path, and remove it at the end unless kept."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)  # PostgreSQL's own user must pass through
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a TCP port that is not in use."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class Site:
    """Address, password and environment of one ChestX.

    Attributes:
        var_dir: Its state folder, with a short path.
        variables: Environment variables of its processes, besides the usual ones.
        port: Port of the web server.
        password: Password of all demo users.
    """

    var_dir: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    @property
    def environment(self) -> dict[str, str]:
        """Variables that its processes get in addition to those of this process."""
        return {
            "VAR_DIR": str(self.var_dir),
            "PORT": str(self.port),
            "DEMO_PASSWORD": self.password,
            **self.variables,
        }

    def program(
        self, name: str, *arguments: str, log: Path | None = None
    ) -> ChildProcess:
        """Return a Python program of this site; it is not started yet.

        Args:
            name: Name of the process and of its log.
            *arguments: Arguments of the Python interpreter.
            log: Its log file; default: NAME.log in the log folder of the site.
        """
        return ChildProcess(
            name=name,
            command=[sys.executable, *arguments],
            log=log or self.var_dir / "log" / f"{name}.log",
            environment=self.environment,
            working_dir=settings.BASE_DIR,
        )

    def manage(self, *arguments: str) -> None:
        """Run a command of manage.py on this site.

        Raises:
            SiteError: It failed; the message has its output.
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
            message = gettext("manage.py %(command)s failed:\n%(output)s")
            output = done.stdout[-_SHOWN_OUTPUT:] + done.stderr[-_SHOWN_OUTPUT:]
            raise SiteError(message % {"command": arguments[0], "output": output})

    def is_ready(self) -> bool:
        """Return whether the web server says that it is ready."""
        with contextlib.closing(
            http.client.HTTPConnection(HOST, self.port, timeout=_READY_TIMEOUT_S)
        ) as connection:
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False
