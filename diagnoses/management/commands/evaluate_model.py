"""`manage.py evaluate_model`: how well a model reads the images of a manifest."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.scoring import (
    add_choice_options,
    card_named,
    chosen_rows,
    read_images,
)
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.evaluation.baseline import measure_baseline, pair_beside
from ml.evaluation.report import said as with_interval
from ml.evaluation.report import write_report
from ml.evaluation.scoring import pair_figures, report_of, thresholds_of
from ml.evaluation.shortcuts.changes import CHANGES
from ml.evaluation.summary import ScoredImages

TRAIN = "train"


class Command(BaseCommand):
    """Measure a model with intervals over patients."""

    help = "Measure a model on a data set; intervals by bootstrap over patients."
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.add_argument("name", metavar="NAME[/VERSION]")
        add_dataset_options(parser)
        add_choice_options(parser)
        parser.add_argument(
            "--pair",
            metavar="A,B",
            help="also how these two labels are told apart; a side may be A+C",
        )
        parser.add_argument(
            "--change",
            choices=sorted(CHANGES),
            default="none",
            help="take something away from each image first",
        )
        parser.add_argument(
            "--operating-point",
            metavar="NAME",
            help="thresholds of the card's point of this name; default: the card's own",
        )
        parser.add_argument(
            "--baseline",
            action="store_true",
            help="also measure the border-and-histogram baseline, trained on the "
            "images of the split train",
        )
        parser.add_argument(
            "--report", type=Path, metavar="DIR", help="write report.md, report.html"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the images and print the figures."""
        try:
            report = self._report(options)
        except MlError as error:
            raise CommandError(error.message) from error
        self.stdout.write(json.dumps(report) if options["json"] else said(report))

    def _report(self, options: dict[str, Any]) -> dict[str, Any]:
        card = card_named(options["name"])
        pair = _pair(options["pair"], card.label_names)
        point = options["operating_point"]
        every = rows_of(options)
        scored, sha256 = read_images(
            card,
            chosen_rows(every, split=options["split"], datasets=options["dataset"]),
            root=options["root"],
            change=CHANGES[options["change"]],
            thresholds=thresholds_of(card, point) if point else None,
        )
        report = report_of(
            scored, weights_sha256=sha256, threshold_source=point or "card"
        )
        report["change"] = options["change"]
        report["command"] = shlex.join(["python", "manage.py", *sys.argv[1:]])
        if pair:
            report["pair"] = pair_figures(scored, *pair)
        if options["baseline"]:
            train = [row for row in every if row.split == TRAIN]
            report["baseline"] = _baseline(scored, train, options["root"], pair)
        if options["report"]:
            write_report(report, scored, options["report"])
            self.stderr.write(f"written: {options['report'] / 'report.html'}")
        return report


def _baseline(
    scored: ScoredImages,
    train: Sequence[ManifestRow],
    root: Path,
    pair: tuple[str, str] | None,
) -> dict[str, Any]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("border-and-histogram baseline", total=None)
        told, other = measure_baseline(
            scored,
            train,
            root=root,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if pair:
        told["pair"] = pair_beside(scored, other, *pair)
    return told


def _pair(text: str | None, labels: tuple[str, ...]) -> tuple[str, str] | None:
    if not text:
        return None
    sides = tuple(part.strip() for part in text.split(","))
    named = {name for side in sides for name in side.split("+")}
    if len(sides) != 2 or not named <= set(labels):
        raise CommandError(
            f"--pair takes two of: {', '.join(labels)}; several joined by +."
        )
    return sides[0], sides[1]


def said(report: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f"{report['model']}: {report['n']} images, {report['skipped']} skipped"]
    for name in ("accuracy", "balanced_accuracy", "mean_auc", "mean_auc_claimed"):
        lines.append(f"{name.replace('_', ' ')}: {with_interval(report[name])}")
    for label in report["labels_claimed"]:
        told = report["labels"][label]
        low, high = told["intervals"]["auc"]
        lines.append(
            f"{label}: AUC {told['auc']} ({low} to {high}), "
            f"sensitivity {told['sensitivity']}, specificity {told['specificity']}, "
            f"F1 {told['f1']}, {told['positives']} with, {told['negatives']} without"
        )
    if report["too_few"]:
        lines.append(
            f"too few images to claim anything: {', '.join(report['too_few'])}"
        )
    if "pair" in report:
        pair = report["pair"]
        lines.append(
            f"{' against '.join(pair['pair'])}: AUC {with_interval(pair['auc'])}"
        )
    if "uncertainty" in report and report["uncertainty"]["claimed"]:
        told = report["uncertainty"]
        lines.append(
            f"truth not ruled out: {with_interval(told['coverage'])}, stated "
            f"{told['stated_coverage']}; left open: {with_interval(told['left_open'])}"
        )
    for name, told in report.get("baseline", {}).get("figures", {}).items():
        lines.append(
            f"border-and-histogram baseline, {name.replace('_', ' ')}: "
            f"{with_interval(told['baseline'])}, lead {with_interval(told['lead'])} "
            f"{told['verdict']}".rstrip()
        )
    return "\n".join(lines)
