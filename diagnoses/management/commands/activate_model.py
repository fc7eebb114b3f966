"""Let a version of a model read films from now on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import audit
from accounts.access import Action, may
from accounts.errors import ChestXError
from accounts.models import User
from diagnoses.model_versions import activate, retire
from diagnoses.models import ModelVersion


class Command(BaseCommand):
    help = "Activate a version of a model (it replaces the active one), or retire it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("version")
        parser.add_argument("--reason", required=True, help="Kept with the decision.")
        parser.add_argument("--user", required=True, help="Who decides: a user name.")
        parser.add_argument("--retire", action="store_true", help="Retire it instead.")

    def handle(self, *args: Any, **options: Any) -> None:
        model_version = ModelVersion.objects.filter(
            name=options["name"], version=options["version"]
        ).first()
        actor = User.objects.filter(username=options["user"]).first()
        if model_version is None or actor is None:
            missing = "user" if model_version else "installed version"
            raise CommandError(f"There is no such {missing}.")
        if not may(actor, Action.ADMINISTER):
            raise CommandError("Only an administrator may decide: name one by --user.")
        try:
            self._decide(model_version, actor, options)
        except ChestXError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{model_version} is {model_version.state}")

    def _decide(
        self, model_version: ModelVersion, actor: User, options: dict[str, Any]
    ) -> None:
        """Change the state only together with the event that says who did."""
        change = retire if options["retire"] else activate
        with transaction.atomic():
            change(model_version, actor=actor, reason=options["reason"])
            audit.record(
                action=audit.AuditAction.CHANGE,
                actor=actor,
                door=audit.AuditDoor.COMMAND,
                object_kind="model_version",
                object_uuid=model_version.pk,
                detail={"state": model_version.state, "reason": options["reason"]},
            )
