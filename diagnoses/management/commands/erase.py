"""`manage.py erase`: delete a patient or a study."""

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
            "Delete a patient or a study with its images, results and uploads. This "
            "cannot be undone. The audit trail stays."
        )
        parser.add_argument("kind", choices=("patient", "study"))
        parser.add_argument("id", type=UUID)
        parser.add_argument(
            "--user", required=True, help=gettext("User name of an administrator.")
        )
        parser.add_argument(
            "--reason", required=True, help=gettext("Stored in the audit trail.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        actor = User.objects.filter(username=options["user"]).first()
        if actor is None or not may(actor, Action.ADMINISTER):
            raise CommandError(
                gettext("Only an administrator may erase. Name one with --user.")
            )
        decision = {"actor": actor, "reason": options["reason"]}
        if options["kind"] == "patient":
            patient = Patient.objects.filter(pk=options["id"]).first()
            erased = erase_patient(patient, **decision) if patient else None
        else:
            study = Study.objects.filter(pk=options["id"]).first()
            erased = erase_study(study, **decision) if study else None
        if erased is None:
            raise CommandError(
                gettext("There is no such patient.")
                if options["kind"] == "patient"
                else gettext("There is no such study.")
            )
        message = gettext(
            "Deleted: %(studies)d studies, %(instances)d images, %(predictions)d "
            "predictions, %(findings)d findings, %(uploads)d uploads, %(objects)d "
            "stored files, %(quarantined)d files in quarantine. %(cleared)d refused "
            "uploads no longer name the patient."
        )
        self.stdout.write(message % erased.counts())
