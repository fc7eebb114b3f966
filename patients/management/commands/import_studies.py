"""Import a folder of images."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _
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
from patients.folders.contents import look_below
from patients.identity.submitted import SubmittedIdentity, storable
from patients.importing import (
    DECIDED,
    POSTPONED,
    SKIPPED,
    FileToImport,
    ImportSummary,
    import_files,
    read_manifest,
)
from patients.models import Upload

_WORDS = {
    Upload.Outcome.STORED: _("stored"),
    Upload.Outcome.DUPLICATE: _("already stored (duplicates)"),
    SKIPPED: _("imported by an earlier run"),
    DECIDED: _("in conflict at an earlier run; an administrator has decided"),
    Upload.Outcome.CONFLICT: _("in conflict with the record (in quarantine)"),
    Upload.Outcome.REFUSED: _("refused"),
    POSTPONED: _("not imported now: run the command again"),
}


class Command(BaseCommand):
    """Import the images of a folder; run again, it continues."""

    help = gettext_noop(
        "Import a folder of images (DICOM, PNG, JPEG, TIFF, BMP). The exit status is 1 "
        "if a file was not accepted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the arguments."""
        parser.description = gettext(self.help)
        parser.add_argument(
            "folder", type=Path, help=gettext("the folder, with its subfolders")
        )
        parser.add_argument(
            "--patient-from",
            type=Path,
            metavar="CSV",
            help=gettext(
                "whose images these are: a column 'path', and any of patient_id, "
                "issuer, patient_name, birth_date, sex, accession_number, priority; "
                "used where the header of a file has gaps"
            ),
        )
        parser.add_argument("--user", help=gettext("user name of the importing user"))
        parser.add_argument(
            "--department",
            help=gettext("code of the department of new studies (default: the user's)"),
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
        """Import every file and print the outcomes."""
        if not folder.is_dir():
            raise CommandError(gettext("%(path)s is not a folder.") % {"path": folder})
        by_path = _manifest(patient_from, folder)
        contents = look_below(folder, manifest=patient_from)
        for path, reason in contents.passed_over:
            self._say(path, str(reason), folder)
        files = [
            FileToImport(path, by_path.get(path.resolve(), SubmittedIdentity()))
            for path in contents.files
        ]
        if patient_from:
            named = sum(file.path.resolve() in by_path for file in files)
            self.stdout.write(
                gettext("%(named)d of %(total)d files are in %(manifest)s")
                % {"named": named, "total": len(files), "manifest": patient_from}
            )
        summary = ImportSummary()
        for path, unreadable in contents.unreadable:
            summary.add(path, POSTPONED, unreadable)
        settled = import_files(
            files,
            actor=_user(user),
            department=_department(department),
            summary=summary,
        )
        with _progress_bar() as bar:
            task = bar.add_task(gettext("Importing"), total=len(files))
            for _path in settled:
                bar.advance(task)
        total = len(files) + len(contents.unreadable)
        self._summarise(summary, folder, total=total)

    def _summarise(self, summary: ImportSummary, folder: Path, *, total: int) -> None:
        for path, reason in summary.troubles:
            self._say(path, reason, folder)
        self.stdout.write(
            ngettext("%(total)d file", "%(total)d files", total) % {"total": total}
        )
        for outcome, words in _WORDS.items():
            if summary.counts[outcome]:
                self.stdout.write(f"{summary.counts[outcome]:7} {words}")
        if summary.troubles:
            raise CommandError(
                gettext("%(failed)d of %(total)d files were not accepted.")
                % {"failed": len(summary.troubles), "total": total}
            )

    def _say(self, path: Path, reason: str, folder: Path) -> None:
        # File names are bytes; bytes that are not UTF-8 cannot be printed.
        self.stdout.write(storable(f"{path.relative_to(folder)}: {reason}"))


def _manifest(patient_from: Path | None, folder: Path) -> dict[Path, SubmittedIdentity]:
    if patient_from is None:
        return {}
    try:
        return read_manifest(patient_from, folder=folder)
    except FileNotFoundError:
        raise CommandError(
            gettext("There is no file %(path)s.") % {"path": patient_from}
        ) from None
    except InvalidInput as error:
        raise CommandError(error.message) from error


def _user(name: str | None) -> User | None:
    if name is None:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(gettext("There is no user named %(name)s.") % {"name": name})
    if not may(user, Action.UPLOAD):
        raise CommandError(
            gettext("%(name)s may not upload (%(role)s).")
            % {"name": name, "role": user.get_role_display()}
        )
    return user


def _department(code: str | None) -> Department | None:
    if code is None:
        return None
    try:
        return Department.objects.get(code=code)
    except Department.DoesNotExist:
        known = ", ".join(Department.objects.values_list("code", flat=True))
        raise CommandError(
            gettext("There is no department %(code)s. Departments: %(known)s.")
            % {"code": code, "known": known or "–"}
        ) from None


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
