"""`manage.py retire_card`: a version leaves the code, its card stays."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.scoring import card_named
from diagnoses.messages import error_text
from ml.cards.card import WEIGHTS_DIR
from ml.cards.contents import Successor
from ml.cards.retirement import retire_card
from ml.errors import MlError


class Command(BaseCommand):
    """Move a card to the retired ones and delete the files beside it."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Retire a version in the code: its card stays, its weights leave the tree. "
            "sync_models then retires it wherever it is installed."
        )
        parser.add_argument("model", metavar="NAME/VERSION")
        parser.add_argument(
            "--in-favour-of",
            nargs="+",
            required=True,
            metavar="NAME/VERSION",
            help=gettext("what takes its place, the first one first"),
        )
        parser.add_argument(
            "--on",
            default=datetime.now(UTC).date().isoformat(),
            metavar="YYYY-MM-DD",
            help=gettext("the day; by default today"),
        )
        parser.add_argument("--models", type=Path, default=WEIGHTS_DIR, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Retire the version, or say why not."""
        models: Path = options["models"]
        try:
            card = card_named(options["model"], weights_dir=models)
            successors = [
                card_named(text, weights_dir=models) for text in options["in_favour_of"]
            ]
            if card in successors:
                raise CommandError(gettext("A version cannot take its own place."))
            written = retire_card(
                card,
                on=options["on"],
                in_favour_of=[Successor(one.name, one.version) for one in successors],
                weights_dir=models,
            )
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write(gettext("written: %(path)s") % {"path": written})
