"""`manage.py fit_gate`: fit the gate of an installed model on train images."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.messages import error_text
from ml.cards.card import get_card, heads_of
from ml.datasets.manifest import refuse_shared_patients, with_split
from ml.errors import MlError
from ml.evaluation.gate.trial import reads
from ml.training.gate.fit import fit_gate, held_out_rows


class Command(BaseCommand):
    """Write gate.npz beside a model's weights, and its entry in the card."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Fit a model's gate on train images; val images are not used."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--model-version", metavar="VERSION", dest="version_name")
        add_dataset_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Fit, and print the card's new entry."""
        try:
            named = options["name"], options["version_name"]
            # The heads of a backbone share its gate: the first of them stands for all.
            card = next(iter(heads_of(*named)), None) or get_card(*named)
            rows = rows_of(options)
            refuse_shared_patients(rows)
            own = [row for row in with_split(rows, "train") if reads(card, row)]
            stay, aside = held_out_rows(own, name=card.name)
            entry = fit_gate(
                card.card_file.parent,
                stay,
                aside,
                options["root"],
                settings.INFERENCE_CACHE_DIR,
            )
        except MlError as error:
            raise CommandError(error_text(error)) from error
        except OSError as error:
            message = gettext("A file cannot be read: %(error)s.")
            raise CommandError(message % {"error": error}) from error
        self.stdout.write(json.dumps(entry, indent=2))
