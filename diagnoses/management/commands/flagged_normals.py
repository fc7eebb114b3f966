"""`manage.py flagged_normals`: how many normal adults any of the models flags."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.command_lines import DATA_ARGUMENTS, command_arguments
from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.measuring import with_interval
from diagnoses.management.scoring import card_named, chosen_rows
from diagnoses.messages import error_text
from ml.cards.card import Card
from ml.cards.json_reader import read_json
from ml.cards.measurements import Estimate
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.evaluation.goals import MOST_NORMALS_FLAGGED, NORMALS_TARGET
from ml.evaluation.normals.flagged import (
    NORMALS_DATASET,
    ScoredNormals,
    chest_cards,
    flagged_by_any,
    flagged_by_point,
    score_normals,
    write_together,
)
from ml.inference import load_model


class Command(BaseCommand):
    """Measure how many images that readers called normal are flagged."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Measure how many adults that readers called normal are flagged by any of "
            "the models for any label that their cards claim, at their thresholds. The "
            "images of %(dataset)s are for research: they only measure."
        ) % {"dataset": NORMALS_DATASET}
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME[/VERSION]",
            help=gettext("default: every shipped chest model that the demo uses"),
        )
        add_dataset_options(parser)
        parser.add_argument("--split", default="val")
        parser.add_argument("--dataset", default=NORMALS_DATASET, metavar="NAME")
        parser.add_argument(
            "--write",
            action="store_true",
            help=gettext("write the share of all models together onto their cards"),
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure and print."""
        try:
            cards = [card_named(name) for name in options["names"]] or chest_cards()
            report = _measured(cards, options)
            if options["write"]:
                for card in cards:
                    write_together(card.card_file, report, report["command"])
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write(json.dumps(report) if options["json"] else _summary(report))


def _measured(cards: list[Card], options: dict[str, Any]) -> dict[str, Any]:
    """Read the images with one model after the other, and count the flagged ones."""
    rows = chosen_rows(
        rows_of(options), split=options["split"], datasets=[options["dataset"]]
    )
    scored = [_scored(card, rows, options["root"]) for card in cards]
    report = flagged_by_any(scored)
    for each in scored:
        name = f"{each.card.name}/{each.card.version}"
        report["models"][name]["points"] = flagged_by_point(each)["points"]
    report["command"] = command_arguments(
        "flagged_normals", *report["models"], *DATA_ARGUMENTS, *_choice(options)
    )
    return report


def _scored(card: Card, rows: Sequence[ManifestRow], root: Path) -> ScoredNormals:
    """Read the images with one model under a progress bar."""
    model = load_model(
        card,
        cache_dir=settings.INFERENCE_CACHE_DIR,
        threads=settings.INFERENCE_NUM_THREADS,
    )
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(card.name, total=len(rows))
        return score_normals(
            model,
            rows,
            root=root,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _choice(options: dict[str, Any]) -> list[str]:
    return ["--split", options["split"], "--dataset", options["dataset"], "--json"]


def _summary(report: dict[str, Any]) -> str:
    """Return the figures for people."""
    counts = gettext("%(images)d images of %(patients)d patients") % report
    lines = [counts]
    for name, figures in report["models"].items():
        text = gettext("%(model)s: %(flagged)s flagged")
        flagged = with_interval(figures["flagged"])
        lines.append(text % {"model": name, "flagged": flagged})
        if not figures["labels"]:
            lines.append(gettext("  its card claims no accuracy: it flags nothing"))
        for label, share in figures["labels"].items():
            lines.append(f"  {label}: {with_interval(share)}")
        for point, shares in figures["points"].items():
            text = gettext("  at %(point)s: %(flagged)s")
            flagged = with_interval(shares["flagged"])
            lines.append(text % {"point": point, "flagged": flagged})
    reached = NORMALS_TARGET.is_reached(read_json(Estimate, report["flagged"]))
    text = gettext(
        "by any model for any claimed label: %(flagged)s; goal, at most %(most)s: "
        "%(result)s"
    )
    result = gettext("reached") if reached else gettext("missed")
    goal = {"most": MOST_NORMALS_FLAGGED, "result": result}
    lines.append(text % {"flagged": with_interval(report["flagged"]), **goal})
    return "\n".join(lines)
