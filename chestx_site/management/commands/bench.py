"""Measure how fast it is: `manage.py bench [NAME …] [--json]`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from chestx_site.benchmarks import inference, pages, throughput, upload
from chestx_site.benchmarks.figures import (
    BenchmarkError,
    Figures,
    keep,
    table,
    this_machine,
)
from chestx_site.supervision.supervisor import StopRequested, stop_requests

BENCHMARKS = {
    "inference": inference.measure,
    "upload": upload.measure,
    "throughput": throughput.measure,
    "pages": pages.measure,
}
RESULTS = settings.BASE_DIR / "benchmarks" / "results.json"


class Command(BaseCommand):
    """Measure, print a table, and keep the figures in benchmarks/results.json."""

    help = __doc__
    # Each benchmark brings a database of its own.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which benchmarks to run."""
        names = ", ".join(BENCHMARKS)
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"{names}: all.")
        parser.add_argument("--json", action="store_true", help="JSON, not a table.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the benchmarks one after the other; exit status 1 where one fails.

        With --json, the figures of one benchmark stand at the top; of several, below
        their names. A goal that is missed is no failure: it is said in the table.
        """
        chosen = options["names"] or list(BENCHMARKS)
        unknown = sorted(set(chosen) - set(BENCHMARKS))
        if unknown:
            raise CommandError(
                f"There is no benchmark {', '.join(unknown)}. "
                f"There are: {', '.join(BENCHMARKS)}."
            )
        machine = this_machine(settings.BASE_DIR)
        figures = {}
        for name in chosen:
            figures[name] = self._measure(name)
            keep(RESULTS, {name: figures[name]}, machine)
        if options["json"]:
            said = figures[chosen[0]] if len(chosen) == 1 else dict(figures)
            self.stdout.write(json.dumps(said | {"machine": asdict(machine)}))
            return
        for line in table(figures, machine):
            self.stdout.write(line)

    def _measure(self, name: str) -> Figures:
        """Run one benchmark; what it has started ends with it, also when stopped."""
        try:
            with stop_requests():
                return BENCHMARKS[name](self._say)
        except BenchmarkError as error:
            raise CommandError(f"{name}: {error}") from error
        except StopRequested as request:
            raise CommandError(f"Stopped ({request}).") from request

    def _say(self, sentence: str) -> None:
        self.stderr.write(sentence)
        self.stderr.flush()
