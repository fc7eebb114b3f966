"""Both embedded servers, started and stopped together."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from django.utils.translation import gettext

from chestx_site.embedded.places import (
    EmbeddedServiceError,
    prepare_dir,
    socket_dir,
    state_dir,
    unprivileged_account,
)
from chestx_site.embedded.postgresql import EmbeddedPostgreSQL
from chestx_site.embedded.redis import EmbeddedRedis
from chestx_site.supervision.processes import ChildProcess, wait_until

# After a crash PostgreSQL reads its log before it answers.
LONGEST_START_S = 120.0


class EmbeddedServices:
    """PostgreSQL and Redis as child processes; one owner per VAR_DIR.

    Attributes:
        postgresql: The PostgreSQL server.
        redis: The Redis server (Valkey).
    """

    def __init__(
        self, var_dir: Path, *, say: Callable[[str], None], durable: bool = True
    ) -> None:
        """Describe both servers; nothing starts before `start`.

        Args:
            var_dir: The state folder, VAR_DIR.
            say: Prints a sentence.
            durable: False for tests: do not wait for the disk.
        """
        self.var_dir = var_dir.resolve()
        self._say = say
        self._lock: IO[bytes] | None = None
        self._as_root = unprivileged_account() is not None
        self.postgresql = EmbeddedPostgreSQL(self.var_dir, say=say, durable=durable)
        self.redis = EmbeddedRedis(self.var_dir, durable=durable)

    def __enter__(self) -> Self:
        """Start both servers."""
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop both servers."""
        self.stop()

    def start(self) -> None:
        """Start both servers and return when they answer.

        Raises:
            EmbeddedServiceError: A server does not start, or ChestX already runs here.
        """
        self.take_lock()
        try:
            self._prepare()
            for part in (self.redis, self.postgresql):
                part.server.start()
            for part in (self.redis, self.postgresql):
                _wait_for(part.server, part.answers)
        except BaseException:
            self.stop()
            raise

    @property
    def servers(self) -> tuple[ChildProcess, ChildProcess]:
        """Both server processes in the order of their start."""
        return (self.postgresql.server, self.redis.server)

    def stop(self) -> None:
        """Stop Redis, then PostgreSQL, and release the lock."""
        self.redis.server.stop()
        self.postgresql.server.stop()
        if self._lock:
            self._lock.close()
            self._lock = None

    def take_lock(self) -> None:
        """Lock this VAR_DIR; `start` does so, too.

        Raises:
            EmbeddedServiceError: Another process has locked it.
        """
        if self._lock:
            return
        if not self.var_dir.exists() or not self._as_root:
            # Root runs PostgreSQL under another user, who must pass through.
            prepare_dir(self.var_dir, mode=0o711 if self._as_root else 0o700)
        lock = (self.var_dir / "supervisor.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            message = gettext(
                "ChestX already runs on %(folder)s. Stop it first, or start with "
                "another VAR_DIR and PORT."
            )
            raise EmbeddedServiceError(message % {"folder": self.var_dir}) from None
        self._lock = lock

    def _prepare(self) -> None:
        data_dir = state_dir(self.var_dir)
        if data_dir != self.var_dir:
            message = gettext(
                "The databases are in %(data)s, because PostgreSQL's user cannot reach "
                "%(folder)s."
            )
            self._say(message % {"data": data_dir, "folder": self.var_dir})
        for folder in dict.fromkeys((data_dir, socket_dir(self.var_dir))):
            if folder != self.var_dir:
                prepare_dir(folder, mode=0o711 if self._as_root else 0o700)
        self.redis.prepare()
        self.postgresql.prepare()


def _wait_for(server: ChildProcess, answers: Callable[[], bool]) -> None:
    """Wait until a server answers.

    Raises:
        EmbeddedServiceError: It ended, or took too long.
    """
    settled = wait_until(
        lambda: answers() or not server.is_alive(), timeout_s=LONGEST_START_S
    )
    if not settled or not server.is_alive():
        message = gettext("%(server)s did not start. The end of %(log)s:\n%(lines)s")
        raise EmbeddedServiceError(
            message
            % {"server": server.name, "log": server.log, "lines": server.log_tail()}
        )
