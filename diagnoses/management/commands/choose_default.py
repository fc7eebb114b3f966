"""`manage.py choose_default`: choose the default chest model on held-out images."""

from __future__ import annotations

from argparse import ArgumentParser
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
from ml.cards.card import WEIGHTS_DIR, Card, default_card, write_card
from ml.errors import MlError
from ml.evaluation.default_choice import Choice, choose_default


class Command(BaseCommand):
    """Choose the default among models with the same labels; val is not read."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Choose the default chest model by its balanced accuracy on train images "
            "that every candidate held out from learning, and write the choice into "
            "the cards."
        )
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME[/VERSION]",
            help=gettext(
                "candidates; default: the chest models of the demo with the labels of "
                "the present default"
            ),
        )
        add_dataset_options(parser)
        parser.add_argument(
            "--dataset",
            default="kermany",
            metavar="NAME",
            help=gettext("data set to measure on; default: kermany"),
        )
        parser.add_argument("--models", type=Path, default=WEIGHTS_DIR, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Choose, write the cards and print the choice."""
        try:
            cards = _candidates(options["names"], options["models"])
            choice = self._choice(cards, options)
            for card in cards:
                folder = options["models"] / card.name / card.version
                write_card(folder / "card.json", choice.raw_of(card))
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write("\n".join(_lines(choice)))

    def _choice(self, cards: list[Card], options: dict[str, Any]) -> Choice:
        rows = rows_of(options)
        models = load_models(cards, cache_dir=settings.INFERENCE_CACHE_DIR)
        names = [f"{card.name}/{card.version}" for card in cards]
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(gettext("images"), total=None)
            return choose_default(
                models,
                rows,
                root=options["root"],
                dataset=options["dataset"],
                command=command_arguments(
                    "choose_default",
                    *names,
                    *DATA_ARGUMENTS,
                    "--dataset",
                    options["dataset"],
                ),
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )


def _candidates(names: list[str], weights_dir: Path) -> list[Card]:
    cards = chest_cards(names, weights_dir=weights_dir)
    if names:
        return cards
    labels = set(default_card(weights_dir=weights_dir).label_names)
    return [card for card in cards if set(card.label_names) == labels]


def _lines(choice: Choice) -> list[str]:
    chosen_by = choice.chosen_by
    lines = [f"{name}: {value:.3f}" for name, value in choice.values.items()]
    difference = gettext(
        "default: %(winner)s; difference to %(runner_up)s %(value)s (95 %% interval "
        "%(low)s to %(high)s), %(images)d held-out images of %(patients)d patients"
    ) % {
        "winner": choice.winner.name,
        "runner_up": chosen_by.runner_up,
        "value": chosen_by.difference.value,
        "low": chosen_by.difference.low,
        "high": chosen_by.difference.high,
        "images": chosen_by.images,
        "patients": chosen_by.patients,
    }
    lines.append(difference)
    if choice.winner.name != settings.DEFAULT_MODEL:
        setting = gettext("Set DEFAULT_MODEL to %(winner)s: it is %(present)s.")
        values = {"winner": choice.winner.name, "present": settings.DEFAULT_MODEL}
        lines.append(setting % values)
    return lines
