"""`manage.py sync_models`: install the models that come with the code."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from accounts.errors import ChestXError
from diagnoses.governance.installation import sync_models
from diagnoses.governance.retirement import retire_former_versions
from diagnoses.governance.transitions import activate_for_demo
from diagnoses.messages import error_text
from ml.errors import MlError


class Command(BaseCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Install the models whose cards and weights come with the code, and retire "
            "those that no longer do. It can be run again: other installed models stay "
            "as they are. Use activate_model to activate a model."
        )
        parser.add_argument(
            "--activate-for-demo",
            action="store_true",
            help=gettext(
                "Activate the newest version of each model without a decision."
            ),
        )
        parser.add_argument(
            "--only",
            default="",
            metavar="NAME",
            help=gettext("Activate only this model."),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            installed = sync_models()
            told = retire_former_versions()
        except (ChestXError, MlError) as error:
            raise CommandError(error_text(error)) from error
        for model_version in installed:
            self.stdout.write(
                gettext("installed %(version)s") % {"version": model_version}
            )
        for sentence in told:
            self.stdout.write(sentence)
        if options["activate_for_demo"]:
            for model_version in activate_for_demo(only=options["only"]):
                message = gettext("activated %(version)s")
                self.stdout.write(message % {"version": model_version})
