"""`manage.py activate_model`: change the state of a version of a model."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from accounts.audit import AuditSource
from accounts.errors import ChestXError
from diagnoses.governance.transitions import (
    Decision,
    activate,
    retire,
    roll_back,
    run_in_shadow,
)
from diagnoses.management.decisions import (
    administrator,
    installed_version,
    version_in_use,
)
from diagnoses.models import StateChange


class Command(BaseCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Activate a version of a model (it replaces the active one), run it in "
            "shadow, retire it, or roll back to the version that was active before. "
            "It applies to new images."
        )
        parser.add_argument("name")
        parser.add_argument(
            "version",
            nargs="?",
            default="",
            help=gettext(
                "Default: the version installed last; to retire, the active version; "
                "to roll back, the version that was active before."
            ),
        )
        parser.add_argument(
            "--reason", required=True, help=gettext("Stored with the decision.")
        )
        parser.add_argument(
            "--user",
            required=True,
            help=gettext("User name of the administrator who decides."),
        )
        parser.add_argument(
            "--without-acceptance",
            default="",
            metavar="REASON",
            help=gettext(
                "Reason for activating without local validation (accept_model)."
            ),
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--shadow",
            action="store_true",
            help=gettext("Run it in shadow: readers do not see its results."),
        )
        instead.add_argument(
            "--retire",
            action="store_true",
            help=gettext("Retire it: it reads no new images."),
        )
        instead.add_argument(
            "--rollback",
            action="store_true",
            help=gettext(
                "Roll back to the version that was active before. VERSION is the one "
                "that you expect."
            ),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        actor = administrator(options["user"])
        decision = Decision(actor, options["reason"], AuditSource.COMMAND)
        try:
            change = _decide(options, decision)
        except ChestXError as error:
            raise CommandError(error.message) from error
        message = gettext("%(version)s: %(state)s")
        state = change.get_to_state_display()
        self.stdout.write(message % {"version": change.model_version, "state": state})


def _decide(options: dict[str, Any], decision: Decision) -> StateChange:
    if options["rollback"]:
        return roll_back(options["name"], decision=decision, to=options["version"])
    if options["retire"]:
        version = version_in_use(options["name"], options["version"])
        return retire(version, decision=decision)
    version = installed_version(options["name"], options["version"])
    if options["shadow"]:
        return run_in_shadow(version, decision=decision)
    return activate(
        version,
        decision=decision,
        without_acceptance=options["without_acceptance"],
    )
