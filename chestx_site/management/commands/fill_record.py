"""Fill the record with made-up studies: `manage.py fill_record N`."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from chestx_site.benchmarks.records import NotMadeUpError, fill, some_words


class Command(BaseCommand):
    """Fill a record for development, to see and measure it at any size."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the number of studies."""
        parser.description = gettext(
            "Fill a record for development with made-up studies, without files."
        )
        parser.add_argument(
            "studies",
            type=int,
            metavar="N",
            help=gettext("Made-up studies that the record has at the end"),
        )
        parser.add_argument(
            "--words",
            type=Path,
            metavar="FILE",
            help=gettext("Write names, numbers and keys to search for, as JSON"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Fill the record, and say how many studies were added."""
        try:
            added = fill(options["studies"], self.stdout.write)
        except NotMadeUpError as error:
            raise CommandError(str(error)) from error
        if options["words"]:
            text = json.dumps(some_words())
            options["words"].write_text(text, encoding="utf-8")
        self.stdout.write(gettext("%(count)d studies added.") % {"count": added})
