"""`manage.py cross_validate`: shortened trainings, measured on other people."""

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

from diagnoses.management.command_lines import cross_validation_command
from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.messages import error_text
from ml.errors import MlError
from ml.evaluation.trials.branch import METHODS, PLAIN
from ml.evaluation.trials.measure import Trial, run_trial
from ml.evaluation.trials.trunk import Shortened
from ml.evaluation.wording import metric_names
from ml.training.recipes import get_recipe
from ml.training.run import leave_cores_to_the_network


class Command(BaseCommand):
    """Train without some patients or sources, and measure on them."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Train shortened on a frozen trunk, without some patients or sources, and "
            "measure on them. No model is written."
        )
        parser.add_argument("name", metavar="RECIPE")
        add_dataset_options(parser)
        parser.add_argument(
            "--head",
            nargs="+",
            default=[],
            help=gettext("heads that learn; default: all"),
        )
        parser.add_argument(
            "--datasets",
            nargs="+",
            default=[],
            metavar="SOURCE",
            help=gettext("sources to learn from; default: those of the recipe"),
        )
        way = parser.add_mutually_exclusive_group(required=True)
        way.add_argument(
            "--folds", type=int, default=0, help=gettext("parts of the patients")
        )
        way.add_argument(
            "--leave-out",
            nargs="+",
            default=[],
            metavar="SOURCE",
            help=gettext("sources to measure on, without learning from them"),
        )
        parser.add_argument(
            "--against-source",
            nargs="+",
            choices=METHODS,
            default=[PLAIN],
            metavar="METHOD",
            help=gettext("ways of training to compare: %(methods)s")
            % {"methods": ", ".join(METHODS)},
        )
        self._add_length(parser)
        parser.add_argument(
            "--report", type=Path, metavar="FILE", help=gettext("write JSON there")
        )
        parser.add_argument("--json", action="store_true")

    def _add_length(self, parser: ArgumentParser) -> None:
        default = Shortened()
        parser.add_argument("--epochs", type=int, default=default.epochs)
        parser.add_argument("--size", type=int, default=default.size)
        parser.add_argument(
            "--variations",
            type=int,
            default=default.variations,
            help=gettext("kept variations of each image"),
        )
        parser.add_argument("--seed", type=int, default=default.seed)
        parser.add_argument(
            "--cache", type=Path, default=settings.VAR_DIR / "training" / "cache"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Train, measure and print."""
        try:
            report = self._measured(options)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        if options["report"]:
            options["report"].write_text(json.dumps(report, indent=2) + "\n")
        text = json.dumps(report) if options["json"] else _table(report)
        self.stdout.write(text)

    def _measured(self, options: dict[str, Any]) -> dict[str, Any]:
        trial = Trial(
            recipe=get_recipe(options["name"]),
            heads=tuple(options["head"]),
            datasets=tuple(options["datasets"]),
            folds=options["folds"],
            left_out=tuple(options["leave_out"]),
            methods=tuple(options["against_source"]),
            shortened=Shortened(
                size=options["size"],
                variations=options["variations"],
                epochs=options["epochs"],
                seed=options["seed"],
            ),
        )
        rows = rows_of(options)
        leave_cores_to_the_network()
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            report = run_trial(
                trial,
                rows,
                root=options["root"],
                cache_dir=options["cache"],
                progress=lambda what, done, total: bar.update(
                    task, description=what, completed=done, total=total
                ),
            )
        command = cross_validation_command(options)
        results = [{**entry, "command": command} for entry in report["results"]]
        return {**report, "command": command, "results": results}


def _table(report: dict[str, Any]) -> str:
    """Return a line for each task and method."""
    names = metric_names(gettext)
    text = gettext(
        "%(source)s, %(task)s, %(method)s: %(metric)s %(value)s (%(interval)s), "
        "baseline %(baseline)s (%(baseline_interval)s), lead %(lead)s "
        "(%(lead_interval)s); %(images)d images, %(patients)d patients"
    )
    lines = []
    for entry in sorted(
        report["results"], key=lambda entry: (entry["source"], entry["task"])
    ):
        intervals = {
            key: " – ".join(str(end) for end in entry[key])
            for key in ("interval", "baseline_interval", "lead_interval")
        }
        values = {**entry, **intervals, "metric": names[entry["metric"]]}
        lines.append(text % values)
    if report["results"]:
        lines.append(report["results"][0]["shortened_how"])
    return "\n".join(lines)
