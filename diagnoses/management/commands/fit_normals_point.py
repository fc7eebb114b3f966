"""`manage.py fit_normals_point`: thresholds at a stated share of flagged normals."""

from __future__ import annotations

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
from diagnoses.management.scoring import chest_cards, load_models
from diagnoses.messages import error_text
from ml.cards.card import WEIGHTS_DIR, write_card
from ml.cards.contents import KeptSensitivity
from ml.errors import MlError
from ml.evaluation.normals_point import ModelFit, fit_normals_point


class Command(BaseCommand):
    """Fit the default thresholds of the chest models together, on train images."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Fit thresholds by which all models together flag a stated share of normal "
            "train images at most, and make them the default of their cards. The "
            "models must be measured: only claimed labels are flagged."
        )
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME[/VERSION]",
            help=gettext("models in use; default: all chest models of the demo"),
        )
        add_dataset_options(parser)
        parser.add_argument(
            "--share",
            type=float,
            default=10.0,
            metavar="PERCENT",
            help=gettext("share of the normals that may be flagged; default: 10"),
        )
        parser.add_argument(
            "--normals",
            default="rsna-normal",
            metavar="DATASET",
            help=gettext("data set of normal images; default: rsna-normal"),
        )
        parser.add_argument("--models", type=Path, default=WEIGHTS_DIR, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Fit, write the cards and print what the thresholds keep."""
        if not 0.0 < options["share"] < 100.0:
            raise CommandError(gettext("--share takes a number between 0 and 100."))
        try:
            fits = self._fits(options)
            for fit in fits:
                card = fit.card
                path = options["models"] / card.name / card.version / "card.json"
                write_card(path, fit.raw)
                self.stdout.write("\n".join(_lines(fit)))
        except MlError as error:
            raise CommandError(error_text(error)) from error
        except OSError as error:
            message = gettext("A file cannot be read: %(error)s.")
            raise CommandError(message % {"error": error}) from error
        self.stdout.write("\n".join(_summary(fits)))

    def _fits(self, options: dict[str, Any]) -> Sequence[ModelFit]:
        rows = rows_of(options)
        cards = chest_cards(options["names"], weights_dir=options["models"])
        models = load_models(cards, cache_dir=settings.INFERENCE_CACHE_DIR)
        command = command_arguments(
            "fit_normals_point",
            *(f"{card.name}/{card.version}" for card in cards),
            *DATA_ARGUMENTS,
            "--share",
            f"{options['share']:g}",
            "--normals",
            options["normals"],
        )
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(gettext("images"), total=None)
            return fit_normals_point(
                models,
                rows,
                root=options["root"],
                share=options["share"] / 100.0,
                normals=options["normals"],
                command=command,
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )


def _lines(fit: ModelFit) -> list[str]:
    """Return the thresholds of one model's claimed labels for people."""
    headline = gettext("%(model)s: flags %(share)s of the normals") % {
        "model": fit.card.name,
        "share": _percent(fit.normals.flagged_by_this_model),
    }
    return [headline, *(_label_line(fit, kept) for kept in fit.normals.sensitivity)]


def _label_line(fit: ModelFit, kept: KeptSensitivity) -> str:
    return gettext(
        "  %(label)s ≥ %(threshold).4f: %(value)s of %(positives)d held-out images "
        "(youden %(before)s)"
    ) % {
        "label": kept.label,
        "threshold": fit.values[kept.label],
        "value": _percent(kept.value),
        "positives": kept.positives,
        "before": _percent(kept.before),
    }


def _summary(fits: Sequence[ModelFit]) -> list[str]:
    normals = fits[0].normals
    together = gettext("%(flagged)s of %(images)d normals flagged by any model") % {
        "flagged": _percent(normals.flagged),
        "images": normals.images,
    }
    return [
        together,
        *(
            gettext("pneumonia, held out, %(dataset)s: %(share)s flagged by any model")
            % {"dataset": dataset, "share": _percent(share)}
            for dataset, share in normals.pneumonia.items()
        ),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
