"""The archive: patients, studies, series, instances and uploads.

It does not know the models of `diagnoses`. Keys are UUIDs of ChestX; `…_uid` are of
DICOM. The database enforces the constraints too.
"""

from patients.models.instance import (
    SHA256_HEX,
    Instance,
    InstanceQuerySet,
    Origin,
    PixelSpacingKind,
    Series,
    SeriesQuerySet,
)
from patients.models.study import (
    Patient,
    PatientAssignment,
    PatientQuerySet,
    Priority,
    Sex,
    Study,
    StudyFlag,
    StudyQuerySet,
)
from patients.models.upload import Upload, UploadQuerySet

__all__ = [
    "SHA256_HEX",
    "Instance",
    "InstanceQuerySet",
    "Origin",
    "Patient",
    "PatientAssignment",
    "PatientQuerySet",
    "PixelSpacingKind",
    "Priority",
    "Series",
    "SeriesQuerySet",
    "Sex",
    "Study",
    "StudyFlag",
    "StudyQuerySet",
    "Upload",
    "UploadQuerySet",
]
