"""`manage.py model_tables`: write the texts that quote metrics from the cards."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.model_tables import (
    FILES,
    limits_from_metrics,
    shipped_cards,
    with_generated_blocks,
)
from ml.cards.card import write_card
from ml.cards.contents import CardContents
from ml.cards.json_reader import json_schema
from ml.errors import MlError

SCHEMA_FILE = Path("ml/cards/card.schema.json")


class Command(BaseCommand):
    """Write README, docs, limits on cards and the schema from cards and code."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Write every metric that README, docs and the limits of cards quote from "
            "the shipped cards, and the JSON Schema of cards."
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help=gettext("change nothing; fail where a text differs from the cards"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write what differs, or name it."""
        try:
            # Limits first: the texts of an ensemble repeat those of its members.
            changed = self._limits(check=options["check"])
            changed += self._texts(check=options["check"])
        except MlError as error:
            raise CommandError(gettext(error.text) % error.params) from error
        if changed and options["check"]:
            raise CommandError(
                gettext("These differ from the cards; run model_tables: %(files)s.")
                % {"files": ", ".join(changed)}
            )
        for name in changed:
            self.stdout.write(gettext("written: %(file)s") % {"file": name})

    def _limits(self, *, check: bool) -> list[str]:
        changed = []
        for card in shipped_cards():
            limits = limits_from_metrics(card)
            if list(card.limits) == limits:
                continue
            changed.append(f"{card.name}/{card.version}")
            if not check:
                path = card.card_file
                write_card(path, {**card.raw, "limits": limits})
        return changed

    def _texts(self, *, check: bool) -> list[str]:
        changed = []
        for name in (*FILES, SCHEMA_FILE):
            path = Path(settings.BASE_DIR) / name
            text = path.read_text(encoding="utf-8")
            if name == SCHEMA_FILE:
                new = json.dumps(json_schema(CardContents), indent=2) + "\n"
            else:
                new = with_generated_blocks(text)
            if new == text:
                continue
            changed.append(str(name))
            if not check:
                path.write_text(new, encoding="utf-8")
        return changed
