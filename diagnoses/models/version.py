"""Versions of models: their states, thresholds, validations and decisions."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.labels import label_name
from patients.models import SHA256_HEX


class ModelVersion(models.Model):
    """One version of one model: its card, and the sha256 of its weights.

    In shadow it reads every eligible image, and only the roles with READ_SHADOW see
    the results. Without weights it is listed and cannot be used.
    """

    class State(models.TextChoices):
        INSTALLED = "installed", _("Installed")
        SHADOW = "shadow", _("Shadow")
        ACTIVE = "active", _("Active")
        RETIRED = "retired", _("Retired")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("key")
    )
    name = models.CharField(max_length=64, verbose_name=_("name"))
    version = models.CharField(max_length=32, verbose_name=_("version"))
    weights_sha256 = models.CharField(
        max_length=64,
        blank=True,
        help_text=_("Empty: the model has no weights."),
        verbose_name=_("SHA-256 of the weights"),
    )
    card = models.JSONField(verbose_name=_("card"))
    claimed_labels = ArrayField(
        models.CharField(max_length=64),
        default=list,
        blank=True,
        help_text=_("The labels for which the card claims an accuracy."),
        verbose_name=_("labels with a claimed accuracy"),
    )
    state = models.CharField(
        max_length=9, choices=State, default=State.INSTALLED, verbose_name=_("state")
    )
    state_changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("state changed by"),
    )
    state_changed_at = models.DateTimeField(
        db_default=Now(), verbose_name=_("state changed at")
    )
    state_reason = models.CharField(
        max_length=256, blank=True, verbose_name=_("state reason")
    )
    installed_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("installed at")
    )

    class Meta:
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")
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
        """Whether it has weights, so that it can run."""
        return bool(self.weights_sha256)


class OperatingPoint(models.Model):
    """The threshold of a label from a point in time on.

    Append-only: a trigger refuses UPDATE and DELETE.
    """

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("key")
    )
    model_version = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        related_name="operating_points",
        verbose_name=_("model version"),
    )
    label = models.CharField(max_length=64, verbose_name=_("label"))
    value = models.FloatField(verbose_name=_("value"))
    method = models.CharField(max_length=256, verbose_name=_("method"))
    reason = models.CharField(max_length=256, blank=True, verbose_name=_("reason"))
    effective_from = models.DateTimeField(
        db_default=Now(), verbose_name=_("effective from")
    )
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("set by"),
    )

    class Meta:
        verbose_name = _("operating point")
        verbose_name_plural = _("operating points")
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
        return f"{label_name(self.label)} ≥ {self.value}"


class SiteAcceptance(models.Model):
    """Local validation: a version measured on the hospital's own labelled images.

    Append-only: a trigger refuses UPDATE and DELETE.
    """

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("key")
    )
    model_version = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        related_name="acceptances",
        verbose_name=_("model version"),
    )
    figures = models.JSONField(
        help_text=_("With 95 % intervals over patients."), verbose_name=_("figures")
    )
    images = models.PositiveIntegerField(verbose_name=_("images"))
    patients = models.PositiveIntegerField(verbose_name=_("patients"))
    manifest_sha256 = models.CharField(
        max_length=64, verbose_name=_("SHA-256 of the manifest")
    )
    measured_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("measured by"),
    )
    measured_at = models.DateTimeField(db_default=Now(), verbose_name=_("measured at"))

    class Meta:
        verbose_name = _("local validation")
        verbose_name_plural = _("local validations")
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
        return gettext("Images: %(images)d, patients: %(patients)d") % {
            "images": self.images,
            "patients": self.patients,
        }


class StateChange(models.Model):
    """A change of a version's state: who, when and why.

    Append-only: a trigger refuses UPDATE and DELETE.
    """

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("key")
    )
    model_version = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        related_name="state_changes",
        verbose_name=_("model version"),
    )
    from_state = models.CharField(
        max_length=9,
        choices=ModelVersion.State,
        blank=True,
        help_text=_("State before the change."),
        verbose_name=_("from state"),
    )
    to_state = models.CharField(
        max_length=9, choices=ModelVersion.State, verbose_name=_("to state")
    )
    rollback = models.BooleanField(default=False, verbose_name=_("rollback"))
    reason = models.CharField(max_length=256, verbose_name=_("reason"))
    acceptance = models.ForeignKey(
        SiteAcceptance,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text=_("The local validation that the activation is based on."),
        verbose_name=_("local validation"),
    )
    without_acceptance = models.CharField(
        max_length=256,
        blank=True,
        help_text=_("Reason for activating without local validation."),
        verbose_name=_("reason for no local validation"),
    )
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("changed by"),
    )
    changed_at = models.DateTimeField(db_default=Now(), verbose_name=_("changed at"))

    class Meta:
        verbose_name = _("state change")
        verbose_name_plural = _("state changes")
        ordering = ("-changed_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(reason=""), name="state_changes_for_a_reason"
            ),
        )

    def __str__(self) -> str:
        former = self.get_from_state_display() if self.from_state else "–"
        return f"{former} → {self.get_to_state_display()}"
