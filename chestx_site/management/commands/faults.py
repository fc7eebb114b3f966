"""Break things while images come in, and count what came out."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chestx_site.embedded.places import EmbeddedServiceError
from chestx_site.faults.trial import Options, Report, run_trial
from chestx_site.supervision.supervisor import StopRequested, stop_requests


class Command(BaseCommand):
    """Send images through three sources while workers and servers are killed."""

    help = __doc__
    # It brings a database of its own.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how hard the trial is."""
        usual = Options(seed=0)
        parser.add_argument("--seed", type=int, help="Of the moments; else at random.")
        parser.add_argument("--images", type=int, default=usual.images)
        parser.add_argument("--kills", type=int, default=usual.kills)
        parser.add_argument("--freezes", type=int, default=usual.freezes)
        parser.add_argument("--span-s", type=float, default=usual.span_s)
        parser.add_argument("--lease-s", type=float, default=usual.lease_s)
        parser.add_argument("--keep", action="store_true", help="Keep folder and logs.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one trial and print its table; exit status 1 where anything is wrong."""
        seed = options["seed"]
        trial = Options(
            seed=secrets.randbelow(10_000) if seed is None else seed,
            images=options["images"],
            kills=options["kills"],
            freezes=options["freezes"],
            span_s=options["span_s"],
            lease_s=options["lease_s"],
        )
        folder = Path(tempfile.mkdtemp(prefix="chestx-faults-"))
        folder.chmod(0o711)  # PostgreSQL's own user passes through
        try:
            with stop_requests():
                report = run_trial(folder / "var", options=trial, say=self._say)
        except EmbeddedServiceError as error:
            raise CommandError(str(error)) from error
        except StopRequested as request:
            raise CommandError(f"Stopped ({request}).") from request
        finally:
            if options["keep"]:
                self._say(f"Kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        for line in table(report):
            self._say(line)
        if report.faults:
            raise CommandError("Not as it should be: " + "; ".join(report.faults))
        self._say("Nothing lost, nothing twice, nothing stuck.")

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()


def table(report: Report) -> Iterable[str]:
    """Return the lines of a report for people."""
    counts, options = report.counts, report.options
    recoveries = report.recoveries_s
    rows: list[tuple[str, object]] = [("seed", options.seed)]
    rows += [
        (f"sent by {name}", f"{sent.images}, {sent.tried_again} tries repeated")
        for name, sent in report.sent.items()
    ]
    rows += [(str(fault), times) for fault, times in report.injected.counts.items()]
    rows += [
        ("images held by a killed or frozen process", len(report.injected.losses)),
        ("results thrown away, for they came late", report.late_results),
        ("instances", counts.instances),
        ("runs that succeeded", counts.succeeded),
        ("runs that failed or were rejected", counts.otherwise_finished),
        ("runs that are stuck", counts.unfinished),
        ("images without exactly one run", counts.images_without_one_run),
        ("findings and heat maps", f"{counts.findings} and {counts.heat_maps}"),
        ("runs without exactly their findings", counts.runs_without_all_findings),
        ("runs finished by who had lost them", counts.finished_by_another_attempt),
        ("claims", counts.attempts),
        ("lease", f"{options.lease_s:.0f} s"),
        ("longest recovery", f"{recoveries[-1]:.1f} s" if recoveries else "none"),
        ("until all was read", f"{report.took_s:.0f} s"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        yield f"  {name:<{width}}  {value}"
