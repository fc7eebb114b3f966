"""What the commands that measure a model on a manifest have in common."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.scoring import card_named
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.inference import LoadedModel, load_model

Report = dict[str, Any]
Done = Callable[[int, int], None]


class MeasuringCommand(BaseCommand):
    """Load a model and a manifest, measure, and print figures or JSON."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.add_argument("name", metavar="NAME[/VERSION]")
        add_dataset_options(parser)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure and print."""
        try:
            report = self._report(options)
        except MlError as error:
            raise CommandError(error.message) from error
        self.stdout.write(json.dumps(report) if options["json"] else self.said(report))

    def measured(
        self, model: LoadedModel, rows: list[ManifestRow], root: Path, done: Done
    ) -> Report:
        """Return the figures of a model on the images of a manifest."""
        raise NotImplementedError

    def said(self, report: Report) -> str:
        """Return the figures for people."""
        raise NotImplementedError

    def _report(self, options: dict[str, Any]) -> Report:
        card = card_named(options["name"])
        rows = rows_of(options)
        model = load_model(
            card,
            cache_dir=settings.INFERENCE_CACHE_DIR,
            threads=settings.INFERENCE_NUM_THREADS,
        )
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("images", total=None)
            report = self.measured(
                model,
                rows,
                options["root"],
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        return {"model": card.name, "version": card.version, **report}


def told(figure: dict[str, float | None]) -> str:
    """Return a figure with its interval for people."""
    return f"{figure['value']} ({figure['low']} to {figure['high']})"
