"""`manage.py reproduce`: run a stored prediction again and compare."""

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
            "Run a prediction again from its stored image and weights. Prints "
            "agree, differ or not comparable; the exit status is 0 only for agree."
        )
        parser.add_argument(
            "prediction", type=UUID, help=gettext("Key of the prediction.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        prediction = (
            Prediction.objects.select_related("instance", "model_version")
            .filter(pk=options["prediction"])
            .first()
        )
        if prediction is None:
            raise CommandError(gettext("There is no such prediction."), returncode=2)
        try:
            made_again = reproduce(prediction)
        except ChestXError as error:
            raise CommandError(error.message, returncode=2) from error
        result = f"{made_again.verdict}: {made_again.explanation}"
        if made_again.verdict != Verdict.AGREE:
            raise CommandError(result, returncode=1)
        self.stdout.write(result)
