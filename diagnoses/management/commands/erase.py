"""Delete a patient or a study for good."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from accounts.access import Action, may
from accounts.models import User
from diagnoses.erasure import erase_patient, erase_study
from patients.models import Patient, Study


class Command(BaseCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Delete a patient or a study with images, results and uploads. There is no way "
            "back. The audit trail stays."
        )
        parser.add_argument("kind", choices=("patient", "study"))
        parser.add_argument("id", type=UUID)
        parser.add_argument(
            "--user", required=True, help=gettext("Who asks: an administrator.")
        )
        parser.add_argument(
            "--reason", required=True, help=gettext("Kept in the audit trail.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        actor = User.objects.filter(username=options["user"]).first()
        if actor is None or not may(actor, Action.ADMINISTER):
            raise CommandError("Only an administrator may erase: name one by --user.")
        why = {"actor": actor, "reason": options["reason"]}
        if options["kind"] == "patient":
            patient = Patient.objects.filter(pk=options["id"]).first()
            erased = erase_patient(patient, **why) if patient else None
        else:
            study = Study.objects.filter(pk=options["id"]).first()
            erased = erase_study(study, **why) if study else None
        if erased is None:
            raise CommandError(f"There is no such {options['kind']}.")
        figures = ", ".join(f"{n} {what}" for what, n in erased.counts().items())
        self.stdout.write(f"erased: {figures}")
