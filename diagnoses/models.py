"""What models said about images: versions, thresholds, runs, findings, heat maps.

A Prediction row is one run of one model version on one instance, and while it is
queued it is the outbox. Finished rows are never updated: a trigger refuses.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.access import DepartmentQuerySet
from accounts.models import Department
from patients.models import SHA256_HEX, Instance, Priority, Study


class ModelVersion(models.Model):
    """One version of one model: its card, and the sha256 of its weights."""

    class State(models.TextChoices):
        INSTALLED = "installed"
        ACTIVE = "active"
        RETIRED = "retired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64)
    version = models.CharField(max_length=32)
    weights_sha256 = models.CharField(max_length=64)
    card = models.JSONField()
    state = models.CharField(max_length=9, choices=State, default=State.INSTALLED)
    state_changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    state_changed_at = models.DateTimeField(db_default=Now())
    state_reason = models.CharField(max_length=256, blank=True)
    installed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("name", "-installed_at")
        constraints = (
            models.UniqueConstraint(
                fields=("name", "version"), name="model_version_unique"
            ),
            models.UniqueConstraint(
                fields=("name",),
                condition=Q(state="active"),
                name="model_one_active_version",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("installed", "active", "retired")),
                name="model_state_known",
            ),
            models.CheckConstraint(
                condition=Q(weights_sha256__regex=SHA256_HEX),
                name="model_weights_are_sha256",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class OperatingPoint(models.Model):
    """The threshold of a label from a moment on.

    Append-only: a trigger refuses UPDATE and DELETE.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="operating_points"
    )
    label = models.CharField(max_length=64)
    value = models.FloatField()
    method = models.CharField(max_length=256)
    effective_from = models.DateTimeField(db_default=Now())
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )

    class Meta:
        ordering = ("model_version", "label", "-effective_from")
        constraints = (
            models.CheckConstraint(
                condition=Q(value__gte=0, value__lte=1), name="threshold_in_0_1"
            ),
            models.UniqueConstraint(
                fields=("model_version", "label", "effective_from"),
                name="operating_point_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.label} ≥ {self.value}"


class PredictionQuerySet(DepartmentQuerySet["Prediction"]):
    department_path = "instance__series__study__department"


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
    status = models.CharField(max_length=9, choices=Status, default=Status.QUEUED)
    reason_code = models.CharField(max_length=48, blank=True)
    reason = models.TextField(blank=True)
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
        null=True, blank=True, help_text="Crop of the film → network input."
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
                fields=("instance", "frame", "model_version"),
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
    def finished(self) -> bool:
        """Whether the run has ended, one way or another."""
        return self.status in self.FINISHED

    @property
    def retriable(self) -> bool:
        """Whether a person may ask for another run: of failed ones only."""
        return self.status == self.Status.FAILED


class FindingQuerySet(DepartmentQuerySet["Finding"]):
    department_path = "prediction__instance__series__study__department"


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
        max_length=9, choices=Prediction.Status, help_text="The worst of its films."
    )
    films = models.PositiveIntegerField()
    films_waiting = models.PositiveIntegerField(help_text="Queued or running.")
    films_unread = models.PositiveIntegerField(
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
                condition=Q(films_waiting__gt=0),
            ),
        )

    def __str__(self) -> str:
        return f"{self.study_id}: {self.status}"
