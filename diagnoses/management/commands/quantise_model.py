"""`manage.py quantise_model`: make a model's INT8 graph and measure its precisions."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.command_lines import DATA_ARGUMENTS, command_arguments
from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.messages import error_text
from ml.cards.card import WEIGHTS_DIR, get_card
from ml.cards.json_reader import as_json
from ml.datasets.manifest import refuse_shared_patients, with_split
from ml.errors import MlError
from ml.evaluation.gate.trial import reads
from ml.training.gate.fit import held_out_rows
from ml.training.precisions.measure import measure_precisions, models_on


class Command(BaseCommand):
    """Write graph-int8.zip beside a model's weights, and "precisions" in the card."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Quantise a model's graph and compare bfloat16 and INT8 with float32 on "
            "train images held out from learning; for all models on its weights."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--model-version", metavar="VERSION", dest="version_name")
        add_dataset_options(parser)
        parser.add_argument("--out", type=Path, default=WEIGHTS_DIR, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure, and print the new entry of each card."""
        weights_dir = options["out"]
        try:
            card = get_card(
                options["name"], options["version_name"], weights_dir=weights_dir
            )
            rows = rows_of(options)
            refuse_shared_patients(rows)
            own = [row for row in with_split(rows, "train") if reads(card, row)]
            folders = models_on(card.weights_sha256, weights_dir)
            _, held_out = held_out_rows(own, name=card.name)
            entries = measure_precisions(
                folders,
                held_out,
                root=options["root"],
                cache_dir=settings.INFERENCE_CACHE_DIR,
                command=command_arguments("quantise_model", card.name, *DATA_ARGUMENTS),
            )
        except MlError as error:
            raise CommandError(error_text(error)) from error
        except OSError as error:
            message = gettext("A file cannot be read: %(error)s.")
            raise CommandError(message % {"error": error}) from error
        for folder, entry in zip(folders, entries, strict=True):
            self.stdout.write(folder.parent.name)
            self.stdout.write(json.dumps(as_json(entry), indent=2))
