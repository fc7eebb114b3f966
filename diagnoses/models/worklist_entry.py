"""The worklist row of one study."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.access import DepartmentQuerySet
from accounts.models import Department
from diagnoses.models.prediction import Finding, Prediction
from patients.models import Priority, Study


class WorklistEntryQuerySet(DepartmentQuerySet["WorklistEntry"]):
    department_path = "department"


class WorklistEntry(models.Model):
    """The worklist row of one study, stored so that a page costs a constant time.

    Written only by `diagnoses.worklist.refresh_entry`, in the transaction that changes
    the study or its predictions.
    """

    study = models.OneToOneField(
        Study,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="worklist_entry",
        verbose_name=_("study"),
    )
    department = models.ForeignKey(
        Department,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        verbose_name=_("department"),
    )
    priority = models.PositiveSmallIntegerField(
        choices=Priority, verbose_name=_("priority")
    )
    received_at = models.DateTimeField(verbose_name=_("received at"))
    status = models.CharField(
        max_length=9,
        choices=Prediction.Status,
        help_text=_("The worst status of its images."),
        verbose_name=_("status"),
    )
    images = models.PositiveIntegerField(verbose_name=_("images"))
    images_waiting = models.PositiveIntegerField(
        help_text=_("Queued or running."), verbose_name=_("images waiting")
    )
    images_unread = models.PositiveIntegerField(
        help_text=_("Rejected or failed: no score."),
        verbose_name=_("images without a score"),
    )
    prediction = models.ForeignKey(
        Prediction,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text=_("The run that the row shows."),
        verbose_name=_("prediction"),
    )
    finding = models.ForeignKey(
        Finding,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("finding"),
    )
    flagged = models.BooleanField(
        default=False,
        help_text=_("The finding is positive and not Normal."),
        verbose_name=_("flagged"),
    )

    objects = WorklistEntryQuerySet.as_manager()

    class Meta:
        verbose_name = _("worklist entry")
        verbose_name_plural = _("worklist entries")
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
            models.Index(
                fields=("-received_at", "-study"),
                name="worklist_unread",
                condition=Q(status__in=("rejected", "failed")),
            ),
            # The same for each department, and the studies that a search found.
            models.Index(fields=("department", "study"), name="worklist_department"),
            models.Index(
                fields=("department", "-received_at", "-study"),
                name="worklist_department_newest",
            ),
            models.Index(
                fields=("department", "-priority", "received_at", "study"),
                name="worklist_department_priority",
            ),
            models.Index(
                fields=("department", "-received_at", "-study"),
                name="worklist_department_flagged",
                condition=Q(flagged=True),
            ),
            models.Index(
                fields=("department", "-received_at", "-study"),
                name="worklist_department_waiting",
                condition=Q(images_waiting__gt=0),
            ),
            models.Index(
                fields=("department", "-received_at", "-study"),
                name="worklist_department_unread",
                condition=Q(status__in=("rejected", "failed")),
            ),
        )

    def __str__(self) -> str:
        return f"{self.study_id}: {self.get_status_display()}"
