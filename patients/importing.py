"""A folder of files, taken in one by one: the folder source.

It can be stopped and started again at any time: what was taken in before, with the
same claims, is not sent twice.
"""

import csv
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from accounts.errors import InvalidInput, Unavailable
from accounts.models import Department, User
from patients.identity.submitted import SubmittedIdentity, checked
from patients.incoming import receipt_of
from patients.ingest import IngestResult, ingest_instance
from patients.models import Upload

PATH_COLUMN = "path"
CLAIM_COLUMNS = tuple(SubmittedIdentity.__dataclass_fields__)
TRIES = 3
# The index that DICOM media carry: it names images and is none (PS3.10 8.6).
NOT_IMAGES = frozenset({"DICOMDIR"})
SKIPPED = "skipped"
POSTPONED = "postponed"
_SETTLED = (
    Upload.Outcome.STORED,
    Upload.Outcome.DUPLICATE,
    Upload.Outcome.CONFLICT,
)


@dataclass(frozen=True)
class FileToImport:
    """One file, and what the manifest says about it."""

    path: Path
    submitted_identity: SubmittedIdentity


@dataclass
class ImportSummary:
    """What became of the files.

    Attributes:
        counts: How many by outcome; `skipped` came in before, `postponed` met a
            passing fault of ours.
        troubles: (path, reason) of every file that was not taken.
    """

    counts: Counter[str] = field(default_factory=Counter)
    troubles: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, path: Path, outcome: str, reason: str = "") -> None:
        """Count one file."""
        self.counts[outcome] += 1
        if outcome not in (SKIPPED, Upload.Outcome.STORED, Upload.Outcome.DUPLICATE):
            self.troubles.append((path, reason))


def files_below(folder: Path, *, manifest: Path | None = None) -> list[Path]:
    """Return the files of a folder and its folders in one order; no hidden ones."""
    left_out = manifest.resolve() if manifest else None
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in NOT_IMAGES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.resolve() != left_out
    )


def read_manifest(manifest: Path, *, folder: Path) -> dict[Path, SubmittedIdentity]:
    """Read what a CSV file says about files: a column `path`, and any of the claims'.

    Args:
        manifest: UTF-8 with a line of column names; other columns are not read.
        folder: Paths are relative to it, or to the manifest's own folder.

    Raises:
        InvalidInput: There is no column `path`, a file is named twice, or a value is
            not acceptable; the line is named.
    """
    said: dict[Path, SubmittedIdentity] = {}
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            if PATH_COLUMN not in (reader.fieldnames or ()):
                raise InvalidInput(
                    f"{manifest} has no column named '{PATH_COLUMN}'.",
                    reason_code="invalid_manifest",
                )
            for row in reader:
                submitted_identity = _submitted_identity(
                    row, line=reader.line_num, manifest=manifest
                )
                for path in _meant(row[PATH_COLUMN] or "", manifest, folder):
                    if path in said:
                        raise InvalidInput(
                            f"{manifest}, line {reader.line_num}: {path} comes twice.",
                            reason_code="invalid_manifest",
                        )
                    said[path] = submitted_identity
    except (ValueError, csv.Error) as error:
        raise InvalidInput(
            f"{manifest} is not CSV in UTF-8: {error}.", reason_code="invalid_manifest"
        ) from error
    return said


def import_files(
    files: list[FileToImport],
    *,
    actor: User | None,
    department: Department | None,
    summary: ImportSummary,
) -> Iterator[Path]:
    """Take the files in, one transaction each, and yield each path when it is settled.

    Args:
        files: In the order to take.
        actor: Who imports; None for the system.
        department: Of new studies; None for the actor's.
        summary: Is filled on the way.
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
            if receipt.sha256 and _came_in_before(
                receipt.sha256, file.submitted_identity
            ):
                summary.add(file.path, SKIPPED)
                return
            result = _patiently(content, file, actor=actor, department=department)
    except Unavailable as fault:
        summary.add(file.path, POSTPONED, fault.message)
    except OSError as error:
        summary.add(file.path, POSTPONED, f"It cannot be read: {error.strerror}.")
    else:
        summary.add(file.path, result.outcome, result.reason)


def _patiently(
    content: BinaryIO,
    file: FileToImport,
    *,
    actor: User | None,
    department: Department | None,
) -> IngestResult:
    """Take one file in; a passing fault is waited for, but not for ever."""
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


def _came_in_before(sha256: str, submitted_identity: SubmittedIdentity) -> bool:
    return Upload.objects.filter(
        sha256=sha256,
        source=Upload.Source.FOLDER,
        outcome__in=_SETTLED,
        submitted_identity=submitted_identity.as_json(),
    ).exists()


def _submitted_identity(
    row: Mapping[str, str | None], *, line: int, manifest: Path
) -> SubmittedIdentity:
    try:
        return checked(
            SubmittedIdentity(**{name: row.get(name) or "" for name in CLAIM_COLUMNS})
        )
    except InvalidInput as error:
        raise InvalidInput(
            f"{manifest}, line {line}: {error.message}", reason_code="invalid_manifest"
        ) from error


def _meant(path: str, manifest: Path, folder: Path) -> set[Path]:
    """Return which files a path of the manifest may mean."""
    return {(base / path).resolve() for base in (folder, manifest.parent)}
