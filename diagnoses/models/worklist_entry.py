"""The worklist row of one study."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility, VisibleQuerySet
from accounts.models import Department
from diagnoses.labels import label_name
from diagnoses.models.prediction import Finding, Prediction
from patients.models import Priority, Study


class WorklistEntryQuerySet(VisibleQuerySet["WorklistEntry"]):
    """Worklist entries."""


class WorklistEntry(models.Model):
    """The worklist row of one study, stored so that a page costs a constant time.

    Written only by `diagnoses.worklist.refresh_entry`, in the transaction that changes
    the study or its predictions.
    """

    visibility = Visibility(Action.READ_PATIENTS, department="department")

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
        help_text=_("The worst status of its images; waiting while a model waits."),
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
    flagged = models.BooleanField(
        default=False,
        help_text=_("A model in use flagged a label."),
        verbose_name=_("flagged"),
    )
    label = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text=_(
            "The label that most models flagged; if none is flagged, the one with the "
            "highest probability."
        ),
        verbose_name=_("label"),
    )
    models_flagging = models.PositiveSmallIntegerField(
        default=0,
        help_text=_("Models in use that flagged the label."),
        verbose_name=_("models that flagged it"),
    )
    models_reading = models.PositiveSmallIntegerField(
        default=0,
        help_text=_(
            "Models in use that analysed an image and have the label; if none is "
            "flagged, all that analysed an image."
        ),
        verbose_name=_("models that analysed it"),
    )
    highest = models.FloatField(
        null=True,
        blank=True,
        help_text=_("The probability of the finding."),
        verbose_name=_("highest probability"),
    )
    prediction = models.ForeignKey(
        Prediction,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text=_("The run of the finding; its image opens with the study."),
        verbose_name=_("prediction"),
    )
    finding = models.ForeignKey(
        Finding,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text=_("The finding with the highest probability."),
        verbose_name=_("finding"),
    )
    image_number = models.PositiveIntegerField(
        default=1,
        help_text=_("The place of that image in its study, from 1."),
        verbose_name=_("number of the image"),
    )
    models_in_use = models.CharField(
        max_length=16,
        blank=True,
        default="",
        help_text=_("Which models were in use when the row was written, as a hash."),
        verbose_name=_("models in use"),
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
            models.Index(fields=("models_in_use",), name="worklist_models_in_use"),
            models.Index(
                fields=("status", "-priority", "received_at", "study"),
                name="worklist_status_priority",
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

    @property
    def result_sentence(self) -> str:
        """What the models in use found, in one sentence; "" before any analysed it."""
        if not self.models_reading:
            return ""
        values = {
            "label": label_name(self.label),
            "flagging": self.models_flagging,
            "reading": self.models_reading,
            "highest": "" if self.highest is None else f"{self.highest:.2f}",
        }
        if self.flagged:
            sentence = gettext(
                "%(label)s flagged by %(flagging)d of %(reading)d · highest %(highest)s"
            )
        elif self.label:
            sentence = ngettext(
                "Nothing flagged by %(reading)d model · highest %(label)s %(highest)s",
                "Nothing flagged by %(reading)d models · highest %(label)s %(highest)s",
                self.models_reading,
            )
        else:
            sentence = ngettext(
                "Analysed by %(reading)d model that claims no accuracy",
                "Analysed by %(reading)d models that claim no accuracy",
                self.models_reading,
            )
        return sentence % values
