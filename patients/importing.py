"""Import the files of a folder one by one.

The import can be stopped and started again: files that were imported before, with the
same submitted identity, are skipped.
"""

import csv
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput, Unavailable
from accounts.models import Department, User
from patients.folders.contents import cannot_be_read
from patients.identity.submitted import SubmittedIdentity, checked
from patients.incoming import receipt_of
from patients.ingest import IngestResult, ingest_instance
from patients.models import Upload

PATH_COLUMN = "path"
IDENTITY_COLUMNS = tuple(SubmittedIdentity.__dataclass_fields__)
TRIES = 3
SKIPPED = "skipped"
DECIDED = "decided"
POSTPONED = "postponed"
_SETTLED = (
    Upload.Outcome.STORED,
    Upload.Outcome.DUPLICATE,
    Upload.Outcome.CONFLICT,
)
_ACCEPTED = (SKIPPED, DECIDED, Upload.Outcome.STORED, Upload.Outcome.DUPLICATE)


@dataclass(frozen=True)
class FileToImport:
    """One file, and what the manifest states about it."""

    path: Path
    submitted_identity: SubmittedIdentity


@dataclass
class ImportSummary:
    """Outcomes of the files.

    Attributes:
        counts: By outcome; `skipped` was imported before, `decided` was in conflict
            until a person decided, `postponed` met a temporary fault.
        troubles: (path, reason) of every file that was not accepted.
    """

    counts: Counter[str] = field(default_factory=Counter)
    troubles: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, path: Path, outcome: str, reason: str = "") -> None:
        """Count one file."""
        self.counts[outcome] += 1
        if outcome not in _ACCEPTED:
            self.troubles.append((path, reason))


def read_manifest(manifest: Path, *, folder: Path) -> dict[Path, SubmittedIdentity]:
    """Read a CSV file with a column `path` and columns of the submitted identity.

    Args:
        manifest: UTF-8 with a line of column names; other columns are not read.
        folder: Paths are relative to it, or to the manifest's own folder.

    Raises:
        InvalidInput: There is no column `path`, a file is listed twice, or a value is
            not valid; the message names the line.
    """
    by_path: dict[Path, SubmittedIdentity] = {}
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            if PATH_COLUMN not in (reader.fieldnames or ()):
                raise InvalidInput(
                    _("%(manifest)s has no column named '%(column)s'."),
                    params={"manifest": str(manifest), "column": PATH_COLUMN},
                    reason_code="invalid_manifest",
                )
            _refuse_repeated_columns(reader.fieldnames or (), manifest)
            for row in reader:
                submitted_identity = _submitted_identity(
                    row, line=reader.line_num, manifest=manifest
                )
                for path in _candidates(row[PATH_COLUMN] or "", manifest, folder):
                    if path in by_path:
                        raise InvalidInput(
                            _("%(manifest)s, line %(line)d: %(path)s is listed twice."),
                            params={
                                "manifest": str(manifest),
                                "line": reader.line_num,
                                "path": str(path),
                            },
                            reason_code="invalid_manifest",
                        )
                    by_path[path] = submitted_identity
    except (ValueError, csv.Error) as error:
        raise InvalidInput(
            _("%(manifest)s is not a CSV file in UTF-8: %(detail)s."),
            params={"manifest": str(manifest), "detail": str(error)},
            reason_code="invalid_manifest",
        ) from error
    return by_path


def _refuse_repeated_columns(columns: Sequence[str], manifest: Path) -> None:
    for column in (PATH_COLUMN, *IDENTITY_COLUMNS):
        if list(columns).count(column) > 1:
            raise InvalidInput(
                _("%(manifest)s has two columns named '%(column)s'. Keep one."),
                params={"manifest": str(manifest), "column": column},
                reason_code="invalid_manifest",
            )


def import_files(
    files: list[FileToImport],
    *,
    actor: User | None,
    department: Department | None,
    summary: ImportSummary,
) -> Iterator[Path]:
    """Import the files, one transaction each, and yield each path when it is done.

    Args:
        files: In the order to import.
        actor: Who imports; None for the system.
        department: Of new studies; None for the actor's.
        summary: Updated after each file.
    """
    for file in files:
        _import_file(file, actor=actor, department=department, summary=summary)
        yield file.path


def _import_file(
    file: FileToImport,
    *,
    actor: User | None,
    department: Department | None,
    summary: ImportSummary,
) -> None:
    try:
        with file.path.open("rb") as content:
            receipt = receipt_of(content)
            earlier = _earlier_import(receipt.sha256, file.submitted_identity)
            if earlier is not None:
                summary.add(file.path, *_said_again(earlier))
                return
            result = _ingest_with_retries(
                content, file, actor=actor, department=department
            )
    except Unavailable as fault:
        summary.add(file.path, POSTPONED, fault.message)
    except OSError as error:
        summary.add(file.path, POSTPONED, cannot_be_read(error))
    else:
        summary.add(file.path, result.outcome, result.reason)


def _ingest_with_retries(
    content: IO[bytes],
    file: FileToImport,
    *,
    actor: User | None,
    department: Department | None,
) -> IngestResult:
    """Import one file; after a temporary fault try again, up to TRIES times."""
    attempt = 1
    while True:
        try:
            return ingest_instance(
                content,
                name=file.path.name,
                source=Upload.Source.FOLDER,
                actor=actor,
                submitted_identity=file.submitted_identity,
                department=department,
            )
        except Unavailable as fault:
            if attempt == TRIES:
                raise
            attempt += 1
            time.sleep(fault.retry_after)


def _earlier_import(
    sha256: str, submitted_identity: SubmittedIdentity
) -> Upload | None:
    """Return how the same file with the same identity was settled, if it was.

    An open conflict comes first: it stays one until a person decides.
    """
    if not sha256:
        return None
    settled = Upload.objects.filter(
        sha256=sha256,
        source=Upload.Source.FOLDER,
        outcome__in=_SETTLED,
        submitted_identity=submitted_identity.as_json(),
    )
    is_open = Q(outcome=Upload.Outcome.CONFLICT, resolution="")
    return settled.filter(is_open).first() or settled.first()


def _said_again(earlier: Upload) -> tuple[str, str]:
    """Return the outcome and reason of a file that was settled before."""
    if earlier.outcome != Upload.Outcome.CONFLICT:
        return SKIPPED, ""
    if earlier.resolution:
        return DECIDED, ""
    reason = gettext("%(reason)s An administrator has not decided yet.")
    return Upload.Outcome.CONFLICT, reason % {"reason": earlier.reason_text}


def _submitted_identity(
    row: Mapping[str, str | None], *, line: int, manifest: Path
) -> SubmittedIdentity:
    try:
        return checked(
            SubmittedIdentity(
                **{name: row.get(name) or "" for name in IDENTITY_COLUMNS}
            )
        )
    except InvalidInput as error:
        raise InvalidInput(
            _("%(manifest)s, line %(line)d: %(problem)s"),
            params={
                "manifest": str(manifest),
                "line": line,
                "problem": error.message,
            },
            reason_code="invalid_manifest",
        ) from error


def _candidates(path: str, manifest: Path, folder: Path) -> set[Path]:
    """Return the files that a path of the manifest may mean."""
    return {(base / path).resolve() for base in (folder, manifest.parent)}
