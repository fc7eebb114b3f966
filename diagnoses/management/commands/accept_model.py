"""`manage.py accept_model`: measure a version on the site's own labelled images."""

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
from diagnoses.management.measuring import with_interval
from diagnoses.messages import error_text
from diagnoses.models import ModelVersion, SiteAcceptance
from diagnoses.worker.read import LoadedModels
from ml.errors import MlError
from ml.evaluation.wording import metric_names


class Command(BaseCommand):
    def create_parser(self, *args: Any, **options: Any) -> CommandParser:
        """Let --version be the model's, not Django's."""
        return super().create_parser(*args, conflict_handler="resolve", **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Measure an installed version on labelled images of this site. The "
            "figures, with 95 % intervals over patients, are stored beside those of "
            "the card. Activating a version requires this local validation. Nothing "
            "is activated here."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "--version",
            dest="model_version",
            default="",
            help=gettext("Default: the version installed last."),
        )
        parser.add_argument(
            "--manifest",
            type=Path,
            required=True,
            metavar="CSV",
            help=gettext(
                "CSV with the columns path, labels (joined by |) and patient_id."
            ),
        )
        parser.add_argument(
            "--root",
            type=Path,
            required=True,
            metavar="DIR",
            help=gettext("Folder that the paths start from."),
        )
        parser.add_argument(
            "--user",
            default="",
            help=gettext("User name of the administrator who measures."),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        actor = administrator(options["user"]) if options["user"] else None
        version = installed_version(options["name"], options["model_version"])
        if not version.has_weights:
            message = gettext("%(version)s has no weights, so it cannot be run.")
            raise CommandError(message % {"version": version})
        images = LabelledImages(options["manifest"], options["root"])
        try:
            acceptance = self._measure(version, images, actor)
        except (ChestXError, MlError) as error:
            raise CommandError(error_text(error)) from error
        for line in summary(acceptance):
            self.stdout.write(line)

    def _measure(
        self, version: ModelVersion, images: LabelledImages, actor: User | None
    ) -> SiteAcceptance:
        model = LoadedModels().get(version)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(gettext("images"), total=None)
            return accept_model(
                version,
                images=images,
                model=model,
                actor=actor,
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )


def summary(acceptance: SiteAcceptance) -> list[str]:
    """Return the figures for people."""
    headline = gettext(
        "%(version)s: measured on %(images)d images of %(patients)d patients"
    )
    lines = [
        headline
        % {
            "version": acceptance.model_version,
            "images": acceptance.images,
            "patients": acceptance.patients,
        }
    ]
    names = metric_names(gettext)
    for name in ("accuracy", "balanced_accuracy", "mean_auc"):
        figure = acceptance.figures.get(name)
        if figure:
            lines.append(f"{names[name]}: {with_interval(figure)}")
    lines.append(gettext("The local validation is stored."))
    return lines
