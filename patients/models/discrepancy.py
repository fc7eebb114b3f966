"""Differences between what images state about a patient and the record."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility
from patients.models.study import Patient, Study, StudyFlag


class IdentityDiscrepancy(models.Model):
    """One value that an image of a study states, and the record has another.

    A row stays until both agree or a person reconciles the flag of the study.
    """

    class Attribute(models.TextChoices):
        PATIENT_NAME = "patient_name", _("Name")
        BIRTH_DATE = "birth_date", _("Date of birth")
        SEX = "sex", _("Sex")

    visibility = Visibility(Action.READ_PATIENTS, department="study__department")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    study = models.ForeignKey(
        Study,
        on_delete=models.CASCADE,
        related_name="discrepancies",
        verbose_name=_("study"),
    )
    attribute = models.CharField(
        max_length=16, choices=Attribute, verbose_name=_("attribute")
    )
    received = models.CharField(
        max_length=1024,
        help_text=_("As the image states it; a name in its DICOM form."),
        verbose_name=_("received value"),
    )
    recorded = models.CharField(
        max_length=1024,
        help_text=_("As the record has it."),
        verbose_name=_("recorded value"),
    )
    created_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("created at")
    )

    class Meta:
        verbose_name = _("identity discrepancy")
        verbose_name_plural = _("identity discrepancies")
        ordering = ("study", "attribute", "created_at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("study", "attribute", "received"),
                name="discrepancy_once_per_value",
            ),
        )
        indexes = (
            models.Index(fields=("-created_at", "-id"), name="discrepancy_newest"),
            models.Index(
                fields=("attribute", "-created_at", "-id"),
                name="discrepancy_of_attribute",
            ),
        )

    def __str__(self) -> str:
        return f"{self.study_id}: {self.get_attribute_display()}"


class FlagReconciliation(models.Model):
    """The decision of a person about a flag of a study."""

    class Choice(models.TextChoices):
        RECORD_IS_RIGHT = "record_is_right", _("The record is right")
        SAME_PERSON = (
            "same_person",
            _("Both mean the same person; the difference does not matter"),
        )
        NO_ERROR = "no_error", _("Checked; there is no error")

    visibility = Visibility(Action.READ_PATIENTS, department="study__department")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    study = models.ForeignKey(
        Study,
        on_delete=models.CASCADE,
        related_name="reconciliations",
        verbose_name=_("study"),
    )
    patient = models.ForeignKey(
        Patient,
        on_delete=models.CASCADE,
        related_name="+",
        help_text=_("Of the study at that time."),
        verbose_name=_("patient"),
    )
    flag = models.CharField(max_length=32, choices=StudyFlag, verbose_name=_("flag"))
    choice = models.CharField(max_length=16, choices=Choice, verbose_name=_("choice"))
    reason = models.CharField(max_length=1000, verbose_name=_("reason"))
    # [[attribute, received value, recorded value], …]
    values = models.JSONField(default=list, blank=True, verbose_name=_("values"))
    reconciled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("reconciled by"),
    )
    reconciled_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("reconciled at")
    )

    class Meta:
        verbose_name = _("reconciliation of a flag")
        verbose_name_plural = _("reconciliations of flags")
        ordering = ("-reconciled_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=~models.Q(reason=""), name="reconciliation_has_a_reason"
            ),
        )

    def __str__(self) -> str:
        return f"{self.study_id}: {self.get_flag_display()}"
