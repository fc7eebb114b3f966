"""`manage.py demo`: everything on this machine, for trying it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chestx_site.demo import Demo, DemoError
from chestx_site.supervision.supervisor import stop_requests


class Command(BaseCommand):
    """Serve ChestX with made-up patients; Ctrl-C or SIGTERM stops all of it."""

    help = __doc__
    # The database is not there yet.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the folder of real files."""
        parser.add_argument(
            "--from",
            dest="load_from",
            metavar="DIR",
            type=Path,
            help="load the files of this folder instead of drawing phantoms",
        )

    def handle(self, *args: Any, load_from: Path | None, **options: Any) -> None:
        """Run until a signal says stop."""
        if load_from and not load_from.is_dir():
            raise CommandError(f"{load_from} is no folder.")
        try:
            with stop_requests():
                Demo(say=self._say, load_from=load_from).run()
        except DemoError as error:
            raise CommandError(str(error)) from error

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()  # whoever reads a pipe waits for the sentence, too
