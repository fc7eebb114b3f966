"""A whole ChestX whose processes can be killed."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext

from chestx_site.demo import CELERY, GUNICORN
from chestx_site.embedded.places import (
    database_owner_url,
    database_url,
    redis_url,
    state_dir,
)
from chestx_site.embedded.services import EmbeddedServices
from chestx_site.supervision.processes import wait_until
from chestx_site.supervision.supervisor import Supervisor
from chestx_site.testbed.site import Site, SiteError

LONGEST_START_S = 120.0
# The graph of a model is exported once from its weights: not part of the trial.
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
            say: Prints a sentence.
        """
        self.var_dir = var_dir
        self.database_url = database_url(var_dir)
        self.services = EmbeddedServices(var_dir, say=say)
        self.supervisor = Supervisor(say=lambda sentence: None)
        self.site = Site(
            var_dir,
            {
                "DATABASE_URL": self.database_url,
                "DATABASE_OWNER_URL": database_owner_url(var_dir),
                "REDIS_URL": redis_url(var_dir),
                "SECRET_KEY": secrets.token_urlsafe(48),
                "INFERENCE_LEASE_S": str(lease_s),
                "INFERENCE_CONCURRENCY": str(concurrency),
            },
        )
        self.web = self.site.program("web", "-m", "gunicorn", *GUNICORN)
        self.worker = self.site.program(
            "worker", "-m", "celery", *CELERY, f"--concurrency={concurrency}"
        )
        self.worker.stop_timeout_s = 2.0
        self.sweeper = self.site.program("sweeper", "manage.py", "sweeper")

    def start(self) -> None:
        """Start all processes and return when the site is ready.

        Raises:
            EmbeddedServiceError, SiteError: A process does not start; the message
                has the end of its log.
        """
        self.services.start()
        self.supervisor.adopt(
            (self.services.redis.server, self.services.postgresql.server)
        )
        for name in ("incoming", "objects", "static"):
            (self.var_dir / name).mkdir(mode=0o700, exist_ok=True)
        self.site.manage("migrate", "--verbosity", "0")
        # One model: the trial counts one run per image.
        only = f"--only={settings.DEFAULT_MODEL}"
        self.site.manage("sync_models", "--activate-for-demo", only)
        self.site.manage("shell", "--verbosity", "0", "-c", MAKE_USERS)
        self.site.manage("shell", "--verbosity", "0", "-c", WARM_UP)
        for child in (self.web, self.worker, self.sweeper):
            self.supervisor.start(child)
        if not wait_until(self._is_ready, timeout_s=LONGEST_START_S):
            message = gettext("The site did not start. The end of its log:\n%(log)s")
            raise SiteError(message % {"log": self.web.log_tail(lines=20)})

    def stop(self) -> None:
        """Stop all processes."""
        for child in (self.sweeper, self.worker, self.web):
            child.signal(signal.SIGCONT)
        self.supervisor.stop()
        self.services.stop()

    def pool_pids(self) -> list[int]:
        """Return the pool processes of the worker, none while it starts."""
        main = self.worker.pid
        if main is None or not self.worker.is_alive():
            return []
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = Path(f"/proc/{main}/task/{main}/children").read_text("ascii")
            return [int(pid) for pid in children.split()]
        return []

    def empty_redis(self) -> None:
        """Kill Redis; it restarts without its data."""
        server = self.services.redis.server
        usual = server.before_start

        def delete_data() -> None:
            shutil.rmtree(state_dir(self.var_dir) / "redis")
            (state_dir(self.var_dir) / "redis").mkdir(mode=0o700)
            server.before_start = usual
            if usual:
                usual()

        server.before_start = delete_data
        server.kill()

    def restart_postgresql(self) -> None:
        """Stop PostgreSQL as an administrator does; the supervisor restarts it."""
        self.services.postgresql.server.signal(signal.SIGINT)

    def _is_ready(self) -> bool:
        self.supervisor.look_after()
        return self.site.is_ready()
