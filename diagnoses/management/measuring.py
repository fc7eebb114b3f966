"""Base of the commands that measure a model on a data set."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.functional import Promise
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.command_lines import evaluation_command
from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.scoring import card_named, load_network
from diagnoses.messages import error_text
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.inference import LoadedModel

Report = dict[str, Any]
Done = Callable[[int, int], None]


class MeasuringCommand(BaseCommand):
    """Load a model and a data set, measure, and print figures or JSON."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it
    name = ""
    description: str | Promise = ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = str(self.description)
        parser.add_argument("name", metavar="NAME[/VERSION]")
        add_dataset_options(parser)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure and print."""
        try:
            report = self._report(options)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        text = json.dumps(report) if options["json"] else self.summary(report)
        self.stdout.write(text)

    def measured(
        self,
        model: LoadedModel,
        rows: list[ManifestRow],
        options: dict[str, Any],
        done: Done,
    ) -> Report:
        """Return the figures of a model on the images of a data set."""
        raise NotImplementedError

    def summary(self, report: Report) -> str:
        """Return the figures for people."""
        raise NotImplementedError

    def _report(self, options: dict[str, Any]) -> Report:
        card = card_named(options["name"])
        rows = rows_of(options)
        model = load_network(card)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(gettext("images"), total=None)
            report = self.measured(
                model,
                rows,
                options,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        return {
            "model": card.name,
            "version": card.version,
            "command": evaluation_command(self.name, options),
            **report,
        }


def with_interval(figure: dict[str, float | None]) -> str:
    """Return a figure with its interval for people."""
    return gettext("%(value)s (%(low)s to %(high)s)") % figure
