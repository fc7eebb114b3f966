"""The archive: patients, studies, series, instances, and every file that was ever sent.

It knows nothing of models. Keys are UUIDs of ours; `…_uid` are DICOM's.
Constraints stand in the database, not only here.
"""

import uuid
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.access import DepartmentQuerySet
from accounts.models import Department, User

SHA256_HEX = r"^[0-9a-f]{64}$"


class Priority(models.IntegerChoices):
    """How soon a study is to be read; higher comes first."""

    ROUTINE = 0, "routine"
    URGENT = 1, "urgent"
    STAT = 2, "stat"


class Sex(models.TextChoices):
    """Patient's Sex (0010,0040)."""

    MALE = "M", "M"
    FEMALE = "F", "F"
    OTHER = "O", "O"


class StudyFlag(models.TextChoices):
    """What a person should look at before trusting a study; shown until reconciled."""

    DEMOGRAPHICS_MISMATCH = (
        "demographics_mismatch",
        "Name or birth date differs from the record",
    )
    ACCESSION_SHARED = (
        "accession_shared",
        "Another study of this patient has this accession number",
    )
    SAME_PIXELS_OTHER_PATIENT = (
        "same_pixels_other_patient",
        "The same picture stands under another patient",
    )


class PatientQuerySet(models.QuerySet["Patient"]):
    def visible_to(self, user: User) -> Self:
        """Patients with at least one study that the user may see (Exists: no join, no duplicates)."""
        studies = Study.objects.visible_to(user).filter(patient=models.OuterRef("pk"))
        return self.filter(models.Exists(studies))


class Patient(models.Model):
    """A person as (patient_id, issuer). Without a patient_id: one unidentified person per study."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    patient_id = models.CharField(
        max_length=64, null=True, blank=True, help_text="MRN; empty while unidentified."
    )
    issuer = models.CharField(
        max_length=64, help_text="Issuer of Patient ID (0010,0021)."
    )
    family_name = models.CharField(max_length=128, blank=True)
    given_name = models.CharField(max_length=128, blank=True)
    middle_name = models.CharField(max_length=128, blank=True)
    name_prefix = models.CharField(max_length=64, blank=True)
    name_suffix = models.CharField(max_length=64, blank=True)
    ideographic_name = models.CharField(max_length=324, blank=True)
    phonetic_name = models.CharField(max_length=324, blank=True)
    name_folded = models.CharField(
        max_length=1024,
        blank=True,
        editable=False,
        help_text="For search: `patients.names.fold`.",
    )
    birth_date = models.DateField(null=True, blank=True)
    sex = models.CharField(max_length=1, choices=Sex, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = PatientQuerySet.as_manager()

    class Meta:
        ordering = ("name_folded", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("patient_id", "issuer"), name="patient_identifier_unique"
            ),
            models.CheckConstraint(
                condition=~Q(patient_id=""), name="patient_id_not_empty"
            ),
            models.CheckConstraint(
                condition=Q(sex__in=("", *Sex.values)), name="patient_sex_known"
            ),
        )
        indexes = (
            models.Index(
                fields=("patient_id",),
                name="patient_id_prefix",
                opclasses=("text_pattern_ops",),
            ),
            models.Index(fields=("name_folded", "id"), name="patient_by_name"),
        )

    @property
    def identified(self) -> bool:
        """Whether the hospital's identifier is known."""
        return self.patient_id is not None

    @property
    def display_name(self) -> str:
        """`FAMILY, Given`; an unidentified patient by a short mark of the key."""
        name = ", ".join(p for p in (self.family_name.upper(), self.given_name) if p)
        return name or (self.patient_id or f"Unidentified {str(self.id)[:4].upper()}")

    def __str__(self) -> str:
        return self.display_name


class StudyQuerySet(DepartmentQuerySet["Study"]):
    department_path = "department"


class Study(models.Model):
    """One examination. `received_*` is the identity that it came with, kept through assignments."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    patient = models.ForeignKey(
        Patient, on_delete=models.PROTECT, related_name="studies"
    )
    study_instance_uid = models.CharField(max_length=64, unique=True)
    received_patient_id = models.CharField(max_length=64, null=True, blank=True)
    received_issuer = models.CharField(max_length=64, blank=True)
    accession_number = models.CharField(max_length=64, blank=True)
    accession_issuer = models.CharField(max_length=64, blank=True)
    study_date = models.DateField(null=True, blank=True)
    study_time = models.TimeField(null=True, blank=True)
    timezone_offset = models.CharField(
        max_length=5, blank=True, help_text="(0008,0201), as sent: &HHMM."
    )
    description = models.CharField(max_length=256, blank=True)
    referring_physician = models.CharField(max_length=324, blank=True)
    priority = models.PositiveSmallIntegerField(
        choices=Priority, default=Priority.ROUTINE
    )
    department = models.ForeignKey(
        Department, on_delete=models.PROTECT, related_name="studies"
    )
    flags = ArrayField(
        models.CharField(max_length=32, choices=StudyFlag), default=list, blank=True
    )
    received_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = StudyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "studies"
        ordering = ("-received_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=Q(priority__in=Priority.values), name="study_priority_known"
            ),
            models.CheckConstraint(
                condition=~Q(study_instance_uid=""), name="study_instance_uid_not_empty"
            ),
        )
        indexes = (
            models.Index(fields=("-received_at", "-id"), name="study_newest"),
            models.Index(
                fields=("-priority", "-received_at", "-id"), name="study_by_priority"
            ),
            models.Index(fields=("patient", "-received_at"), name="study_of_patient"),
            models.Index(
                fields=("department", "-received_at", "-id"), name="study_of_department"
            ),
            models.Index(
                fields=("accession_number",),
                name="study_accession_prefix",
                opclasses=("text_pattern_ops",),
            ),
        )

    def __str__(self) -> str:
        return self.description or self.study_instance_uid


class PatientAssignment(models.Model):
    """A person moved a study from one patient to another; kept so that it can be undone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    study = models.ForeignKey(
        Study, on_delete=models.PROTECT, related_name="assignments"
    )
    from_patient = models.ForeignKey(
        Patient, on_delete=models.PROTECT, related_name="+"
    )
    to_patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="+")
    assigned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    assigned_at = models.DateTimeField(db_default=Now(), editable=False)
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-assigned_at",)
        constraints = (
            models.CheckConstraint(
                condition=~Q(from_patient=F("to_patient")),
                name="assignment_changes_patient",
            ),
            models.CheckConstraint(
                condition=Q(undone_by__isnull=True, undone_at__isnull=True)
                | Q(undone_by__isnull=False, undone_at__isnull=False),
                name="assignment_undone_by_somebody",
            ),
        )

    def __str__(self) -> str:
        return f"{self.study_id}: {self.from_patient_id} → {self.to_patient_id}"


class SeriesQuerySet(DepartmentQuerySet["Series"]):
    department_path = "study__department"


class Series(models.Model):
    """Images of one study made by one machine in one way."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="series")
    series_instance_uid = models.CharField(max_length=64, unique=True)
    modality = models.CharField(max_length=16, blank=True)
    body_part_examined = models.CharField(max_length=64, blank=True)
    view_position = models.CharField(max_length=16, blank=True)
    laterality = models.CharField(max_length=16, blank=True)
    description = models.CharField(max_length=256, blank=True)
    series_number = models.IntegerField(null=True, blank=True)

    objects = SeriesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "series"
        ordering = ("study", "series_number", "id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(series_instance_uid=""),
                name="series_instance_uid_not_empty",
            ),
        )

    def __str__(self) -> str:
        return self.description or f"{self.modality} {self.series_number or ''}".strip()


class PixelSpacingKind(models.TextChoices):
    """Which attribute the spacing came from: only the first measures the patient (PS3.3 10.7.1)."""

    PATIENT = "patient", "Pixel Spacing (0028,0030)"
    IMAGER = "imager", "Imager Pixel Spacing (0018,1164), at the detector"
    NOMINAL = "nominal", "Nominal Scanned Pixel Spacing (0018,2010)"


class Origin(models.TextChoices):
    """Who made the object."""

    RECEIVED = "received"
    OURS = "ours"


class InstanceQuerySet(DepartmentQuerySet["Instance"]):
    department_path = "series__study__department"


class Instance(models.Model):
    """One stored DICOM object. Its bytes stand in the storage under `object_sha256`, never changed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    series = models.ForeignKey(
        Series, on_delete=models.PROTECT, related_name="instances"
    )
    sop_instance_uid = models.CharField(max_length=64, unique=True)
    sop_class_uid = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    instance_number = models.IntegerField(null=True, blank=True)
    view_position = models.CharField(max_length=16, blank=True)
    rows = models.PositiveIntegerField(null=True, blank=True)
    columns = models.PositiveIntegerField(null=True, blank=True)
    frames = models.PositiveIntegerField(null=True, blank=True)
    bits_stored = models.PositiveSmallIntegerField(null=True, blank=True)
    photometric_interpretation = models.CharField(max_length=16, blank=True)
    pixel_spacing_row_mm = models.FloatField(null=True, blank=True)
    pixel_spacing_column_mm = models.FloatField(null=True, blank=True)
    pixel_spacing_kind = models.CharField(
        max_length=8, choices=PixelSpacingKind, blank=True
    )
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.RECEIVED)
    synthetic = models.BooleanField(
        default=False, help_text="Drawn by the demo, not a patient."
    )
    picture = models.BooleanField(
        default=False, help_text="Came as PNG, JPEG, TIFF or BMP and was wrapped here."
    )
    lossy = models.BooleanField(
        default=False, help_text="Lossy-compressed at some time."
    )
    colour = models.BooleanField(
        null=True,
        blank=True,
        help_text="Its channels really differ; empty: not decoded.",
    )
    size_bytes = models.PositiveBigIntegerField()
    object_sha256 = models.CharField(max_length=64, db_index=True)
    dataset_sha256 = models.CharField(max_length=64)
    header_sha256 = models.CharField(max_length=64)
    pixel_sha256 = models.CharField(max_length=64, null=True, blank=True, db_index=True)
    hash_rule = models.PositiveSmallIntegerField(
        help_text="Version of the rule of the hashes."
    )
    header = models.JSONField(
        help_text="DICOM JSON model (PS3.18 F); binary values by length."
    )
    received_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        ordering = ("series", "instance_number", "id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(sop_instance_uid=""), name="sop_instance_uid_not_empty"
            ),
            models.CheckConstraint(
                condition=Q(origin__in=Origin.values), name="instance_origin_known"
            ),
            models.CheckConstraint(
                condition=Q(object_sha256__regex=SHA256_HEX)
                & Q(dataset_sha256__regex=SHA256_HEX)
                & Q(header_sha256__regex=SHA256_HEX)
                & (Q(pixel_sha256__isnull=True) | Q(pixel_sha256__regex=SHA256_HEX)),
                name="instance_hashes_are_sha256",
            ),
            models.CheckConstraint(
                condition=Q(
                    pixel_spacing_kind="",
                    pixel_spacing_row_mm__isnull=True,
                    pixel_spacing_column_mm__isnull=True,
                )
                | Q(
                    pixel_spacing_kind__in=PixelSpacingKind.values,
                    pixel_spacing_row_mm__gt=0,
                    pixel_spacing_column_mm__gt=0,
                ),
                name="instance_pixel_spacing_whole",
            ),
        )

    def __str__(self) -> str:
        return self.sop_instance_uid


class UploadQuerySet(DepartmentQuerySet["Upload"]):
    department_path = "department"

    def visible_to(self, user: User) -> Self:
        """What the user sent, and what the user's departments received (conflicts: sender and admins)."""
        seen = super().visible_to(user).exclude(outcome=Upload.Outcome.CONFLICT)
        everything = self.filter(pk__in=seen.values("pk")) | self.filter(user=user)
        return super().visible_to(user) if user.role == "admin" else everything


class Upload(models.Model):
    """One file that somebody sent, and what became of it; kept for refused files too."""

    class Door(models.TextChoices):
        WEB = "web"
        REST = "rest"
        FOLDER = "folder"
        DEMO = "demo"
        STOW = "stow"
        CSTORE = "cstore"

    class Outcome(models.TextChoices):
        STORED = "stored"
        DUPLICATE = "duplicate"
        CONFLICT = "conflict"
        REFUSED = "refused"

    class Resolution(models.TextChoices):
        KEPT_STORED = (
            "kept_stored",
            "The stored object stands; the copy stays in quarantine",
        )
        DISCARDED = "discarded", "The quarantined copy was deleted"
        INGESTED = "ingested", "Sent again after the record was corrected, and stored"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
    )
    door = models.CharField(max_length=8, choices=Door)
    original_name = models.CharField(max_length=255, blank=True)
    sha256 = models.CharField(
        max_length=64,
        blank=True,
        db_index=True,
        help_text="Of the bytes as sent; empty: not all came.",
    )
    size_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=9, choices=Outcome)
    reason_code = models.CharField(max_length=48, blank=True)
    reason = models.TextField(blank=True)
    instance = models.ForeignKey(
        Instance,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
        blank=True,
    )
    department = models.ForeignKey(
        Department,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
        blank=True,
    )
    conflicts_with = models.ForeignKey(
        Instance,
        on_delete=models.PROTECT,
        related_name="conflicting_uploads",
        null=True,
        blank=True,
    )
    claims = models.JSONField(
        default=dict,
        blank=True,
        help_text="What the form or manifest said, for a later resolution.",
    )
    resolution = models.CharField(max_length=11, choices=Resolution, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = UploadQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=Q(outcome__in=("stored", "duplicate"), instance__isnull=False)
                | Q(outcome__in=("conflict", "refused"), instance__isnull=True),
                name="upload_instance_where_kept",
            ),
            models.CheckConstraint(
                condition=Q(outcome="stored")
                | Q(outcome="duplicate")
                | ~Q(reason_code=""),
                name="upload_refused_for_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(
                    resolution="", resolved_by__isnull=True, resolved_at__isnull=True
                )
                | Q(
                    outcome="conflict",
                    resolved_by__isnull=False,
                    resolved_at__isnull=False,
                ),
                name="upload_resolved_by_somebody",
            ),
        )
        indexes = (
            models.Index(fields=("-created_at", "-id"), name="upload_newest"),
            models.Index(
                fields=("-created_at",),
                name="upload_open_conflicts",
                condition=Q(outcome="conflict", resolution=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.original_name or 'nameless'}: {self.outcome}"
