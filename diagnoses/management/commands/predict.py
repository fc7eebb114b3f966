"""`manage.py predict`: score files without a server, a database or a queue."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.messages import error_text
from ml.cards.card import Card, default_card, get_card
from ml.ensemble import EnsembleModel
from ml.errors import ModelError
from ml.inference import LoadedModel, load_model
from ml.predict_file import FileResult, read_file, write_overlay

DECISION_SUPPORT = (
    "Decision support, not for diagnosis. "
    "What {name} {version} cannot tell stands in {card}."
)


Model = LoadedModel | EnsembleModel


class Command(BaseCommand):
    """Score DICOM files and pictures; one line a file."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Score images, one line each. Decision support, not for diagnosis."
        )
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument(
            "--model", help=gettext("its name; without it, that for chests")
        )
        parser.add_argument(
            "--json", action="store_true", help=gettext("a JSON object a line")
        )
        parser.add_argument(
            "--heatmap",
            type=Path,
            metavar="DIR",
            help=gettext("write overlays as PNG there"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Score each file; exit with status 1 if one could not be read."""
        if options["heatmap"]:
            _make_folder(options["heatmap"])
        model = self._load(options["model"])
        if not options["json"]:
            self.stdout.write(_decision_support(model.card))
        paths: list[Path] = options["files"]
        failed = sum(not self._answer(model, path, options) for path in paths)
        if failed:
            raise CommandError(f"{failed} of {len(paths)} files failed.")

    def _answer(self, model: Model, path: Path, options: dict[str, Any]) -> bool:
        """Score one file and print its line; return whether all of it was done."""
        outcome = read_file(model, path)
        line = json.dumps(outcome.to_json()) if options["json"] else said(outcome)
        self.stdout.write(line)
        self.stdout.flush()
        if options["heatmap"] and outcome.model_output is not None:
            try:
                write_overlay(outcome, options["heatmap"])
            except OSError as error:
                self.stderr.write(f"{path}: no overlay: {error.strerror or error}.")
                return False
            except ModelError as error:
                self.stderr.write(f"{path}: no overlay: {error.message}")
        return outcome.status != "failed"

    def _load(self, name: str | None) -> Model:
        try:
            card = get_card(name) if name else default_card()
            return load_model(
                card,
                cache_dir=settings.INFERENCE_CACHE_DIR,
                threads=settings.INFERENCE_NUM_THREADS,
            )
        except ModelError as error:
            raise CommandError(error_text(error)) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said_of_it = error.strerror or error
        raise CommandError(f"{folder} cannot be made: {said_of_it}.") from error


def _decision_support(card: Card) -> str:
    return DECISION_SUPPORT.format(
        name=card.name,
        version=card.version,
        card=card.weights_file.with_name("card.json"),
    )


def said(outcome: FileResult) -> str:
    """Return a line for people."""
    if outcome.model_output is None:
        return f"{outcome.path}: {outcome.status} ({outcome.reason})"
    scores = sorted(
        outcome.model_output.scores, key=lambda s: s.probability, reverse=True
    )
    told = ", ".join(
        f"{score.label} {score.probability:.2f}{' +' if score.positive else ''}"
        for score in scores
    )
    return f"{outcome.path}: {told}"
