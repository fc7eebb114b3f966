"""Runs of models on images, and what they said."""

import uuid
from collections.abc import Iterable
from typing import Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.access import Action, DepartmentQuerySet, may
from accounts.models import User
from diagnoses.messages import reason_text
from diagnoses.models.version import ModelVersion, OperatingPoint
from patients.models import SHA256_HEX, Instance, Priority


class PredictionQuerySet(DepartmentQuerySet["Prediction"]):
    department_path = "instance__series__study__department"

    def visible_to(
        self, user: User | AnonymousUser, *, scopes: Iterable[str] | None = None
    ) -> Self:
        """Runs of the user's departments; those in shadow only for READ_SHADOW."""
        seen = super().visible_to(user)
        if may(user, Action.READ_SHADOW, scopes=scopes):
            return seen
        return seen.filter(shadow=False)


class Prediction(models.Model):
    """One run of one model version on one frame of an instance, and its place in line.

    `attempt` is the fence: the claim raises it, and only who still holds the same
    attempt may complete. Times are the database's clock.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        REJECTED = "rejected"
        FAILED = "failed"

    FINISHED = (Status.SUCCEEDED, Status.REJECTED, Status.FAILED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(
        Instance, on_delete=models.PROTECT, related_name="predictions"
    )
    frame = models.PositiveIntegerField(default=0, help_text="Counted from 0.")
    model_version = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        related_name="predictions",
        null=True,
        blank=True,
    )
    run = models.PositiveIntegerField(default=1)
    shadow = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Queued while the version was in shadow, and stays so.",
    )
    status = models.CharField(max_length=9, choices=Status, default=Status.QUEUED)
    reason_code = models.CharField(max_length=48, blank=True)
    reason_message = models.CharField(
        max_length=64, blank=True, help_text="Code of the sentence, see messages.py."
    )
    reason_params = models.JSONField(
        default=dict, blank=True, help_text="Values of its placeholders."
    )
    reason = models.TextField(
        blank=True, help_text="The sentence itself, in rows of former versions only."
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    priority = models.PositiveSmallIntegerField(
        choices=Priority, default=Priority.ROUTINE
    )
    attempt = models.PositiveIntegerField(default=0)
    lost_workers = models.PositiveSmallIntegerField(default=0)
    worker = models.CharField(max_length=128, blank=True)
    queued_at = models.DateTimeField(db_default=Now())
    not_before = models.DateTimeField(db_default=Now())
    hinted_at = models.DateTimeField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    milliseconds = models.FloatField(null=True, blank=True)
    pixel_sha256 = models.CharField(max_length=64, blank=True)
    input_sha256 = models.CharField(
        max_length=64, blank=True, help_text="Of the array that the network was given."
    )
    geometry = models.JSONField(
        null=True, blank=True, help_text="Crop of the image → network input."
    )
    provenance = models.JSONField(
        default=dict,
        help_text="Weights, preprocessing, backend, precision, library versions.",
    )

    objects = PredictionQuerySet.as_manager()

    class Meta:
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
        )

    def __str__(self) -> str:
        return f"{self.model_version or 'no model'} run {self.run}: {self.status}"

    @property
    def reason_text(self) -> str:
        """The reason as a sentence in the language of the reader, or ""."""
        return reason_text(self.reason_message, self.reason_params, self.reason)

    @property
    def finished(self) -> bool:
        """Whether the run has ended, one way or another."""
        return self.status in self.FINISHED

    @property
    def retriable(self) -> bool:
        """Whether a person may ask for another run: of failed ones only."""
        return self.status == self.Status.FAILED


class FindingQuerySet(DepartmentQuerySet["Finding"]):
    department_path = "prediction__instance__series__study__department"

    def visible_to(
        self, user: User | AnonymousUser, *, scopes: Iterable[str] | None = None
    ) -> Self:
        """Findings of the user's departments; those in shadow only for READ_SHADOW."""
        seen = super().visible_to(user)
        if may(user, Action.READ_SHADOW, scopes=scopes):
            return seen
        return seen.filter(prediction__shadow=False)


class Finding(models.Model):
    """What one run said about one label. Never updated: a trigger refuses."""

    class ThresholdSource(models.TextChoices):
        CARD = "card"
        OPERATING_POINT = "operating_point"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    prediction = models.ForeignKey(
        Prediction, on_delete=models.PROTECT, related_name="findings"
    )
    position = models.PositiveSmallIntegerField(
        help_text="Order of the label on the card."
    )
    label = models.CharField(max_length=64)
    probability = models.FloatField()
    calibrated = models.BooleanField()
    threshold = models.FloatField()
    threshold_source = models.CharField(max_length=15, choices=ThresholdSource)
    operating_point = models.ForeignKey(
        OperatingPoint,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    positive = models.BooleanField()

    objects = FindingQuerySet.as_manager()

    class Meta:
        ordering = ("prediction", "position")
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

    def __str__(self) -> str:
        return f"{self.label} {self.probability:.2f}"


class HeatMap(models.Model):
    """The Grad-CAM grid of one finding; pictures are drawn from it when asked for.

    `values` are rows x columns float16, little-endian, row by row, in 0..1;
    times `scale` they are the gradient-weighted activations.
    """

    finding = models.OneToOneField(
        Finding, on_delete=models.PROTECT, primary_key=True, related_name="heat_map"
    )
    rows = models.PositiveSmallIntegerField()
    columns = models.PositiveSmallIntegerField()
    scale = models.FloatField()
    values = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"
