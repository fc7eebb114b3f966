"""Run the demo: `manage.py demo`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from chestx_site.demo import Demo, DemoError
from chestx_site.supervision.supervisor import stop_requests


class Command(BaseCommand):
    """Serve ChestX with made-up patients until Ctrl-C or SIGTERM."""

    # The database does not run yet.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --from."""
        parser.description = gettext(
            "Serve ChestX on this machine with made-up patients."
        )
        parser.add_argument(
            "--from",
            dest="load_from",
            metavar="DIR",
            type=Path,
            help=gettext("Load the files of this folder instead of drawing phantoms"),
        )

    def handle(self, *args: Any, load_from: Path | None, **options: Any) -> None:
        """Run until a signal stops it."""
        if load_from and not load_from.is_dir():
            message = gettext("This is not a folder: %(path)s")
            raise CommandError(message % {"path": load_from})
        try:
            with stop_requests():
                Demo(say=self._say, load_from=load_from).run()
        except DemoError as error:
            raise CommandError(str(error)) from error

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()  # readers of a pipe need it at once
