"""The line of the worklist of one study, kept beside it."""

from django.db import models
from django.db.models import Q

from accounts.access import DepartmentQuerySet
from accounts.models import Department
from diagnoses.models.prediction import Finding, Prediction
from patients.models import Priority, Study


class WorklistEntryQuerySet(DepartmentQuerySet["WorklistEntry"]):
    department_path = "department"


class WorklistEntry(models.Model):
    """The line of the worklist of one study, kept beside it.

    So a page costs the same however many studies there are.

    Written only by `diagnoses.worklist.refresh_entry`, inside the transaction that
    changed what it says.
    """

    study = models.OneToOneField(
        Study, on_delete=models.CASCADE, primary_key=True, related_name="worklist_entry"
    )
    department = models.ForeignKey(
        Department, on_delete=models.PROTECT, related_name="+"
    )
    priority = models.PositiveSmallIntegerField(choices=Priority)
    received_at = models.DateTimeField()
    status = models.CharField(
        max_length=9, choices=Prediction.Status, help_text="The worst of its images."
    )
    images = models.PositiveIntegerField()
    images_waiting = models.PositiveIntegerField(help_text="Queued or running.")
    images_unread = models.PositiveIntegerField(
        help_text="Rejected or failed: no score."
    )
    prediction = models.ForeignKey(
        Prediction,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text="The run that the line speaks of.",
    )
    finding = models.ForeignKey(
        Finding, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    flagged = models.BooleanField(
        default=False, help_text="The finding is positive and not Normal."
    )

    objects = WorklistEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "worklist entries"
        ordering = ("-priority", "received_at", "study_id")
        indexes = (
            models.Index(fields=("-received_at", "-study"), name="worklist_newest"),
            models.Index(
                fields=("-priority", "received_at", "study"), name="worklist_priority"
            ),
            models.Index(
                fields=("status", "-received_at", "-study"), name="worklist_status"
            ),
            models.Index(
                fields=("-received_at", "-study"),
                name="worklist_flagged",
                condition=Q(flagged=True),
            ),
            models.Index(
                fields=("-received_at", "-study"),
                name="worklist_waiting",
                condition=Q(images_waiting__gt=0),
            ),
        )

    def __str__(self) -> str:
        return f"{self.study_id}: {self.status}"
