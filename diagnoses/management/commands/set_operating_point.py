"""`manage.py set_operating_point`: set thresholds for new images."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext

from accounts.audit import AuditSource
from accounts.errors import ChestXError
from diagnoses.governance.operating_points import choose_named_set, set_operating_point
from diagnoses.governance.transitions import Decision
from diagnoses.management.decisions import administrator, installed_version
from diagnoses.models import ModelVersion, OperatingPoint


class Command(BaseCommand):
    def create_parser(self, *args: Any, **options: Any) -> CommandParser:
        """Let --version be the model's, not Django's."""
        return super().create_parser(*args, conflict_handler="resolve", **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Set the threshold of one label, or all thresholds to a named set of "
            "the card. It applies to new images; earlier findings stay as they are."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("label", nargs="?", metavar="LABEL")
        parser.add_argument("value", nargs="?", type=float, metavar="VALUE")
        parser.add_argument(
            "--set",
            dest="named_set",
            help=gettext("Instead: normals_10, youden, sensitivity_95, original …"),
        )
        parser.add_argument(
            "--version",
            dest="model_version",
            default="",
            help=gettext("Default: the active version, else the one installed last."),
        )
        parser.add_argument(
            "--reason", required=True, help=gettext("Stored with the decision.")
        )
        parser.add_argument(
            "--user",
            required=True,
            help=gettext("User name of the administrator who decides."),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        by_hand = options["label"] is not None and options["value"] is not None
        if by_hand == bool(options["named_set"]) or (
            options["named_set"] and options["label"] is not None
        ):
            raise CommandError(gettext("Give a LABEL and its VALUE, or --set NAME."))
        decision = Decision(
            administrator(options["user"]), options["reason"], AuditSource.COMMAND
        )
        version = _version(options["name"], options["model_version"])
        try:
            points = _set(version, options, decision)
        except ChestXError as error:
            raise CommandError(error.message) from error
        for point in points:
            self.stdout.write(f"{version}: {point.label} ≥ {point.value:g}")


def _version(name: str, version: str) -> ModelVersion:
    active = ModelVersion.objects.filter(
        name=name, state=ModelVersion.State.ACTIVE
    ).first()
    if active is not None and not version:
        return active
    return installed_version(name, version)


def _set(
    version: ModelVersion, options: dict[str, Any], decision: Decision
) -> list[OperatingPoint]:
    if options["named_set"]:
        return choose_named_set(version, name=options["named_set"], decision=decision)
    return [
        set_operating_point(
            version,
            label=options["label"],
            value=options["value"],
            decision=decision,
        )
    ]
