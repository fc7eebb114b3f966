"""`manage.py add_trial_results`: results on patients left out, onto a card."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.scoring import card_named
from diagnoses.messages import error_text
from ml.cards.trials import add_trial_results
from ml.errors import MlError


class Command(BaseCommand):
    """Add reports of trials on patients left out to a model's card."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Add results on a source or on folds that a training left out to a card. A "
            "result replaces the one of the same task, source, metric and training."
        )
        parser.add_argument("name", metavar="NAME[/VERSION]")
        parser.add_argument(
            "reports",
            nargs="+",
            type=Path,
            metavar="FILE",
            help=gettext("reports of trials, as JSON"),
        )
        parser.add_argument(
            "--task",
            default="",
            metavar="TEXT",
            help=gettext("only results of tasks that begin so, as with a head's name"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the reports and write the card."""
        try:
            card = card_named(options["name"])
            path = card.card_file
            reports = [
                result
                for file in options["reports"]
                for result in _results(file)
                if str(result.get("task", "")).startswith(options["task"])
            ]
            if not reports:
                raise CommandError(gettext("No report has a result of this task."))
            add_trial_results(path, reports)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write(gettext("written: %(path)s") % {"path": path})


def _results(file: Path) -> list[Mapping[str, Any]]:
    """Return the results of a report."""
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            gettext("%(path)s cannot be read: %(error)s")
            % {"path": file, "error": error}
        ) from error
