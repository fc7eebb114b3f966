"""Runs of models on images, with their findings and heat maps."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility, VisibleQuerySet
from accounts.messages import reason_text
from diagnoses.labels import label_name
from diagnoses.messages import MESSAGES
from diagnoses.models.version import ModelVersion, OperatingPoint
from patients.models import SHA256_HEX, Instance, Priority


class PredictionQuerySet(VisibleQuerySet["Prediction"]):
    """Predictions."""


class Prediction(models.Model):
    """One run of one model version on one frame of an instance, and its queue entry.

    `attempt` is the fence: each claim raises it, and only the claim with the present
    attempt may complete the run. Times are the database's clock.
    """

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Succeeded")
        REJECTED = "rejected", _("Rejected")
        FAILED = "failed", _("Failed")

    FINISHED = (Status.SUCCEEDED, Status.REJECTED, Status.FAILED)

    visibility = Visibility(
        Action.READ_RESULTS,
        department="instance__series__study__department",
        withheld={"shadow": True},
        withheld_for=Action.READ_SHADOW,
    )

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("key")
    )
    instance = models.ForeignKey(
        Instance,
        on_delete=models.PROTECT,
        related_name="predictions",
        verbose_name=_("instance"),
    )
    frame = models.PositiveIntegerField(
        default=0, help_text=_("Counted from 0."), verbose_name=_("frame")
    )
    model_version = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        related_name="predictions",
        null=True,
        blank=True,
        verbose_name=_("model version"),
    )
    run = models.PositiveIntegerField(default=1, verbose_name=_("run"))
    shadow = models.BooleanField(
        default=False,
        db_default=False,
        help_text=_("Queued while the version was in shadow. It stays a shadow run."),
        verbose_name=_("shadow"),
    )
    status = models.CharField(
        max_length=9, choices=Status, default=Status.QUEUED, verbose_name=_("status")
    )
    reason_code = models.CharField(
        max_length=48, blank=True, verbose_name=_("reason code")
    )
    reason_message = models.CharField(
        max_length=64,
        blank=True,
        help_text=_("Code of the sentence."),
        verbose_name=_("code of the reason"),
    )
    reason_params = models.JSONField(
        default=dict,
        blank=True,
        help_text=_("Values of its placeholders."),
        verbose_name=_("values of the reason"),
    )
    reason = models.TextField(
        blank=True,
        help_text=_("The sentence, in rows of former versions only."),
        verbose_name=_("reason"),
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("requested by"),
    )
    priority = models.PositiveSmallIntegerField(
        choices=Priority, default=Priority.ROUTINE, verbose_name=_("priority")
    )
    attempt = models.PositiveIntegerField(default=0, verbose_name=_("attempt"))
    lost_workers = models.PositiveSmallIntegerField(
        default=0, verbose_name=_("lost workers")
    )
    worker = models.CharField(max_length=128, blank=True, verbose_name=_("worker"))
    queued_at = models.DateTimeField(db_default=Now(), verbose_name=_("queued at"))
    not_before = models.DateTimeField(db_default=Now(), verbose_name=_("not before"))
    hinted_at = models.DateTimeField(null=True, blank=True, verbose_name=_("hinted at"))
    lease_expires_at = models.DateTimeField(
        null=True, blank=True, verbose_name=_("lease expires at")
    )
    started_at = models.DateTimeField(
        null=True, blank=True, verbose_name=_("started at")
    )
    finished_at = models.DateTimeField(
        null=True, blank=True, verbose_name=_("finished at")
    )
    milliseconds = models.FloatField(
        null=True, blank=True, verbose_name=_("milliseconds")
    )
    pixel_sha256 = models.CharField(
        max_length=64, blank=True, verbose_name=_("SHA-256 of the pixels")
    )
    input_sha256 = models.CharField(
        max_length=64,
        blank=True,
        help_text=_("Of the array that the network received."),
        verbose_name=_("SHA-256 of the input"),
    )
    geometry = models.JSONField(
        null=True,
        blank=True,
        help_text=_("Crop of the image → network input."),
        verbose_name=_("geometry"),
    )
    provenance = models.JSONField(
        default=dict,
        help_text=_("Weights, preprocessing, backend, precision, library versions."),
        verbose_name=_("provenance"),
    )

    objects = PredictionQuerySet.as_manager()

    class Meta:
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")
        ordering = ("-queued_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("instance", "frame", "model_version", "run"),
                name="prediction_run_unique",
                nulls_distinct=False,
            ),
            models.UniqueConstraint(
                fields=("instance", "frame", "model_version", "shadow"),
                condition=Q(status__in=("queued", "running")),
                name="prediction_one_open",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=("queued", "running", "succeeded", "rejected", "failed")
                ),
                name="prediction_status_known",
            ),
            models.CheckConstraint(
                condition=Q(model_version__isnull=False) | Q(status="rejected"),
                name="prediction_without_model_is_rejected",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=("rejected", "failed")) | ~Q(reason_code=""),
                name="prediction_ends_for_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(status="running", lease_expires_at__isnull=False)
                | (~Q(status="running") & Q(lease_expires_at__isnull=True)),
                name="prediction_lease_while_running",
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=("succeeded", "rejected", "failed"),
                    finished_at__isnull=False,
                )
                | Q(status__in=("queued", "running"), finished_at__isnull=True),
                name="prediction_finished_at_its_end",
            ),
            models.CheckConstraint(
                condition=~Q(status="succeeded") | Q(input_sha256__regex=SHA256_HEX),
                name="prediction_says_what_it_saw",
            ),
        )
        indexes = (
            models.Index(
                fields=("-priority", "queued_at"),
                name="prediction_queue",
                condition=Q(status="queued"),
            ),
            models.Index(
                fields=("lease_expires_at",),
                name="prediction_leases",
                condition=Q(status="running"),
            ),
            models.Index(fields=("-queued_at", "-id"), name="prediction_newest"),
            # Each order and each filter of the lists.
            models.Index(
                fields=("status", "-queued_at", "-id"), name="prediction_of_status"
            ),
            models.Index(
                fields=("reason_code", "-queued_at", "-id"), name="prediction_of_reason"
            ),
            models.Index(
                fields=("priority", "-queued_at", "-id"), name="prediction_of_priority"
            ),
            models.Index(
                fields=("shadow", "-queued_at", "-id"), name="prediction_of_shadow"
            ),
            models.Index(
                fields=("model_version", "-queued_at", "-id"),
                name="prediction_of_version",
            ),
            models.Index(fields=("finished_at", "id"), name="prediction_by_end"),
            models.Index(fields=("priority", "id"), name="prediction_by_priority"),
            models.Index(fields=("status", "id"), name="prediction_by_status"),
        )

    def __str__(self) -> str:
        return gettext("%(model)s, run %(run)d: %(status)s") % {
            "model": self.model_version or gettext("no model"),
            "run": self.run,
            "status": self.get_status_display(),
        }

    @property
    def reason_text(self) -> str:
        """The reason as a sentence in the language of the reader, or ""."""
        return reason_text(
            MESSAGES, self.reason_message, self.reason_params, stored=self.reason
        )

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.status in self.FINISHED

    @property
    def retriable(self) -> bool:
        """Whether it may be run again: only failed runs."""
        return self.status == self.Status.FAILED


class FindingQuerySet(VisibleQuerySet["Finding"]):
    """Findings."""


class Finding(models.Model):
    """The result of one run for one label. Never updated: a trigger refuses."""

    class ThresholdSource(models.TextChoices):
        CARD = "card", _("Card")
        OPERATING_POINT = "operating_point", _("Operating point")

    visibility = Visibility(
        Action.READ_RESULTS,
        department="prediction__instance__series__study__department",
        withheld={"prediction__shadow": True},
        withheld_for=Action.READ_SHADOW,
    )

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("key")
    )
    prediction = models.ForeignKey(
        Prediction,
        on_delete=models.PROTECT,
        related_name="findings",
        verbose_name=_("prediction"),
    )
    position = models.PositiveSmallIntegerField(
        help_text=_("Order of the label on the card."), verbose_name=_("position")
    )
    label = models.CharField(max_length=64, verbose_name=_("label"))
    probability = models.FloatField(verbose_name=_("probability"))
    calibrated = models.BooleanField(verbose_name=_("calibrated"))
    threshold = models.FloatField(verbose_name=_("threshold"))
    threshold_source = models.CharField(
        max_length=15, choices=ThresholdSource, verbose_name=_("threshold source")
    )
    operating_point = models.ForeignKey(
        OperatingPoint,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("operating point"),
    )
    positive = models.BooleanField(verbose_name=_("positive"))

    objects = FindingQuerySet.as_manager()

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        ordering = ("prediction_id", "position")
        constraints = (
            models.UniqueConstraint(
                fields=("prediction", "label"), name="finding_once_per_label"
            ),
            models.CheckConstraint(
                condition=Q(probability__gte=0, probability__lte=1),
                name="probability_in_0_1",
            ),
            models.CheckConstraint(
                condition=Q(positive=True, probability__gte=F("threshold"))
                | Q(positive=False, probability__lt=F("threshold")),
                name="finding_positive_at_threshold",
            ),
        )
        indexes = (
            models.Index(
                fields=("label", "prediction"),
                name="finding_positive",
                condition=Q(positive=True),
            ),
        )

    def __str__(self) -> str:
        return f"{label_name(self.label)} {self.probability:.2f}"


class HeatMap(models.Model):
    """The Grad-CAM grid of one finding; pictures are drawn from it on request.

    `values` are rows x columns float16, little-endian, row by row, in 0..1;
    times `scale` they are what each cell adds to the logit (`ml.networks.gradcam`).
    """

    visibility = Visibility(
        Action.READ_RESULTS,
        department="finding__prediction__instance__series__study__department",
        withheld={"finding__prediction__shadow": True},
        withheld_for=Action.READ_SHADOW,
    )

    finding = models.OneToOneField(
        Finding,
        on_delete=models.PROTECT,
        primary_key=True,
        related_name="heat_map",
        verbose_name=_("finding"),
    )
    rows = models.PositiveSmallIntegerField(verbose_name=_("rows"))
    columns = models.PositiveSmallIntegerField(verbose_name=_("columns"))
    scale = models.FloatField(verbose_name=_("scale"))
    values = models.BinaryField(verbose_name=_("values"))

    class Meta:
        verbose_name = _("heat map")
        verbose_name_plural = _("heat maps")

    def __str__(self) -> str:
        return f"{self.rows} × {self.columns}"
