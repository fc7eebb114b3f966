"""`manage.py evaluate_gate`: what a model's gate lets in, and what it refuses."""

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
    """Try a gate on images that it should let in and images that it must refuse."""

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
        """Judge the images and print the figures."""
        try:
            report = _report(options)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        except OSError as error:
            raise CommandError(f"An image cannot be read: {error}.") from error
        self.stdout.write(json.dumps(report) if options["json"] else said(report))


def _report(options: dict[str, Any]) -> dict[str, Any]:
    model = load_network(get_card(options["name"], options["version_name"]))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("images", total=None)
        return try_gate(
            model,
            with_split(rows_of(options), options["split"]),
            root=options["root"],
            samples=options["samples"],
            folders=options["must_refuse"],
            progress=lambda done: bar.update(task, completed=done),
        )


def said(report: dict[str, Any]) -> str:
    """Return the figures for people."""
    real, wrong = report["real"], report["must_be_refused"]
    lines = [
        f"{report['model']} {report['version']}: real images refused "
        + _share(real["refused"])
    ]
    for group in ("by_source", "by_view", "by_age"):
        for name, found in real[group].items():
            lines.append(f"  {group.replace('_', ' ')}, {name}: {_share(found)}")
    if "samples" in report:
        lines.append(f"  samples: {_share(report['samples'])}")
    lines.append(f"must be refused: {_share(wrong['refused'])}; AUROC {wrong['auroc']}")
    for kind, found in wrong["by_kind"].items():
        reasons = ", ".join(f"{code} {n}" for code, n in found["reasons"].items())
        lines.append(f"  {kind}: {_share(found)} {reasons}")
    return "\n".join(lines)


def _share(found: dict[str, Any]) -> str:
    return (
        f"{found['refused']} of {found['n']}, {found['share']} "
        f"({found['low']} to {found['high']})"
    )
