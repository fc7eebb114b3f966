"""`manage.py evaluate_gate`: test which images a model's gate accepts."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.scoring import load_network
from diagnoses.messages import error_text
from ml.cards.card import get_card
from ml.datasets.manifest import with_split
from ml.errors import MlError
from ml.evaluation.gate.trial import try_gate


class Command(BaseCommand):
    """Test a gate on images that it must accept and images that it must reject."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Test a model's gate: correct images rejected, wrong images accepted."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--model-version", metavar="VERSION", dest="version_name")
        add_dataset_options(parser)
        parser.add_argument(
            "--split",
            default="val",
            help=gettext("split of the images to test; default: val"),
        )
        parser.add_argument(
            "--samples",
            type=Path,
            metavar="DIR",
            help=gettext("folder of sample pictures and DICOM objects"),
        )
        parser.add_argument(
            "--must-refuse",
            type=Path,
            action="append",
            default=[],
            metavar="DIR",
            help=gettext("further images that must be rejected; may be repeated"),
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Apply the gate and print the figures."""
        try:
            report = _report(options)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        except OSError as error:
            message = gettext("An image cannot be read: %(error)s.")
            raise CommandError(message % {"error": error}) from error
        self.stdout.write(json.dumps(report) if options["json"] else summary(report))


def _report(options: dict[str, Any]) -> dict[str, Any]:
    model = load_network(get_card(options["name"], options["version_name"]))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(gettext("images"), total=None)
        return try_gate(
            model,
            with_split(rows_of(options), options["split"]),
            root=options["root"],
            samples=options["samples"],
            folders=options["must_refuse"],
            progress=lambda done: bar.update(task, completed=done),
        )


def summary(report: dict[str, Any]) -> str:
    """Return the figures for people."""
    real, wrong = report["real"], report["must_be_refused"]
    lines = [
        gettext("%(model)s %(version)s: correct images rejected %(share)s")
        % {
            "model": report["model"],
            "version": report["version"],
            "share": _share(real["refused"]),
        }
    ]
    groups = {
        "by_source": gettext("source %(name)s: %(share)s"),
        "by_view": gettext("view %(name)s: %(share)s"),
        "by_age": gettext("age %(name)s: %(share)s"),
    }
    for group, text in groups.items():
        for name, counts in real[group].items():
            lines.append("  " + text % {"name": name, "share": _share(counts)})
    if "samples" in report:
        samples = gettext("samples: %(share)s")
        lines.append("  " + samples % {"share": _share(report["samples"])})
    wrong_images = gettext("wrong images rejected: %(share)s; AUROC %(auroc)s")
    values = {"share": _share(wrong["refused"]), "auroc": wrong["auroc"]}
    lines.append(wrong_images % values)
    for kind, counts in wrong["by_kind"].items():
        reasons = ", ".join(f"{code} {n}" for code, n in counts["reasons"].items())
        lines.append(f"  {kind}: {_share(counts)} {reasons}")
    return "\n".join(lines)


def _share(counts: dict[str, Any]) -> str:
    text = gettext("%(refused)s of %(n)s, %(share)s (%(low)s to %(high)s)")
    return text % counts
