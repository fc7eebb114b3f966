"""Run only PostgreSQL and Redis, for development: `manage.py services`."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from chestx_site.embedded import EmbeddedServiceError
from chestx_site.embedded.services import EmbeddedServices
from chestx_site.supervision.supervisor import StopRequested, Supervisor, stop_requests


class Command(BaseCommand):
    """Run PostgreSQL and Redis in the foreground until Ctrl-C or SIGTERM."""

    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the command."""
        parser.description = gettext("Run PostgreSQL and Redis for development.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Start both servers and restart either one if it dies."""
        if settings.PRODUCTION:
            raise CommandError(
                gettext("Production uses its own servers: DATABASE_URL and REDIS_URL.")
            )
        try:
            with (
                stop_requests(),
                EmbeddedServices(settings.VAR_DIR, say=self._say) as services,
            ):
                supervisor = Supervisor(say=self._say)
                supervisor.adopt(services.servers)
                self._say(
                    gettext("PostgreSQL and Redis are running. Data: %(folder)s")
                    % {"folder": settings.VAR_DIR}
                )
                supervisor.run()
        except StopRequested as request:
            self._say(gettext("Stopped (%(signal)s)") % {"signal": request})
        except EmbeddedServiceError as error:
            raise CommandError(str(error)) from error

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()
