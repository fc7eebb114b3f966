"""Files that contradict the record: kept in quarantine until a person decides.

Resolving them is `patients.resolutions`.
"""

from enum import StrEnum

from accounts.errors import Conflict
from patients.models import Instance


class ConflictReason(StrEnum):
    """Why a file is not taken into the record as it is."""

    HEADER = "conflict_header"
    PIXELS = "conflict_pixels"
    PATIENT = "conflict_patient"
    STUDY = "conflict_study"
    ACCESSION = "conflict_accession"


class Conflicting(Conflict):
    """A file contradicts the record, and a person has to decide which of them is right.

    Args:
        reason_code: What contradicts.
        message: A sentence for the sender, without anything of the stored object.
        conflicts_with: The stored object, or one of the stored study.
    """

    def __init__(
        self,
        reason_code: ConflictReason,
        message: str,
        *,
        conflicts_with: Instance | None,
    ) -> None:
        super().__init__(message, reason_code=reason_code)
        self.conflicts_with = conflicts_with
