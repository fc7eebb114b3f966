"""A whole ChestX in a folder of its own, whose processes may be killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from chestx_site.demo import CELERY, GUNICORN, HOST
from chestx_site.embedded.places import (
    EmbeddedServiceError,
    database_url,
    redis_url,
    state_dir,
)
from chestx_site.embedded.services import EmbeddedServices
from chestx_site.supervision.processes import ChildProcess, wait_until
from chestx_site.supervision.supervisor import Supervisor

LONGEST_START_S = 120.0
# The graph of a model is made once from its weights: not part of what is tried here.
WARM_UP = "from diagnoses.worker.read import LoadedModels; LoadedModels().warm_up()"
MAKE_USERS = (
    "import os; from accounts.demo import create_demo_users; "
    "create_demo_users(os.environ['DEMO_PASSWORD'])"
)


class FaultStack:
    """Servers, web, worker and sweeper below one supervisor, in an empty folder."""

    def __init__(
        self,
        var_dir: Path,
        *,
        lease_s: float,
        concurrency: int,
        say: Callable[[str], None],
    ) -> None:
        """Describe the processes; nothing starts yet.

        Args:
            var_dir: An empty folder with a short path.
            lease_s: How long a claim lasts without a heartbeat.
            concurrency: Processes of the worker.
            say: Takes a sentence for the person who waits.
        """
        self.var_dir = var_dir
        self.port = _free_port()
        self.password = secrets.token_urlsafe(12)
        self.database_url = database_url(var_dir)
        self.services = EmbeddedServices(var_dir, say=say)
        self.supervisor = Supervisor(say=lambda sentence: None)
        self.environment = {
            "VAR_DIR": str(var_dir),
            "PORT": str(self.port),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": redis_url(var_dir),
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DEMO_PASSWORD": self.password,
            "INFERENCE_LEASE_S": str(lease_s),
            "INFERENCE_CONCURRENCY": str(concurrency),
        }
        self.web = self._program("web", "-m", "gunicorn", *GUNICORN)
        self.worker = self._program(
            "worker", "-m", "celery", *CELERY, f"--concurrency={concurrency}"
        )
        self.worker.stop_timeout_s = 2.0
        self.sweeper = self._program("sweeper", "manage.py", "sweeper")

    def start(self) -> None:
        """Start everything and return when the site answers.

        Raises:
            EmbeddedServiceError: Something does not start; the message has its log.
        """
        self.services.start()
        self.supervisor.adopt(
            (self.services.redis.server, self.services.postgresql.server)
        )
        for name in ("incoming", "objects", "static"):
            (self.var_dir / name).mkdir(mode=0o700, exist_ok=True)
        self.manage("migrate", "--verbosity", "0")
        # One model: the trial counts one run an image.
        only = f"--only={settings.DEFAULT_MODEL}"
        self.manage("sync_models", "--activate-for-demo", only)
        self.manage("shell", "--verbosity", "0", "-c", MAKE_USERS)
        self.manage("shell", "--verbosity", "0", "-c", WARM_UP)
        for child in (self.web, self.worker, self.sweeper):
            self.supervisor.start(child)
        if not wait_until(self._is_ready, timeout_s=LONGEST_START_S):
            raise EmbeddedServiceError(
                f"The site did not start:\n{self.web.log_tail(lines=20)}"
            )

    def stop(self) -> None:
        """Stop everything."""
        for child in (self.sweeper, self.worker, self.web):
            child.signal(signal.SIGCONT)
        self.supervisor.stop()
        self.services.stop()

    def manage(self, *arguments: str) -> None:
        """Run a command of manage.py on this stack.

        Raises:
            EmbeddedServiceError: It failed; the message has what it said.
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
            raise EmbeddedServiceError(
                f"manage.py {arguments[0]} failed:\n{done.stdout}{done.stderr}"
            )

    def pool_pids(self) -> list[int]:
        """Return the processes of the worker that read images, none while it starts."""
        main = self.worker.pid
        if main is None or not self.worker.is_alive():
            return []
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = Path(f"/proc/{main}/task/{main}/children").read_text("ascii")
            return [int(pid) for pid in children.split()]
        return []

    def empty_redis(self) -> None:
        """Kill Redis and let it come back without anything that it knew."""
        server = self.services.redis.server
        usual = server.before_start

        def forget() -> None:
            shutil.rmtree(state_dir(self.var_dir) / "redis")
            (state_dir(self.var_dir) / "redis").mkdir(mode=0o700)
            server.before_start = usual
            if usual:
                usual()

        server.before_start = forget
        server.kill()

    def restart_postgresql(self) -> None:
        """Stop PostgreSQL as an administrator would; the supervisor brings it back."""
        self.services.postgresql.server.signal(signal.SIGINT)

    def _program(self, name: str, *arguments: str) -> ChildProcess:
        return ChildProcess(
            name=name,
            command=[sys.executable, *arguments],
            log=self.var_dir / "log" / f"{name}.log",
            environment=self.environment,
            working_dir=settings.BASE_DIR,
        )

    def _is_ready(self) -> bool:
        self.supervisor.look_after()
        try:
            with urllib.request.urlopen(
                f"http://{HOST}:{self.port}/readyz", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
