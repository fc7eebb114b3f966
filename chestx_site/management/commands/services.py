"""`manage.py services`: only PostgreSQL and Redis, for those who develop."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from chestx_site.embedded import EmbeddedServiceError
from chestx_site.embedded.services import EmbeddedServices
from chestx_site.supervision.supervisor import StopRequested, Supervisor, stop_requests


class Command(BaseCommand):
    """Run PostgreSQL and Redis in the foreground until Ctrl-C or SIGTERM."""

    help = __doc__
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Start both, and bring back the one that dies."""
        if settings.PRODUCTION:
            raise CommandError(
                "Production brings its own servers: DATABASE_URL and REDIS_URL."
            )
        try:
            with (
                stop_requests(),
                EmbeddedServices(settings.VAR_DIR, say=self._say) as services,
            ):
                supervisor = Supervisor(say=self._say)
                supervisor.adopt(services.servers)
                self._say(f"PostgreSQL and Redis run on {settings.VAR_DIR}")
                supervisor.run()
        except StopRequested as request:
            self._say(f"Stopped ({request})")
        except EmbeddedServiceError as error:
            raise CommandError(str(error)) from error

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()
