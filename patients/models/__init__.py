"""Database tables: patients, studies, series, instances and uploads."""

from patients.models.correction import PatientCorrection
from patients.models.discrepancy import FlagReconciliation, IdentityDiscrepancy
from patients.models.instance import (
    SHA256_HEX,
    Instance,
    InstanceQuerySet,
    Origin,
    PixelSpacingKind,
    Series,
    SeriesQuerySet,
)
from patients.models.search_text import SearchText
from patients.models.study import (
    MARK_LENGTH,
    Patient,
    PatientAssignment,
    PatientQuerySet,
    Priority,
    Sex,
    Study,
    StudyFlag,
    StudyQuerySet,
    unidentified_name,
)
from patients.models.upload import Upload, UploadQuerySet

__all__ = [
    "MARK_LENGTH",
    "SHA256_HEX",
    "FlagReconciliation",
    "IdentityDiscrepancy",
    "Instance",
    "InstanceQuerySet",
    "Origin",
    "Patient",
    "PatientAssignment",
    "PatientCorrection",
    "PatientQuerySet",
    "PixelSpacingKind",
    "Priority",
    "SearchText",
    "Series",
    "SeriesQuerySet",
    "Sex",
    "Study",
    "StudyFlag",
    "StudyQuerySet",
    "Upload",
    "UploadQuerySet",
    "unidentified_name",
]
