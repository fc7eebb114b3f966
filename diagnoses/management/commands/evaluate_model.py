"""`manage.py evaluate_model`: how well a model reads the films of a manifest."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from ml.datasets import ManifestRow, read_manifest
from ml.errors import MlError
from ml.evaluation import pair_figures, report_of, score_films
from ml.inference import load_model
from ml.registry import get_card
from ml.shortcuts import CHANGES


class Command(BaseCommand):
    """Measure a model with intervals over patients."""

    help = "Measure a model on a manifest; intervals by bootstrap over patients."
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--manifest", type=Path, required=True, metavar="CSV")
        parser.add_argument("--root", type=Path, required=True, metavar="DIR")
        parser.add_argument("--split", help="only rows of this split")
        parser.add_argument("--dataset", help="only rows of this data set")
        parser.add_argument(
            "--pair", metavar="A,B", help="also how these two labels are told apart"
        )
        parser.add_argument(
            "--change",
            choices=sorted(CHANGES),
            default="none",
            help="take something away from each film first",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the films and print the figures."""
        try:
            report = self._report(options)
        except MlError as error:
            raise CommandError(error.message) from error
        self.stdout.write(json.dumps(report) if options["json"] else said(report))

    def _report(self, options: dict[str, Any]) -> dict[str, Any]:
        card = get_card(options["name"])
        pair = _pair(options["pair"], card.label_names)
        rows = _chosen(read_manifest(options["manifest"]), options)
        model = load_model(
            card,
            cache_dir=settings.INFERENCE_CACHE_DIR,
            threads=settings.INFERENCE_NUM_THREADS,
        )
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("films", total=len(rows))
            scored = score_films(
                model,
                rows,
                root=options["root"],
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
                change=CHANGES[options["change"]],
            )
        report = report_of(scored, weights_sha256=model.weights_sha256)
        report["change"] = options["change"]
        if pair:
            report["pair"] = pair_figures(scored, *pair)
        return report


def _chosen(rows: list[ManifestRow], options: dict[str, Any]) -> list[ManifestRow]:
    wanted = {name: options[name] for name in ("split", "dataset") if options[name]}
    return [
        row
        for row in rows
        if all(getattr(row, name) == value for name, value in wanted.items())
    ]


def _pair(text: str | None, labels: tuple[str, ...]) -> tuple[str, str] | None:
    if not text:
        return None
    names = tuple(part.strip() for part in text.split(","))
    if len(names) != 2 or not set(names) <= set(labels):
        raise CommandError(f"--pair takes two of: {', '.join(labels)}.")
    return names[0], names[1]


def said(report: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f"{report['model']}: {report['n']} films, {report['skipped']} skipped"]
    for name in ("accuracy", "balanced_accuracy", "mean_auc"):
        value, low, high = (report[name][key] for key in ("value", "low", "high"))
        lines.append(f"{name.replace('_', ' ')}: {value} ({low} to {high})")
    for label, figures in report["labels"].items():
        told = ", ".join(f"{key} {value}" for key, value in figures.items())
        lines.append(f"{label}: {told}")
    return "\n".join(lines)
