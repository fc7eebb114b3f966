"""`manage.py train_model`: train a model and write its folder with the card."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.command_lines import training_command
from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.recipe_options import add_recipe_options, asked_for
from diagnoses.messages import error_text
from ml.cards.card import WEIGHTS_DIR
from ml.errors import MlError
from ml.training.packaging import package
from ml.training.recipes import Recipe
from ml.training.run import (
    PRECISIONS,
    Budget,
    TrainingData,
    TrainingRun,
    fitting_precision,
    gather_rows,
    leave_cores_to_the_network,
)


class Command(BaseCommand):
    """Train a model; an interrupted run resumes."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Train a model by its recipe. Run again, it resumes."
        )
        training = settings.VAR_DIR / "training"
        parser.add_argument("name", metavar="NAME")
        add_dataset_options(parser)
        length = parser.add_mutually_exclusive_group()
        length.add_argument("--epochs", type=int, help=gettext("default: 40"))
        length.add_argument(
            "--minutes", type=float, help=gettext("train for this time instead")
        )
        parser.add_argument("--run", type=Path, help=gettext("folder of checkpoints"))
        parser.add_argument("--cache", type=Path, default=training / "cache")
        parser.add_argument("--out", type=Path, default=WEIGHTS_DIR, metavar="DIR")
        parser.add_argument(
            "--precision",
            choices=PRECISIONS,
            help=gettext("default: the fastest for this CPU"),
        )
        parser.add_argument(
            "--package-only",
            action="store_true",
            help=gettext(
                "write the newest checkpoint of a run as a model, without training"
            ),
        )
        add_recipe_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Train, then write weights, card and curves."""
        try:
            recipe = asked_for(options["name"], options)
            run_dir = options["run"] or settings.VAR_DIR / "training" / recipe.name
            data = gather_rows(recipe, rows_of(options))
            self._print_data(data)
            budget = Budget(options["minutes"] or 0.0, options["epochs"] or 40)
            if not options["package_only"]:
                self._train(recipe, data, run_dir, budget, options)
            folder = package(
                recipe,
                data=data,
                root=options["root"],
                run_dir=run_dir,
                cache_dir=options["cache"],
                weights_dir=options["out"],
                command=training_command(options),
            )
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write(gettext("written: %(path)s") % {"path": folder})

    def _print_data(self, data: TrainingData) -> None:
        text = gettext(
            "%(train)d train images, %(held_out)d held out for calibration, %(val)d "
            "val images; left out: %(unknown)d without a label of the model, "
            "%(ambiguous)d ambiguous"
        )
        counts = {
            "train": len(data.train.rows),
            "held_out": len(data.held_out.rows),
            "val": len(data.val.rows),
            "unknown": len(data.unknown),
            "ambiguous": len(data.ambiguous),
        }
        self.stdout.write(text % counts)
        for path in data.ambiguous:
            self.stdout.write(gettext("ambiguous: %(path)s") % {"path": path})

    def _train(
        self,
        recipe: Recipe,
        data: TrainingData,
        run_dir: Path,
        budget: Budget,
        options: dict[str, Any],
    ) -> None:
        leave_cores_to_the_network()
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(gettext("batches of the epoch"))
            TrainingRun(
                recipe,
                data=data,
                root=options["root"],
                run_dir=run_dir,
                cache_dir=options["cache"],
                budget=budget,
                precision=options["precision"] or fitting_precision(),
                report=self._report,
                on_batch=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            ).train()

    def _report(self, entry: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(entry))
        self.stdout.flush()
