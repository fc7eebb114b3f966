"""Patients, their studies, and assignments of studies to patients."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility, VisibleQuerySet
from accounts.models import Department


class Priority(models.IntegerChoices):
    """How soon a study is to be read; higher values come first."""

    ROUTINE = 0, _("routine")
    URGENT = 1, _("urgent")
    STAT = 2, _("stat")


class Sex(models.TextChoices):
    """Patient's Sex (0010,0040)."""

    MALE = "M", _("M")
    FEMALE = "F", _("F")
    OTHER = "O", _("O")


class StudyFlag(models.TextChoices):
    """What a person must check on a study; shown until it is reconciled."""

    DEMOGRAPHICS_MISMATCH = (
        "demographics_mismatch",
        _("Name, date of birth or sex differs from the record"),
    )
    ACCESSION_SHARED = (
        "accession_shared",
        _("Another study of this patient has the same accession number"),
    )
    CHARACTER_SET_UNCERTAIN = (
        "character_set_uncertain",
        _("The name has no valid character set: check how it is written"),
    )
    IDENTITY_TO_CONFIRM = (
        "identity_to_confirm",
        _("The patient that the sender named is not confirmed"),
    )
    SAME_PIXELS_OTHER_PATIENT = (
        "same_pixels_other_patient",
        _("The same image is stored under another patient"),
    )


# Of an unidentified patient's key, to tell one from another.
MARK_LENGTH = 4


def unidentified_name(mark: str) -> str:
    """Return what is shown as the name of a patient without name and identifier."""
    return gettext("Unidentified %(mark)s") % {"mark": mark}


class PatientQuerySet(VisibleQuerySet["Patient"]):
    """Patients."""


class Patient(models.Model):
    """A person as (patient_id, issuer).

    Without a patient_id: one unidentified person per study.
    """

    visibility = Visibility(Action.READ_PATIENTS, through="studies")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    # Null, not "": of unidentified patients there are many, and the pair is unique.
    patient_id = models.CharField(  # noqa: DJ001
        max_length=64,
        null=True,
        blank=True,
        help_text=_("Medical record number. Empty while the patient is unidentified."),
        verbose_name=_("patient ID"),
    )
    issuer = models.CharField(
        max_length=64,
        help_text=_("Issuer of Patient ID (0010,0021)."),
        verbose_name=_("issuer"),
    )
    family_name = models.CharField(
        max_length=128, blank=True, verbose_name=_("family name")
    )
    given_name = models.CharField(
        max_length=128, blank=True, verbose_name=_("given name")
    )
    middle_name = models.CharField(
        max_length=128, blank=True, verbose_name=_("middle name")
    )
    name_prefix = models.CharField(
        max_length=64, blank=True, verbose_name=_("name prefix")
    )
    name_suffix = models.CharField(
        max_length=64, blank=True, verbose_name=_("name suffix")
    )
    ideographic_name = models.CharField(
        max_length=324, blank=True, verbose_name=_("ideographic name")
    )
    phonetic_name = models.CharField(
        max_length=324, blank=True, verbose_name=_("phonetic name")
    )
    name_folded = models.CharField(
        max_length=1024,
        blank=True,
        editable=False,
        help_text=_("The name as it is searched."),
        verbose_name=_("name for search"),
    )
    birth_date = models.DateField(
        null=True, blank=True, verbose_name=_("date of birth")
    )
    sex = models.CharField(max_length=1, choices=Sex, blank=True, verbose_name=_("sex"))
    created_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("created at")
    )

    objects = PatientQuerySet.as_manager()

    class Meta:
        verbose_name = _("patient")
        verbose_name_plural = _("patients")
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
            # Each order and each filter of the lists.
            models.Index(fields=("patient_id", "id"), name="patient_by_identifier"),
            models.Index(fields=("birth_date", "id"), name="patient_by_birth_date"),
            models.Index(fields=("created_at", "id"), name="patient_by_creation"),
            models.Index(
                fields=("issuer", "name_folded", "id"), name="patient_of_issuer"
            ),
            models.Index(fields=("sex", "name_folded", "id"), name="patient_of_sex"),
            models.Index(
                fields=("name_folded", "id"),
                name="patient_unidentified",
                condition=Q(patient_id__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return self.display_name

    @property
    def identified(self) -> bool:
        """Whether the hospital's identifier is known."""
        return self.patient_id is not None

    @property
    def display_name(self) -> str:
        """`FAMILY, Given`, else an ideographic or phonetic name, else an identifier."""
        name = ", ".join(p for p in (self.family_name.upper(), self.given_name) if p)
        shown = name or self.ideographic_name or self.phonetic_name or self.patient_id
        if shown:
            return shown
        return unidentified_name(str(self.id)[:MARK_LENGTH].upper())


class StudyQuerySet(VisibleQuerySet["Study"]):
    """Studies."""


class Study(models.Model):
    """One examination.

    `received_*` is the identity of the first image, kept through assignments.
    """

    visibility = Visibility(Action.READ_PATIENTS, department="department")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    patient = models.ForeignKey(
        Patient,
        on_delete=models.PROTECT,
        related_name="studies",
        db_index=False,
        verbose_name=_("patient"),
    )
    study_instance_uid = models.CharField(
        max_length=64, unique=True, verbose_name=_("Study Instance UID")
    )
    # Null: it came without one.
    received_patient_id = models.CharField(  # noqa: DJ001
        max_length=64, null=True, blank=True, verbose_name=_("received patient ID")
    )
    received_issuer = models.CharField(
        max_length=64, blank=True, verbose_name=_("received issuer")
    )
    received_name = models.CharField(
        max_length=1024,
        blank=True,
        help_text=_("In its DICOM form, with its groups."),
        verbose_name=_("received name"),
    )
    received_birth_date = models.DateField(
        null=True, blank=True, verbose_name=_("received date of birth")
    )
    received_sex = models.CharField(
        max_length=1, choices=Sex, blank=True, verbose_name=_("received sex")
    )
    accession_number = models.CharField(
        max_length=64, blank=True, verbose_name=_("accession number")
    )
    accession_issuer = models.CharField(
        max_length=64, blank=True, verbose_name=_("accession issuer")
    )
    study_date = models.DateField(null=True, blank=True, verbose_name=_("study date"))
    study_time = models.TimeField(null=True, blank=True, verbose_name=_("study time"))
    timezone_offset = models.CharField(
        max_length=5,
        blank=True,
        help_text=_("(0008,0201) as sent: +HHMM or -HHMM."),
        verbose_name=_("time zone offset"),
    )
    description = models.CharField(
        max_length=256, blank=True, verbose_name=_("description")
    )
    referring_physician = models.CharField(
        max_length=324, blank=True, verbose_name=_("referring physician")
    )
    priority = models.PositiveSmallIntegerField(
        choices=Priority, default=Priority.ROUTINE, verbose_name=_("priority")
    )
    department = models.ForeignKey(
        Department,
        on_delete=models.PROTECT,
        related_name="studies",
        db_index=False,
        verbose_name=_("department"),
    )
    flags = ArrayField(
        models.CharField(max_length=32, choices=StudyFlag),
        default=list,
        blank=True,
        verbose_name=_("flags"),
    )
    received_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("received at")
    )

    objects = StudyQuerySet.as_manager()

    class Meta:
        verbose_name = _("study")
        verbose_name_plural = _("studies")
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
            models.Index(fields=("department", "id"), name="study_in_department"),
            models.Index(fields=("patient", "department"), name="study_of_patient_in"),
            # Each order and each filter of the lists.
            models.Index(fields=("accession_number", "id"), name="study_by_accession"),
            models.Index(fields=("study_date", "id"), name="study_by_date"),
            models.Index(
                fields=("study_date", "-received_at", "-id"), name="study_of_date"
            ),
            *(
                models.Index(
                    fields=("-received_at", "-id"),
                    name=f"flag_{flag}",
                    condition=Q(flags__contains=[flag]),
                )
                for flag in (
                    "demographics_mismatch",
                    "accession_shared",
                    "character_set_uncertain",
                    "identity_to_confirm",
                    "same_pixels_other_patient",
                )
            ),
        )

    def __str__(self) -> str:
        return self.description or self.study_instance_uid


class PatientAssignment(models.Model):
    """The move of a study to another patient, kept so that it can be undone."""

    visibility = Visibility(Action.READ_PATIENTS, department="study__department")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    study = models.ForeignKey(
        Study,
        on_delete=models.PROTECT,
        related_name="assignments",
        verbose_name=_("study"),
    )
    from_patient = models.ForeignKey(
        Patient,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("from patient"),
    )
    to_patient = models.ForeignKey(
        Patient,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("to patient"),
    )
    assigned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("assigned by"),
    )
    assigned_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("assigned at")
    )
    reason = models.CharField(
        max_length=1000,
        blank=True,
        help_text=_("Empty in assignments of earlier versions only."),
        verbose_name=_("reason"),
    )
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("undone by"),
    )
    undone_at = models.DateTimeField(null=True, blank=True, verbose_name=_("undone at"))

    class Meta:
        verbose_name = _("patient assignment")
        verbose_name_plural = _("patient assignments")
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
