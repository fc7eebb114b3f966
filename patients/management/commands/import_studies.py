"""The folder source: take a folder of images into the record."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from accounts.access import Action, may
from accounts.errors import InvalidInput
from accounts.models import Department, User
from patients.identity.submitted import SubmittedIdentity, storable
from patients.importing import (
    POSTPONED,
    SKIPPED,
    FileToImport,
    ImportSummary,
    files_below,
    import_files,
    read_manifest,
)
from patients.models import Upload

_WORDS = {
    Upload.Outcome.STORED: "stored",
    Upload.Outcome.DUPLICATE: "known already (duplicates)",
    SKIPPED: "taken in by an earlier run",
    Upload.Outcome.CONFLICT: "in conflict with the record (quarantined)",
    Upload.Outcome.REFUSED: "refused",
    POSTPONED: "not read now: run the command again",
}


class Command(BaseCommand):
    """Take the images of a folder in; run again, it goes on where it was."""

    help = (
        "Take a folder of images (DICOM, PNG, JPEG, TIFF, BMP) into the record. "
        "Ends with status 1 if a file was not taken."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the arguments."""
        parser.add_argument("folder", type=Path, help="with all its folders")
        parser.add_argument(
            "--patient-from",
            type=Path,
            metavar="CSV",
            help=(
                "says whose images these are: a column 'path', and any of patient_id, "
                "issuer, patient_name, birth_date, sex, accession_number, priority; "
                "fills only what a file's header lacks"
            ),
        )
        parser.add_argument("--user", help="who imports, by user name")
        parser.add_argument(
            "--department", help="of new studies, by its code (default: the user's)"
        )

    def handle(
        self,
        *args: Any,
        folder: Path,
        patient_from: Path | None,
        user: str | None,
        department: str | None,
        **options: Any,
    ) -> None:
        """Take every file in and say what became of them."""
        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder.")
        said = _manifest(patient_from, folder)
        files = [
            FileToImport(path, said.get(path.resolve(), SubmittedIdentity()))
            for path in files_below(folder, manifest=patient_from)
        ]
        if patient_from:
            named = sum(file.path.resolve() in said for file in files)
            self.stdout.write(f"{named} of {len(files)} files are in {patient_from}")
        summary = ImportSummary()
        settled = import_files(
            files,
            actor=_user(user),
            department=_department(department),
            summary=summary,
        )
        with _progress_bar() as bar:
            task = bar.add_task("Importing", total=len(files))
            for _path in settled:
                bar.advance(task)
        self._summarise(summary, folder, total=len(files))

    def _summarise(self, summary: ImportSummary, folder: Path, *, total: int) -> None:
        for path, reason in summary.troubles:
            # A name on disk is bytes; what is no UTF-8 in it cannot be printed.
            self.stdout.write(storable(f"{path.relative_to(folder)}: {reason}"))
        self.stdout.write(f"{total} files")
        for outcome, words in _WORDS.items():
            if summary.counts[outcome]:
                self.stdout.write(f"{summary.counts[outcome]:7} {words}")
        if summary.troubles:
            raise CommandError(
                f"{len(summary.troubles)} of {total} files were not taken."
            )


def _manifest(patient_from: Path | None, folder: Path) -> dict[Path, SubmittedIdentity]:
    if patient_from is None:
        return {}
    try:
        return read_manifest(patient_from, folder=folder)
    except FileNotFoundError:
        raise CommandError(f"There is no file {patient_from}.") from None
    except InvalidInput as error:
        raise CommandError(error.message) from error


def _user(name: str | None) -> User | None:
    if name is None:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user named {name}.")
    if not may(user, Action.UPLOAD):
        raise CommandError(f"{name} may not upload ({user.get_role_display()}).")
    return user


def _department(code: str | None) -> Department | None:
    if code is None:
        return None
    try:
        return Department.objects.get(code=code)
    except Department.DoesNotExist:
        known = ", ".join(Department.objects.values_list("code", flat=True))
        raise CommandError(
            f"There is no department {code}. Known: {known or 'none'}."
        ) from None


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
