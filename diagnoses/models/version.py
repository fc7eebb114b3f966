"""Versions of models: who may use them, by which thresholds, and who decided that."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from patients.models import SHA256_HEX


class ModelVersion(models.Model):
    """One version of one model: its card, and the sha256 of its weights.

    Shadow: it reads every image that fits, and only the roles with READ_SHADOW see
    what it says. Without weights it is listed, and nobody may use it.
    """

    class State(models.TextChoices):
        INSTALLED = "installed"
        SHADOW = "shadow"
        ACTIVE = "active"
        RETIRED = "retired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64)
    version = models.CharField(max_length=32)
    weights_sha256 = models.CharField(
        max_length=64, blank=True, help_text="Empty: no weights shipped."
    )
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
                condition=Q(state__in=("installed", "shadow", "active", "retired")),
                name="model_state_known",
            ),
            models.CheckConstraint(
                condition=Q(weights_sha256__regex=SHA256_HEX)
                | Q(weights_sha256="", state="installed"),
                name="model_weights_are_sha256",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def has_weights(self) -> bool:
        """Whether it can run at all."""
        return bool(self.weights_sha256)


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
    reason = models.CharField(max_length=256, blank=True)
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


class SiteAcceptance(models.Model):
    """What a version measured on the hospital's own labelled images.

    Append-only: a trigger refuses UPDATE and DELETE.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="acceptances"
    )
    figures = models.JSONField(help_text="With 95 % intervals over patients.")
    images = models.PositiveIntegerField()
    patients = models.PositiveIntegerField()
    manifest_sha256 = models.CharField(max_length=64)
    measured_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    measured_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("model_version", "-measured_at")
        constraints = (
            models.CheckConstraint(
                condition=Q(images__gt=0, patients__gt=0), name="acceptance_of_images"
            ),
            models.CheckConstraint(
                condition=Q(manifest_sha256__regex=SHA256_HEX),
                name="acceptance_names_its_manifest",
            ),
        )

    def __str__(self) -> str:
        return f"{self.images} images of {self.patients} patients"


class StateChange(models.Model):
    """Who let a version do what, when and why.

    Append-only: a trigger refuses UPDATE and DELETE.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="state_changes"
    )
    from_state = models.CharField(
        max_length=9, choices=ModelVersion.State, blank=True, help_text="Before it."
    )
    to_state = models.CharField(max_length=9, choices=ModelVersion.State)
    rollback = models.BooleanField(default=False)
    reason = models.CharField(max_length=256)
    acceptance = models.ForeignKey(
        SiteAcceptance,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text="What the activation rests on.",
    )
    without_acceptance = models.CharField(
        max_length=256, blank=True, help_text="Why it was activated without one."
    )
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-changed_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(reason=""), name="state_changes_for_a_reason"
            ),
        )

    def __str__(self) -> str:
        return f"{self.from_state or '–'} → {self.to_state}"
