"""`manage.py choose_runner`: measure which runner is fastest on this machine."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.messages import error_text
from diagnoses.worker.runner_choice import choose_runners, is_chosen
from ml.errors import MlError


class Command(BaseCommand):
    """Keep the fastest runner and precision for workers that start afterwards."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Measure one image with each model in use, runner and precision on offer; "
            "workers that start afterwards use the fastest."
        )
        parser.add_argument(
            "--if-needed",
            action="store_true",
            help=gettext("only if a model in use was not measured on this machine"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure, and print the medians, the fastest first."""
        if options["if_needed"] and is_chosen():
            return
        try:
            choose_runners(self.stdout.write)
        except MlError as error:
            raise CommandError(error_text(error)) from error
