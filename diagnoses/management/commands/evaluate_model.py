"""`manage.py evaluate_model`: measure a model on the images of a data set."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import get_language, gettext
from rich.console import Console
from rich.progress import Progress

from diagnoses.management.command_lines import evaluation_command
from diagnoses.management.dataset_options import add_dataset_options, rows_of
from diagnoses.management.scoring import (
    add_choice_options,
    card_named,
    chosen_rows,
    read_images,
)
from diagnoses.messages import error_text
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.evaluation.baseline import measure_baseline, pair_beside
from ml.evaluation.report import value_with_interval, verdict_text, write_report
from ml.evaluation.scoring import pair_metrics, report_of, thresholds_of
from ml.evaluation.shortcuts.changes import CHANGES
from ml.evaluation.summary import ScoredImages
from ml.evaluation.wording import metric_names

TRAIN = "train"
SUMMARISED = (
    "accuracy",
    "balanced_accuracy",
    "accuracy_at_80",
    "mean_auc",
    "mean_auc_claimed",
    "expected_calibration_error",
)


class Command(BaseCommand):
    """Measure a model with intervals over patients."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Measure a model on a data set, with bootstrap intervals over patients."
        )
        parser.add_argument("name", metavar="NAME[/VERSION]")
        add_dataset_options(parser)
        add_choice_options(parser)
        parser.add_argument(
            "--pair",
            metavar="A,B",
            help=gettext("also the AUC between two labels; a side may be A+C"),
        )
        parser.add_argument(
            "--change",
            choices=sorted(CHANGES),
            default="none",
            help=gettext("change applied to each image first"),
        )
        parser.add_argument(
            "--operating-point",
            metavar="NAME",
            help=gettext(
                "use this named set of thresholds of the card; default: its own"
            ),
        )
        parser.add_argument(
            "--baseline",
            action="store_true",
            help=gettext(
                "also the border-and-histogram baseline, trained on the split train"
            ),
        )
        parser.add_argument(
            "--report",
            type=Path,
            metavar="DIR",
            help=gettext("write report.md, report.html"),
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the images and print the figures."""
        try:
            report = self._report(options)
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write(json.dumps(report) if options["json"] else summary(report))

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
        report["command"] = evaluation_command("evaluate_model", options)
        if pair:
            report["pair"] = pair_metrics(scored, *pair)
        if options["baseline"]:
            train = [row for row in every if row.split == TRAIN]
            report["baseline"] = _baseline(scored, train, options["root"], pair)
        if options["report"]:
            write_report(
                report,
                scored,
                options["report"],
                translate=gettext,
                language=get_language() or "en",
            )
            path = options["report"] / "report.html"
            self.stderr.write(gettext("written: %(path)s") % {"path": path})
        return report


def _baseline(
    scored: ScoredImages,
    train: Sequence[ManifestRow],
    root: Path,
    pair: tuple[str, str] | None,
) -> dict[str, Any]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(gettext("border-and-histogram baseline"), total=None)
        figures, other = measure_baseline(
            scored,
            train,
            root=root,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if pair:
        figures["pair"] = pair_beside(scored, other, *pair)
    return figures


def _pair(text: str | None, labels: tuple[str, ...]) -> tuple[str, str] | None:
    if not text:
        return None
    sides = tuple(part.strip() for part in text.split(","))
    named = {name for side in sides for name in side.split("+")}
    if len(sides) != 2 or not named <= set(labels):
        message = gettext("--pair takes two of: %(labels)s; join several with +.")
        raise CommandError(message % {"labels": ", ".join(labels)})
    return sides[0], sides[1]


def summary(report: dict[str, Any]) -> str:
    """Return the figures for people."""
    headline = gettext("%(model)s: %(n)d images, %(skipped)d skipped")
    lines = [headline % report]
    names = metric_names(gettext)
    for name in SUMMARISED:
        lines.append(f"{names[name]}: {with_interval(report[name])}")
    lines += [
        _label_line(label, report["labels"][label])
        for label in report["labels_claimed"]
    ]
    if report["too_few"]:
        too_few = gettext("too few images to claim anything: %(labels)s")
        lines.append(too_few % {"labels": ", ".join(report["too_few"])})
    if "pair" in report:
        pair = report["pair"]
        first, second = pair["pair"]
        values = {"first": first, "second": second, "auc": with_interval(pair["auc"])}
        lines.append(gettext("%(first)s against %(second)s: AUC %(auc)s") % values)
    if report.get("uncertainty", {}).get("claimed"):
        lines.append(_uncertainty_line(report["uncertainty"]))
    for name, figures in report.get("baseline", {}).get("figures", {}).items():
        lines.append(_baseline_line(names[name], figures))
    return "\n".join(lines)


def _label_line(label: str, figures: dict[str, Any]) -> str:
    low, high = figures["intervals"]["auc"]
    text = gettext(
        "%(label)s: AUC %(auc)s (%(low)s to %(high)s), sensitivity %(sensitivity)s, "
        "specificity %(specificity)s, F1 %(f1)s, %(positives)s positive, "
        "%(negatives)s negative"
    )
    return text % {**figures, "label": label, "low": low, "high": high}


def _uncertainty_line(figures: dict[str, Any]) -> str:
    text = gettext(
        "label sets that contain the ground truth: %(coverage)s, stated %(stated)s; "
        "more than one label: %(left_open)s"
    )
    return text % {
        "coverage": with_interval(figures["coverage"]),
        "stated": figures["stated_coverage"],
        "left_open": with_interval(figures["left_open"]),
    }


def _baseline_line(name: str, figures: dict[str, Any]) -> str:
    text = gettext(
        "border-and-histogram baseline, %(name)s: %(baseline)s, lead %(lead)s "
        "%(verdict)s"
    )
    values = {
        "name": name,
        "baseline": with_interval(figures["baseline"]),
        "lead": with_interval(figures["lead"]),
        "verdict": verdict_text(figures["verdict"], gettext),
    }
    return (text % values).rstrip()


def with_interval(figure: Mapping[str, Any]) -> str:
    """Return a figure with its interval for people."""
    return value_with_interval(figure, gettext)
