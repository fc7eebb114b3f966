"""Make a stored result again and compare."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from accounts.errors import ChestXError
from diagnoses.models import Prediction
from diagnoses.worker.reproduction import Verdict, reproduce


class Command(BaseCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Run a prediction again from its stored image and weights. Says agree, differ "
            "or not comparable; exit status 0 only for agree."
        )
        parser.add_argument(
            "prediction", type=UUID, help=gettext("The prediction's id.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        prediction = (
            Prediction.objects.select_related("instance", "model_version")
            .filter(pk=options["prediction"])
            .first()
        )
        if prediction is None:
            raise CommandError("There is no such prediction.", returncode=2)
        try:
            made_again = reproduce(prediction)
        except ChestXError as error:
            raise CommandError(error.message, returncode=2) from error
        said = f"{made_again.verdict}: {made_again.explanation}"
        if made_again.verdict != Verdict.AGREE:
            raise CommandError(said, returncode=1)
        self.stdout.write(said)
