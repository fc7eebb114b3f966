"""Measure a version of a model on the hospital's own labelled images."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

from accounts.errors import ChestXError
from accounts.models import User
from diagnoses.governance.acceptance import LabelledImages, accept_model
from diagnoses.management.decisions import administrator, installed_version
from diagnoses.messages import error_text
from diagnoses.models import ModelVersion, SiteAcceptance
from diagnoses.worker.read import LoadedModels
from ml.errors import MlError


class Command(BaseCommand):
    def create_parser(self, *args: Any, **options: Any) -> CommandParser:
        """Let --version be the model's, not Django's."""
        return super().create_parser(*args, conflict_handler="resolve", **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Measure an installed version on images of this site and keep the figures, "
            "with 95 % intervals over patients, beside the card's. Activating a version "
            "asks for it. Nothing is activated here."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "--version",
            dest="model_version",
            default="",
            help=gettext("Without it, the one installed last."),
        )
        parser.add_argument(
            "--manifest",
            type=Path,
            required=True,
            metavar="CSV",
            help=gettext(
                "Columns path and labels (joined by |); patient_id for intervals."
            ),
        )
        parser.add_argument(
            "--root",
            type=Path,
            required=True,
            metavar="DIR",
            help=gettext("Of the paths."),
        )
        parser.add_argument(
            "--user", default="", help=gettext("Who measures: a user name.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        actor = administrator(options["user"]) if options["user"] else None
        version = installed_version(options["name"], options["model_version"])
        if not version.has_weights:
            raise CommandError(f"{version} came without weights: nothing can run it.")
        images = LabelledImages(options["manifest"], options["root"])
        try:
            acceptance = self._measure(version, images, actor)
        except (ChestXError, MlError) as error:
            raise CommandError(error_text(error)) from error
        for line in said(acceptance):
            self.stdout.write(line)

    def _measure(
        self, version: ModelVersion, images: LabelledImages, actor: User | None
    ) -> SiteAcceptance:
        model = LoadedModels().get(version)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("images", total=None)
            return accept_model(
                version,
                images=images,
                model=model,
                actor=actor,
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )


def said(acceptance: SiteAcceptance) -> list[str]:
    """Return the figures for people."""
    lines = [f"{acceptance.model_version}: measured on {acceptance}"]
    for name in ("accuracy", "balanced_accuracy", "mean_auc"):
        figure = acceptance.figures.get(name)
        if figure:
            value, low, high = (figure[key] for key in ("value", "low", "high"))
            lines.append(f"{name.replace('_', ' ')}: {value} ({low} to {high})")
    lines.append("Kept. Activating this version may rest on it.")
    return lines
