"""`manage.py predict`: score files without a server, a database or a queue."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.messages import NOT_SCORED_WORDS, error_text
from ml.cards.card import Card, cards_sharing, default_card, get_card, heads_of
from ml.errors import ModelError
from ml.inference import load_model
from ml.predict_file import FileResult, Model, read_file, write_overlay

DECISION_SUPPORT = _(
    "Decision support, not for diagnosis. See %(card)s for the limits of %(name)s "
    "%(version)s."
)
STATUS_LINES = {
    "rejected": _("%(path)s: rejected (%(reason)s)"),
    "failed": _("%(path)s: failed (%(reason)s)"),
}


class Command(BaseCommand):
    """Score DICOM files and pictures; one line for each file and model."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Score images, one line for each image and model. Decision support, not "
            "for diagnosis."
        )
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument(
            "--model",
            help=gettext(
                "name of the model, or of a backbone for all its heads; default: the "
                "chest model and the other heads of its backbone"
            ),
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help=gettext("print one JSON object per file"),
        )
        parser.add_argument(
            "--heatmap",
            type=Path,
            metavar="DIR",
            help=gettext("write heat maps as PNG to this folder"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Score each file; exit with status 1 if one could not be read."""
        if options["heatmap"]:
            _make_folder(options["heatmap"])
        models = self._load(options["model"])
        if not options["json"]:
            for model in models:
                self.stdout.write(_decision_support(model.card))
        paths: list[Path] = options["files"]
        failed = sum(not self._answer(models, path, options) for path in paths)
        if failed:
            message = gettext("%(failed)d of %(count)d files failed.")
            raise CommandError(message % {"failed": failed, "count": len(paths)})

    def _answer(
        self, models: Sequence[Model], path: Path, options: dict[str, Any]
    ) -> bool:
        """Score one file and print its lines; return whether everything succeeded."""
        outcomes = read_file(models, path)
        if options["json"]:
            first, *others = [outcome.to_json() for outcome in outcomes]
            self.stdout.write(json.dumps({**first, "other_models": others}))
        else:
            for outcome in outcomes:
                self.stdout.write(summary(outcome, names_model=len(models) > 1))
        self.stdout.flush()
        fine = all(outcome.status != "failed" for outcome in outcomes)
        if options["heatmap"]:
            # Each one is tried, whatever became of the others.
            drawn = [self._draw(each, options["heatmap"], models) for each in outcomes]
            fine = fine and all(drawn)
        return fine

    def _draw(self, outcome: FileResult, folder: Path, models: Sequence[Model]) -> bool:
        """Write the heat map of a scored file; return whether nothing failed."""
        if outcome.model_output is None:
            return True
        try:
            write_overlay(outcome, folder, names_model=len(models) > 1)
        except OSError as error:
            self._report_no_heat_map(outcome.path, error.strerror or str(error))
            return False
        except ModelError as error:
            self._report_no_heat_map(outcome.path, error_text(error))
        return True

    def _report_no_heat_map(self, path: Path, reason: str) -> None:
        message = gettext("%(path)s: no heat map: %(reason)s")
        self.stderr.write(message % {"path": path, "reason": reason})

    def _load(self, name: str | None) -> list[Model]:
        """Load the models that read: one, or the heads of one backbone."""
        try:
            return [
                load_model(
                    card,
                    cache_dir=settings.INFERENCE_CACHE_DIR,
                    threads=settings.INFERENCE_NUM_THREADS,
                )
                for card in _cards(name)
            ]
        except ModelError as error:
            raise CommandError(error_text(error)) from error


def _cards(name: str | None) -> list[Card]:
    """Return the cards of a model or a backbone; by default those of the chest models.

    The default model is the first, before the other heads of its backbone.
    """
    if name:
        return heads_of(name) or [get_card(name)]
    first = default_card()
    return [first, *(c for c in cards_sharing(first) if c.name != first.name)]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = gettext("The folder %(path)s cannot be created: %(error)s.")
        values = {"path": folder, "error": error.strerror or error}
        raise CommandError(message % values) from error


def _decision_support(card: Card) -> str:
    return DECISION_SUPPORT % {
        "name": card.name,
        "version": card.version,
        "card": card.card_file,
    }


def summary(outcome: FileResult, *, names_model: bool = False) -> str:
    """Return a line for people; it names the model where several read the file."""
    path = f"{outcome.path}: {outcome.model}" if names_model else str(outcome.path)
    if outcome.model_output is None:
        reason = error_text(outcome.error) if outcome.error else ""
        text = STATUS_LINES[outcome.status]
        return text % {"path": path, "reason": reason}
    scores = sorted(
        outcome.model_output.scores, key=lambda s: s.probability, reverse=True
    )
    marks = [" +" if outcome.is_flagged(score) else "" for score in scores]
    labels = ", ".join(
        f"{score.label} {score.probability:.2f}{mark}"
        for score, mark in zip(scores, marks, strict=True)
    )
    reasons = [
        f"{label} {NOT_SCORED_WORDS[code]}"
        for label, code in outcome.model_output.not_scored.items()
    ]
    return "; ".join([f"{path}: {labels}", *reasons])
