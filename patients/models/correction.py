"""Corrections of patients by people."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility
from patients.models.study import Patient


class PatientCorrection(models.Model):
    """A change of a patient's data, kept with the old values so it can be undone."""

    visibility = Visibility(Action.READ_PATIENTS, through="patient")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    patient = models.ForeignKey(
        Patient,
        on_delete=models.PROTECT,
        related_name="corrections",
        verbose_name=_("patient"),
    )
    # All demographic columns of the patient, before and after.
    before = models.JSONField(verbose_name=_("before"))
    after = models.JSONField(verbose_name=_("after"))
    reason = models.CharField(max_length=1000, verbose_name=_("reason"))
    corrected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("corrected by"),
    )
    corrected_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("corrected at")
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
        verbose_name = _("patient correction")
        verbose_name_plural = _("patient corrections")
        ordering = ("-corrected_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(reason=""), name="correction_has_a_reason"
            ),
            models.CheckConstraint(
                condition=Q(undone_by__isnull=True, undone_at__isnull=True)
                | Q(undone_by__isnull=False, undone_at__isnull=False),
                name="correction_undone_by_somebody",
            ),
        )

    def __str__(self) -> str:
        return f"{self.patient_id}: {', '.join(self.changed)}"

    @property
    def changed(self) -> list[str]:
        """The columns that the correction changed."""
        return [name for name, old in self.before.items() if self.after[name] != old]
