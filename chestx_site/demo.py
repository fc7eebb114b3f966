"""The whole of ChestX on one machine: servers, worker, sweeper, web, made-up records.

For trying and developing. Production runs the same programs under the system's own
supervisor: docs/deployment.md.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from accounts.demo import create_demo_users
from accounts.errors import ChestXError
from accounts.models import Role
from chestx_site.embedded import EmbeddedServiceError
from chestx_site.embedded.services import EmbeddedServices
from chestx_site.supervision.demo_secrets import kept_secret
from chestx_site.supervision.ports import wait_for_free_port
from chestx_site.supervision.processes import ChildProcess, wait_until
from chestx_site.supervision.supervisor import StopRequested, Supervisor
from chestx_site.supervision.watchdog import QueueWatchdog
from diagnoses.governance.installation import sync_models
from diagnoses.governance.transitions import activate_for_demo
from diagnoses.worker import sweeper
from ml.errors import MlError

HOST = "127.0.0.1"
LONGEST_START_S = 120.0
GUNICORN = ("-c", "python:chestx_site.web.gunicorn_config", "chestx_site.wsgi")
CELERY = ("-A", "chestx_site", "worker", "-Q", "inference", "--loglevel", "INFO")


class DemoError(Exception):
    """The demo cannot start or go on; the message says what to do about it."""


def refuse_unfit_settings() -> None:
    """Refuse to make users with one shared password where real patients may be.

    Raises:
        DemoError: The settings are not those of a demo.
    """
    if settings.PRODUCTION:
        raise DemoError(
            "The demo does not run with CHESTX_ENV=production: its users share one "
            "password. docs/deployment.md says how production is served."
        )
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        raise DemoError(
            "The demo brings a PostgreSQL and a Redis of its own: unset DATABASE_URL "
            "and REDIS_URL, or serve from yours as docs/deployment.md says."
        )


class Demo:
    """One run of the demo."""

    def __init__(
        self, *, say: Callable[[str], None], load_from: Path | None = None
    ) -> None:
        """Describe the processes; nothing starts yet.

        Args:
            say: Takes a sentence for the person who waits.
            load_from: A folder of real files to load instead of drawn phantoms.
        """
        self._say = say
        self._began = time.monotonic()
        self._var_dir: Path = settings.VAR_DIR
        self._services = EmbeddedServices(self._var_dir, say=say)
        self._supervisor = Supervisor(say=say)
        self._web = self._program("web server", "-m", "gunicorn", *GUNICORN)
        concurrency = f"--concurrency={settings.INFERENCE_CONCURRENCY}"
        self._worker = self._program(
            "inference worker", "-m", "celery", *CELERY, concurrency
        )
        # Tests and deployments run Django's checks; here they would cost a second.
        self._worker.environment = {"CELERY_SKIP_CHECKS": "1"}
        self._sweeper = self._program("sweeper", "manage.py", "sweeper")
        self._loader = self._describe_loader(load_from)
        self._loader_reported = False
        self._watchdog = QueueWatchdog(sweeper.stalled)

    def run(self) -> None:
        """Start everything, look after it, and stop everything when asked to.

        Raises:
            DemoError: It cannot start.
        """
        refuse_unfit_settings()
        os.umask(0o077)
        try:
            self._start()
            self._supervisor.run(every_look=self._look_further)
        except StopRequested as request:
            self._say(f"Stopping ({request})")
        except EmbeddedServiceError as error:
            raise DemoError(str(error)) from error
        finally:
            self._stop()
        self._say("Stopped")

    def _start(self) -> None:
        self._services.take_lock()
        if not wait_for_free_port(HOST, settings.PORT):
            raise DemoError(
                f"Port {settings.PORT} is taken by another program. Stop that, or "
                "choose another port: PORT=8001 make demo"
            )
        self._say("Starting PostgreSQL and Redis")
        self._services.start()
        self._supervisor.adopt(self._services.servers)
        password = self._prepare_environment()
        self._prepare_record(password)
        self._say("Starting the web server, one inference worker and the sweeper")
        for child in (self._web, self._worker, self._sweeper):
            self._supervisor.start(child)
        self._wait_until_ready()
        self._welcome(password)
        self._say(f"Loading the {self._loader.name} (the site can be used meanwhile)")
        self._loader.start()
        self._watchdog.start()

    def _stop(self) -> None:
        self._loader.kill()
        # They end at the same time, while both servers are still there for them.
        for child in (self._sweeper, self._worker, self._web):
            child.request_stop()
        self._supervisor.stop()
        self._services.stop()

    def _prepare_environment(self) -> str:
        """Make folders and secrets that last, and return the users' password."""
        for name in ("incoming", "objects", "static"):
            (self._var_dir / name).mkdir(mode=0o700, exist_ok=True)
        os.environ["VAR_DIR"] = str(self._var_dir)
        os.environ["PORT"] = str(settings.PORT)
        if not os.environ.get("SECRET_KEY"):
            key_file = self._var_dir / "secret-key"
            kept_secret(key_file)
            os.environ["SECRET_KEY_FILE"] = str(key_file)
        return kept_secret(
            self._password_file,
            given=os.environ.get("DEMO_PASSWORD"),
            random_bytes=9,
        )

    def _prepare_record(self, password: str) -> None:
        self._say("Bringing the tables up to date")
        call_command("migrate", interactive=False, verbosity=0)
        self._say("Registering the models")
        self._register_models()
        self._say("Making the users")
        create_demo_users(password)
        connections.close_all()

    def _register_models(self) -> None:
        try:
            for model_version in sync_models():
                self._say(f"  {model_version} is new")
            activate_for_demo()
        except (ChestXError, MlError) as error:
            raise DemoError(error.message) from error

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            self._supervisor.look_after()
            return self._supervisor.all_alive() and _site_is_ready()

        if not wait_until(ready, timeout_s=LONGEST_START_S, interval_s=0.1):
            raise DemoError(
                "The web server did not become ready; the end of "
                f"{self._web.log}:\n{self._web.log_tail(lines=20)}"
            )

    def _welcome(self, password: str) -> None:
        took = time.monotonic() - self._began
        self._say(
            f"\nChestX is ready after {took:.1f} s: http://{HOST}:{settings.PORT}/\n"
            "Decision support, not for diagnosis. For made-up patients only.\n\n"
            f"  users     {', '.join(Role.values)}\n"
            f"  password  {password} (the same for all, kept in "
            f"{self._password_file} for the next start)\n\n"
            "Ctrl-C stops everything.\n"
        )

    def _look_further(self) -> None:
        """Look after what the supervisor does not know: the loader and the queue."""
        status = self._loader.exit_status
        if status is not None and not self._loader_reported:
            self._loader_reported = True
            details = f"see {self._loader.log}" if self._loader.log else "see above"
            ended = "loaded" if status == 0 else f"not all were loaded, {details}"
            self._say(f"{self._loader.name.capitalize()}: {ended}")
        if self._watchdog.take_alarm():
            reason = "images wait, and it takes none"
            self._supervisor.restart(self._worker, reason=reason)

    @property
    def _password_file(self) -> Path:
        return self._var_dir / "demo-password"

    def _describe_loader(self, load_from: Path | None) -> ChildProcess:
        if load_from is None:
            return self._program("demo patients", "manage.py", "demo_patients")
        folder = str(load_from.resolve())
        loader = self._program("files", "manage.py", "import_studies", folder)
        loader.log = None  # its progress bar belongs on the screen
        return loader

    def _program(self, name: str, *arguments: str) -> ChildProcess:
        return ChildProcess(
            name=name,
            command=[sys.executable, *arguments],
            log=self._var_dir / "log" / f"{name.replace(' ', '-')}.log",
            working_dir=settings.BASE_DIR,
        )


def _site_is_ready() -> bool:
    """Ask our own site; a queue that is still starting does not hold it up."""
    client = http.client.HTTPConnection(HOST, settings.PORT, timeout=5)
    try:
        client.request("GET", "/readyz")
        return client.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
