"""Measure the speed of ChestX: `manage.py bench [NAME …] [--json]`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from chestx_site.benchmarks import inference, pages, start, throughput, upload
from chestx_site.benchmarks.figures import (
    Figures,
    keep,
    table,
    this_machine,
)
from chestx_site.supervision.supervisor import StopRequested, stop_requests
from chestx_site.testbed.site import SiteError

BENCHMARKS: dict[str, Callable[..., Figures]] = {
    "inference": inference.measure,
    "start": start.measure,
    "upload": upload.measure,
    "throughput": throughput.measure,
    "pages": pages.measure,
}
RESULTS = settings.BASE_DIR / "benchmarks" / "results.json"


class Command(BaseCommand):
    """Measure, print a table, and write benchmarks/results.json."""

    # Each benchmark starts its own database.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the names of benchmarks and --json."""
        parser.description = gettext(
            "Measure the speed of ChestX and write benchmarks/results.json."
        )
        names = ", ".join(BENCHMARKS)
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME",
            help=gettext("Benchmarks to run; default: all of %(names)s")
            % {"names": names},
        )
        parser.add_argument(
            "--studies",
            type=int,
            default=pages.STUDIES,
            metavar="N",
            help=gettext("Studies of the benchmark of pages; default: %(studies)d")
            % {"studies": pages.STUDIES},
        )
        parser.add_argument(
            "--json", action="store_true", help=gettext("Print JSON instead of a table")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the benchmarks one after the other; exit with status 1 if one fails.

        With --json, the figures of a single benchmark are at the top level, those of
        several below their names. A missed goal only shows in the table.
        """
        chosen = options["names"] or list(BENCHMARKS)
        unknown = sorted(set(chosen) - set(BENCHMARKS))
        if unknown:
            message = gettext("Unknown benchmarks: %(unknown)s. Known: %(known)s.")
            raise CommandError(
                message
                % {"unknown": ", ".join(unknown), "known": ", ".join(BENCHMARKS)}
            )
        machine = this_machine(settings.BASE_DIR)
        figures = {}
        self._sizes = {"pages": {"studies": options["studies"]}}
        for name in chosen:
            figures[name] = self._measure(name)
            keep(RESULTS, {name: figures[name]}, machine)
        if options["json"]:
            answer = figures[chosen[0]] if len(chosen) == 1 else dict(figures)
            self.stdout.write(json.dumps(answer | {"machine": asdict(machine)}))
            return
        for line in table(figures, machine):
            self.stdout.write(line)

    def _measure(self, name: str) -> Figures:
        """Run one benchmark and stop its processes, also after a signal."""
        try:
            with stop_requests():
                return BENCHMARKS[name](self._say, **self._sizes.get(name, {}))
        except SiteError as error:
            raise CommandError(f"{name}: {error}") from error
        except StopRequested as request:
            message = gettext("Stopped (%(signal)s)")
            raise CommandError(message % {"signal": request}) from request

    def _say(self, sentence: str) -> None:
        self.stderr.write(sentence)
        self.stderr.flush()
