"""`manage.py measure_model`: write a packaged model's figures into its card."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.command_lines import measuring_command
from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.messages import error_text
from ml.cards.card import WEIGHTS_DIR, Card, get_card, heads_of
from ml.errors import MlError
from ml.evaluation.fill_card import GATE_PARTS, PARTS, measure_model


class Command(BaseCommand):
    """Fit the gate of a packaged model and measure everything in its card."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Fit a model's gate, measure the model on val and write the figures "
            "into its card."
        )
        parser.add_argument(
            "name",
            metavar="NAME",
            help=gettext("a model; or a backbone, to measure all its heads"),
        )
        add_dataset_options(parser)
        parser.add_argument(
            "--model-version", help=gettext("default: the newest"), metavar="VERSION"
        )
        parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
        parser.add_argument(
            "--before",
            type=Path,
            metavar="DIR",
            help=gettext(
                "the model trained without measures against shortcuts, to compare its "
                "shortcuts"
            ),
        )
        parser.add_argument(
            "--cache", type=Path, default=settings.VAR_DIR / "training" / "cache"
        )
        parser.add_argument("--out", type=Path, default=WEIGHTS_DIR, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure; the card is written when everything is measured."""
        named, parts = (options["name"], options["model_version"]), options["parts"]
        out: Path = options["out"]
        try:
            heads = heads_of(*named, weights_dir=out)
            for card in heads or [get_card(*named, weights_dir=out)]:
                self._measure(card, parts, options)
                # Heads share their gate: the first one's measurements are on all cards.
                parts = [part for part in parts if part not in GATE_PARTS]
        except MlError as error:
            raise CommandError(error_text(error)) from error

    def _measure(
        self, card: Card, parts: Sequence[str], options: dict[str, Any]
    ) -> None:
        measure_model(
            card.card_file.parent,
            rows_of(options),
            root=options["root"],
            cache_dir=options["cache"],
            command_of=measuring_command,
            parts=parts,
            before=options["before"],
            say=lambda text: self.stdout.write(text),
        )
        self.stdout.write(gettext("written: %(path)s") % {"path": card.card_file})
