"""`manage.py compare_models`: two models on the same images, with a paired test."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.scoring import (
    add_choice_options,
    card_named,
    chosen_rows,
    read_images,
)
from diagnoses.messages import error_text
from ml.errors import MlError
from ml.evaluation.comparison import compare_scored, comparison_lines


class Command(BaseCommand):
    """Print the differences of two models, with a test of significance."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Compare two models on the same images: differences with intervals over "
            "patients, and McNemar's test."
        )
        parser.add_argument("first", metavar="NAME[/VERSION]")
        parser.add_argument("second", metavar="NAME[/VERSION]")
        add_dataset_options(parser)
        add_choice_options(parser)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the images with both and print the differences."""
        try:
            rows = chosen_rows(
                rows_of(options), split=options["split"], datasets=options["dataset"]
            )
            scored = [
                read_images(card_named(options[which]), rows, root=options["root"])[0]
                for which in ("first", "second")
            ]
            report = compare_scored(*scored)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        text = (
            json.dumps(report)
            if options["json"]
            else "\n".join(comparison_lines(report, translate=gettext))
        )
        self.stdout.write(text)
