"""Kill processes while images arrive, and count the results: `manage.py faults`."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from chestx_site.embedded.places import EmbeddedServiceError
from chestx_site.faults.trial import Options, Report, run_trial
from chestx_site.supervision.supervisor import StopRequested, stop_requests
from chestx_site.testbed.site import SiteError, temporary_folder


class Command(BaseCommand):
    """Send images through three sources while workers and servers are killed."""

    # It starts its own database.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options of the trial."""
        parser.description = gettext(
            "Send images through three sources while workers and servers are killed."
        )
        usual = Options(seed=0)
        parser.add_argument(
            "--seed", type=int, help=gettext("Seed of the plan; default: random")
        )
        parser.add_argument("--images", type=int, default=usual.images)
        parser.add_argument("--kills", type=int, default=usual.kills)
        parser.add_argument("--freezes", type=int, default=usual.freezes)
        parser.add_argument("--span-s", type=float, default=usual.span_s)
        parser.add_argument("--lease-s", type=float, default=usual.lease_s)
        parser.add_argument(
            "--keep", action="store_true", help=gettext("Keep folder and logs")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one trial and print its table; exit with status 1 after any loss."""
        seed = options["seed"]
        trial = Options(
            seed=secrets.randbelow(10_000) if seed is None else seed,
            images=options["images"],
            kills=options["kills"],
            freezes=options["freezes"],
            span_s=options["span_s"],
            lease_s=options["lease_s"],
        )
        try:
            with (
                stop_requests(),
                temporary_folder("chestx-faults-", keep=options["keep"]) as folder,
            ):
                if options["keep"]:
                    self._say(gettext("Folder: %(folder)s") % {"folder": folder})
                report = run_trial(folder / "var", options=trial, say=self._say)
        except (EmbeddedServiceError, SiteError) as error:
            raise CommandError(str(error)) from error
        except StopRequested as request:
            message = gettext("Stopped (%(signal)s)")
            raise CommandError(message % {"signal": request}) from request
        for line in table(report):
            self._say(line)
        if report.faults:
            message = gettext("Errors: %(errors)s")
            raise CommandError(message % {"errors": "; ".join(report.faults)})
        self._say(gettext("No image was lost, stuck or read twice."))

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()


def table(report: Report) -> Iterable[str]:
    """Return the lines of the report."""
    counts, options = report.counts, report.options
    recovery = f"{report.recoveries_s[-1]:.1f} s" if report.recoveries_s else "–"
    rows: list[tuple[str, object]] = [(gettext("seed"), options.seed)]
    rows += [
        (
            gettext("sent by %(source)s") % {"source": name},
            gettext("%(images)d, retries: %(retries)d")
            % {"images": sent.images, "retries": sent.tried_again},
        )
        for name, sent in report.sent.items()
    ]
    rows += [(str(f.label), times) for f, times in report.injected.counts.items()]
    rows += [
        (
            gettext("images held by a killed or frozen process"),
            len(report.injected.losses),
        ),
        (gettext("late results, discarded"), report.late_results),
        (gettext("instances"), counts.instances),
        (gettext("runs that succeeded"), counts.succeeded),
        (gettext("runs that failed or were rejected"), counts.otherwise_finished),
        (gettext("runs that did not finish"), counts.unfinished),
        (gettext("images without exactly one run"), counts.images_without_one_run),
        (gettext("findings"), counts.findings),
        (gettext("heat maps"), counts.heat_maps),
        (
            gettext("runs with missing or extra findings"),
            counts.runs_without_all_findings,
        ),
        (
            gettext("runs finished after losing the claim"),
            counts.finished_by_another_attempt,
        ),
        (gettext("claims"), counts.attempts),
        (gettext("lease"), f"{options.lease_s:.0f} s"),
        (gettext("longest recovery"), recovery),
        (gettext("time until all images were read"), f"{report.took_s:.0f} s"),
    ]
    width = max(len(row[0]) for row in rows)
    for name, value in rows:
        yield f"  {name:<{width}}  {value}"
