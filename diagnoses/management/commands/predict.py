"""`manage.py predict`: score files without a server, a database or a queue."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.messages import NOT_SCORED_WORDS, error_text
from ml.cards.card import Card, default_card, get_card
from ml.ensemble import ReadsImages
from ml.errors import ModelError
from ml.inference import load_model
from ml.predict_file import FileResult, read_file, write_overlay

DECISION_SUPPORT = _(
    "Decision support, not for diagnosis. See %(card)s for the limits of %(name)s "
    "%(version)s."
)
STATUS_LINES = {
    "rejected": _("%(path)s: rejected (%(reason)s)"),
    "failed": _("%(path)s: failed (%(reason)s)"),
}


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
            "--model", help=gettext("name of the model; default: the chest model")
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
        model = self._load(options["model"])
        if not options["json"]:
            self.stdout.write(_decision_support(model.card))
        paths: list[Path] = options["files"]
        failed = sum(not self._answer(model, path, options) for path in paths)
        if failed:
            message = gettext("%(failed)d of %(count)d files failed.")
            raise CommandError(message % {"failed": failed, "count": len(paths)})

    def _answer(self, model: ReadsImages, path: Path, options: dict[str, Any]) -> bool:
        """Score one file and print its line; return whether everything succeeded."""
        outcome = read_file(model, path)
        line = json.dumps(outcome.to_json()) if options["json"] else summary(outcome)
        self.stdout.write(line)
        self.stdout.flush()
        if options["heatmap"] and outcome.model_output is not None:
            try:
                write_overlay(outcome, options["heatmap"])
            except OSError as error:
                self._report_no_heat_map(path, error.strerror or str(error))
                return False
            except ModelError as error:
                self._report_no_heat_map(path, error_text(error))
        return outcome.status != "failed"

    def _report_no_heat_map(self, path: Path, reason: str) -> None:
        message = gettext("%(path)s: no heat map: %(reason)s")
        self.stderr.write(message % {"path": path, "reason": reason})

    def _load(self, name: str | None) -> ReadsImages:
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
        message = gettext("The folder %(path)s cannot be created: %(error)s.")
        values = {"path": folder, "error": error.strerror or error}
        raise CommandError(message % values) from error


def _decision_support(card: Card) -> str:
    return DECISION_SUPPORT % {
        "name": card.name,
        "version": card.version,
        "card": card.weights_file.with_name("card.json"),
    }


def summary(outcome: FileResult) -> str:
    """Return a line for people."""
    if outcome.model_output is None:
        reason = error_text(outcome.error) if outcome.error else ""
        text = STATUS_LINES[outcome.status]
        return text % {"path": outcome.path, "reason": reason}
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
    return "; ".join([f"{outcome.path}: {labels}", *reasons])
