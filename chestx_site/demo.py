"""The demo: all of ChestX on one machine, with made-up patients.

For trials and development. Production runs the same programs under the system's own
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
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

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
from diagnoses.governance.retirement import retire_former_versions
from diagnoses.governance.transitions import activate_for_demo
from diagnoses.worker import sweeper
from ml.errors import MlError

HOST = "127.0.0.1"
LONGEST_START_S = 120.0
GUNICORN = ("-c", "python:chestx_site.web.gunicorn_config", "chestx_site.wsgi")
DEMO_PATIENTS = _("demo patients")
LOADED = _("Loaded: %(what)s")
READY = _("ChestX is ready after %(seconds).1f s: %(url)s")
CELERY = ("-A", "chestx_site", "worker", "-Q", "inference", "--loglevel", "INFO")


class DemoError(Exception):
    """The demo cannot start or continue; the message says what to do."""


def refuse_unfit_settings() -> None:
    """Refuse settings under which real patients may be in the record.

    Raises:
        DemoError: The settings are not those of a demo.
    """
    if settings.PRODUCTION:
        raise DemoError(
            gettext(
                "The demo does not run with CHESTX_ENV=production, because its users "
                "share one password. For production, see docs/deployment.md."
            )
        )
    own_servers = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")
    if any(os.environ.get(name) for name in own_servers):
        raise DemoError(
            gettext(
                "The demo starts its own PostgreSQL and Redis. Unset DATABASE_URL, "
                "DATABASE_OWNER_URL and REDIS_URL, or follow docs/deployment.md to use "
                "your own servers."
            )
        )


class Demo:
    """One run of the demo."""

    def __init__(
        self, *, say: Callable[[str], None], load_from: Path | None = None
    ) -> None:
        """Describe the processes; nothing starts yet.

        Args:
            say: Prints a sentence.
            load_from: A folder of files to load instead of the phantoms.
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
        self._worker_ready = self._var_dir / "worker-ready"
        self._worker.environment = {
            # Tests and deployments run Django's checks; they take a second.
            "CELERY_SKIP_CHECKS": "1",
            "INFERENCE_READY_FILE": str(self._worker_ready),
        }
        self._sweeper = self._program("sweeper", "manage.py", "sweeper")
        self._loader = self._describe_loader(load_from)
        # Whoever sends an image meanwhile comes first.
        self._loader.niceness = 10
        self._loader_reported = False
        # Workers use what it finds from their next start on.
        self._chooser = self._program(
            "runner choice", "manage.py", "choose_runner", "--if-needed"
        )
        self._chooser.niceness = 10
        self._watchdog = QueueWatchdog(sweeper.stalled)

    def run(self) -> None:
        """Run all processes until a signal asks to stop.

        Raises:
            DemoError: It cannot start.
        """
        refuse_unfit_settings()
        os.umask(0o077)
        try:
            self._start()
            self._supervisor.run(every_look=self._look_further)
        except StopRequested as request:
            self._say(gettext("Stopping (%(signal)s)") % {"signal": request})
        except EmbeddedServiceError as error:
            raise DemoError(str(error)) from error
        finally:
            self._stop()
        self._say(gettext("Stopped"))

    def _start(self) -> None:
        self._services.take_lock()
        if not wait_for_free_port(HOST, settings.PORT):
            message = gettext(
                "Another program uses port %(port)d. Stop it, or choose another port: "
                "PORT=8001 make demo"
            )
            raise DemoError(message % {"port": settings.PORT})
        self._say(gettext("Starting PostgreSQL and Redis"))
        self._services.start()
        self._supervisor.adopt(self._services.servers)
        password = self._prepare_environment()
        self._prepare_record(password)
        self._say(gettext("Starting the web server and the sweeper"))
        for child in (self._web, self._sweeper):
            self._supervisor.start(child)
        self._wait_until_ready()
        self._welcome(password)
        self._say(
            gettext("Loading %(what)s (the site is usable meanwhile)")
            % {"what": self._loader_label}
        )
        self._loader.start()
        self._watchdog.start()

    def _stop(self) -> None:
        self._loader.kill()
        self._chooser.kill()
        # They end at the same time, while both servers still run.
        for child in (self._sweeper, self._worker, self._web):
            child.request_stop()
        self._supervisor.stop()
        self._services.stop()

    def _prepare_environment(self) -> str:
        """Create folders and secrets, and return the password of the users."""
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
        self._say(gettext("Updating the database tables"))
        call_command("migrate", interactive=False, verbosity=0)
        self._say(gettext("Registering the models"))
        self._register_models()
        # Before the others: it takes longest, as it loads the default model.
        self._say(gettext("Starting one inference worker"))
        self._worker_ready.unlink(missing_ok=True)
        self._supervisor.start(self._worker)
        self._say(gettext("Creating the users"))
        create_demo_users(password)
        connections.close_all()

    def _register_models(self) -> None:
        try:
            for model_version in sync_models():
                self._say(gettext("  New model: %(model)s") % {"model": model_version})
            for sentence in retire_former_versions():
                self._say(f"  {sentence}")
            activate_for_demo()
        except ChestXError as error:
            raise DemoError(error.message) from error
        except MlError as error:
            raise DemoError(gettext(error.text) % error.params) from error

    def _wait_until_ready(self) -> None:
        if not self._comes_in_time(_site_is_ready):
            message = gettext(
                "The web server did not start. The end of %(log)s:\n%(lines)s"
            )
            raise DemoError(
                message % {"log": self._web.log, "lines": self._web.log_tail(lines=20)}
            )
        # Without the worker the site is of use, too: it stores images.
        if not self._comes_in_time(self._worker_ready.exists):
            message = gettext("The worker is still loading its model. See %(log)s")
            self._say(message % {"log": self._worker.log})

    def _comes_in_time(self, part: Callable[[], bool]) -> bool:
        """Wait for a part and for all processes; return whether they are ready."""

        def ready() -> bool:
            self._supervisor.look_after()
            return self._supervisor.all_alive() and part()

        return wait_until(ready, timeout_s=LONGEST_START_S, interval_s=0.1)

    def _welcome(self, password: str) -> None:
        url = f"http://{HOST}:{settings.PORT}/"
        seconds = time.monotonic() - self._began
        self._say("\n" + READY % {"seconds": seconds, "url": url})
        message = gettext(
            "Decision support, not for diagnosis. For made-up patients only.\n\n"
            "  users     %(users)s\n"
            "  password  %(password)s (for all users; stored in %(file)s)\n\n"
            "Ctrl-C stops everything.\n"
        )
        self._say(
            message
            % {
                "users": ", ".join(Role.values),
                "password": password,
                "file": self._password_file,
            }
        )

    def _look_further(self) -> None:
        """Check the loader and the queue, which the supervisor does not watch."""
        status = self._loader.exit_status
        if status is not None and not self._loader_reported:
            self._loader_reported = True
            self._say(
                self._loading_result(status)
                % {"what": self._loader_label, "log": self._loader.log}
            )
            self._chooser.start()
        if self._watchdog.take_alarm():
            self._supervisor.restart(
                self._worker,
                reason=gettext("it takes no images although some are waiting"),
            )

    def _loading_result(self, status: int) -> str:
        if status == 0:
            return str(LOADED)
        if self._loader.log:
            return gettext("Not everything was loaded: %(what)s. See %(log)s")
        return gettext("Not everything was loaded: %(what)s. See above.")

    @property
    def _password_file(self) -> Path:
        return self._var_dir / "demo-password"

    def _describe_loader(self, load_from: Path | None) -> ChildProcess:
        if load_from is None:
            self._loader_label = str(DEMO_PATIENTS)
            return self._program("demo patients", "manage.py", "demo_patients")
        self._loader_label = str(load_from)
        folder = str(load_from.resolve())
        loader = self._program("files", "manage.py", "import_studies", folder)
        loader.log = None  # show its progress bar
        return loader

    def _program(self, name: str, *arguments: str) -> ChildProcess:
        return ChildProcess(
            name=name,
            command=[sys.executable, *arguments],
            log=self._var_dir / "log" / f"{name.replace(' ', '-')}.log",
            working_dir=settings.BASE_DIR,
        )


def _site_is_ready() -> bool:
    """Return whether the site answers; the queue may still be starting."""
    client = http.client.HTTPConnection(HOST, settings.PORT, timeout=5)
    try:
        client.request("GET", "/readyz")
        return client.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
