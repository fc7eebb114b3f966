"""`manage.py tune_model`: search for better values of a recipe, without val."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.messages import error_text
from ml.errors import MlError
from ml.training.recipes import get_recipe
from ml.training.run import (
    PRECISIONS,
    fitting_precision,
    gather_rows,
    leave_cores_to_the_network,
)
from ml.training.tuning.search import BEST_NAME, Search, tune


class Command(BaseCommand):
    """Tune a recipe; an interrupted search resumes."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Search for learning rate, weight decay, augmentation strength, label "
            "smoothing and dropout by the likelihood of held-out train patients. "
            "Run again, it resumes."
        )
        training = settings.VAR_DIR / "training"
        parser.add_argument("name", metavar="NAME")
        add_dataset_options(parser)
        parser.add_argument(
            "--trials",
            type=int,
            default=20,
            help=gettext("total number of finished trials; default: 20"),
        )
        parser.add_argument(
            "--minutes",
            type=float,
            default=0.0,
            help=gettext("stop after this time; default: no limit"),
        )
        parser.add_argument(
            "--epochs",
            type=int,
            default=4,
            help=gettext("epochs of each trial; default: 4"),
        )
        parser.add_argument(
            "--images",
            type=int,
            default=0,
            help=gettext("train on about this number of images only"),
        )
        parser.add_argument("--run", type=Path, help=gettext("folder of the study"))
        parser.add_argument("--cache", type=Path, default=training / "cache")
        parser.add_argument("--precision", choices=PRECISIONS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Search, then print the command that trains with the result."""
        try:
            recipe = get_recipe(options["name"])
            study_dir = (
                options["run"]
                or settings.VAR_DIR / "training" / f"{recipe.name}-tuning"
            )
            leave_cores_to_the_network()
            best = tune(
                Search(
                    recipe,
                    data=gather_rows(recipe, rows_of(options), limit=options["images"]),
                    root=options["root"],
                    study_dir=study_dir,
                    cache_dir=options["cache"],
                    epochs=options["epochs"],
                    precision=options["precision"] or fitting_precision(),
                ),
                trials=options["trials"],
                minutes=options["minutes"],
                report=self._report,
            )
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self._report(best)
        text = gettext("train with: %(command)s")
        command = f"train_model {recipe.name} --params {study_dir / BEST_NAME}"
        self.stdout.write(text % {"command": command})

    def _report(self, entry: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(entry))
        self.stdout.flush()
