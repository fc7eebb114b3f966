"""`manage.py make_ensemble`: combine models by a card without weights."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.command_lines import measuring_command
from diagnoses.management.scoring import card_named
from diagnoses.messages import error_text
from ml.cards.card import WEIGHTS_DIR, Card
from ml.datasets.manifest import read_manifest
from ml.errors import MlError
from ml.evaluation.ensemble_card import build_ensemble_card, measured_card, write_card
from ml.inference import load_model


class Command(BaseCommand):
    """Write the card of an ensemble, with thresholds fitted and figures measured."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Combine installed models into one: the mean of their calibrated "
            "probabilities, for the labels that at least two of them have."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "--members",
            nargs="+",
            required=True,
            metavar="MODEL[/VERSION]",
            help=gettext("models to combine; default version: the newest"),
        )
        parser.add_argument("--card-version", default="1.0.0", metavar="VERSION")
        parser.add_argument("--manifest", type=Path, metavar="CSV")
        parser.add_argument("--root", type=Path, metavar="DIR")
        parser.add_argument("--models", type=Path, default=WEIGHTS_DIR, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the card; without a manifest nothing is fitted."""
        if (options["manifest"] is None) != (options["root"] is None):
            raise CommandError(gettext("--manifest and --root go together."))
        models: Path = options["models"]
        try:
            members = [
                card_named(text, weights_dir=models) for text in options["members"]
            ]
            raw = build_ensemble_card(
                members, name=options["name"], version=options["card_version"]
            )
            if options["manifest"]:
                raw = self._measured(raw, members, options)
            written = write_card(raw, weights_dir=models)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        labels = ", ".join(raw["combination"]["labels"])
        text = gettext("%(count)d members; %(labels)s")
        self.stdout.write(text % {"count": len(members), "labels": labels})
        self.stdout.write(gettext("written: %(path)s") % {"path": written})

    def _measured(
        self, raw: dict[str, Any], members: list[Card], options: dict[str, Any]
    ) -> dict[str, Any]:
        rows = read_manifest(options["manifest"])
        loaded = [
            load_model(
                card,
                cache_dir=settings.INFERENCE_CACHE_DIR,
                threads=settings.INFERENCE_NUM_THREADS,
            )
            for card in members
        ]
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(gettext("images"), total=None)
            return measured_card(
                raw,
                loaded,
                rows=rows,
                root=options["root"],
                command=measuring_command("metrics", raw["name"]),
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )
