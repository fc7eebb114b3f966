"""Whose images they are, and which examination they belong to."""

import uuid
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.access import DepartmentQuerySet
from accounts.models import Department, User


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
        """Patients with at least one study that the user may see."""
        studies = Study.objects.visible_to(user).filter(patient=models.OuterRef("pk"))
        return self.filter(models.Exists(studies))


class Patient(models.Model):
    """A person as (patient_id, issuer).

    Without a patient_id: one unidentified person per study.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Null, not "": of unidentified patients there are many, and the pair is unique.
    patient_id = models.CharField(  # noqa: DJ001
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
        help_text="For search: `patients.identity.names.fold`.",
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

    def __str__(self) -> str:
        return self.display_name

    @property
    def identified(self) -> bool:
        """Whether the hospital's identifier is known."""
        return self.patient_id is not None

    @property
    def display_name(self) -> str:
        """`FAMILY, Given`; an unidentified patient by a short mark of the key."""
        name = ", ".join(p for p in (self.family_name.upper(), self.given_name) if p)
        return name or (self.patient_id or f"Unidentified {str(self.id)[:4].upper()}")


class StudyQuerySet(DepartmentQuerySet["Study"]):
    department_path = "department"


class Study(models.Model):
    """One examination.

    `received_*` is the identity that it came with, kept through assignments.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    patient = models.ForeignKey(
        Patient, on_delete=models.PROTECT, related_name="studies"
    )
    study_instance_uid = models.CharField(max_length=64, unique=True)
    # Null: it came without one.
    received_patient_id = models.CharField(  # noqa: DJ001
        max_length=64, null=True, blank=True
    )
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
    """A person moved a study to another patient; kept so that it can be undone."""

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
