"""Every file that was ever sent, and what became of it."""

import uuid
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.access import DepartmentQuerySet
from accounts.models import Department, User
from patients.messages import reason_text
from patients.models.instance import Instance


class UploadQuerySet(DepartmentQuerySet["Upload"]):
    department_path = "department"

    def visible_to(self, user: User) -> Self:
        """What the user sent, and what the user's departments received.

        Of conflicts only the sender and admins know.
        """
        seen = super().visible_to(user).exclude(outcome=Upload.Outcome.CONFLICT)
        everything = self.filter(pk__in=seen.values("pk")) | self.filter(user=user)
        return super().visible_to(user) if user.role == "admin" else everything


class Upload(models.Model):
    """One file that somebody sent, and what became of it; refused ones too."""

    class Source(models.TextChoices):
        WEB = "web"
        REST = "rest"
        FOLDER = "folder"
        DEMO = "demo"
        STOW = "stow"
        CSTORE = "cstore"

    class Outcome(models.TextChoices):
        STORED = "stored"
        DUPLICATE = "duplicate"
        CONFLICT = "conflict"
        REFUSED = "refused"

    class Resolution(models.TextChoices):
        KEPT_STORED = (
            "kept_stored",
            "The stored object stands; the copy stays in quarantine",
        )
        DISCARDED = "discarded", "The quarantined copy was deleted"
        INGESTED = "ingested", "Sent again after the record was corrected, and stored"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
    )
    source = models.CharField(max_length=8, choices=Source)
    original_name = models.CharField(max_length=255, blank=True)
    sha256 = models.CharField(
        max_length=64,
        blank=True,
        db_index=True,
        help_text="Of the bytes as sent; empty: not all came.",
    )
    size_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=9, choices=Outcome)
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
    instance = models.ForeignKey(
        Instance,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
        blank=True,
    )
    department = models.ForeignKey(
        Department,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
        blank=True,
    )
    conflicts_with = models.ForeignKey(
        Instance,
        on_delete=models.PROTECT,
        related_name="conflicting_uploads",
        null=True,
        blank=True,
    )
    submitted_identity = models.JSONField(
        default=dict,
        blank=True,
        help_text="What the form or manifest said, for a later resolution.",
    )
    resolution = models.CharField(max_length=11, choices=Resolution, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = UploadQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=Q(outcome__in=("stored", "duplicate"), instance__isnull=False)
                | Q(outcome__in=("conflict", "refused"), instance__isnull=True),
                name="upload_instance_where_kept",
            ),
            models.CheckConstraint(
                condition=Q(outcome="stored")
                | Q(outcome="duplicate")
                | ~Q(reason_code=""),
                name="upload_refused_for_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(
                    resolution="", resolved_by__isnull=True, resolved_at__isnull=True
                )
                | Q(
                    outcome="conflict",
                    resolved_by__isnull=False,
                    resolved_at__isnull=False,
                ),
                name="upload_resolved_by_somebody",
            ),
        )
        indexes = (
            models.Index(fields=("-created_at", "-id"), name="upload_newest"),
            models.Index(
                fields=("-created_at",),
                name="upload_open_conflicts",
                condition=Q(outcome="conflict", resolution=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.original_name or 'nameless'}: {self.outcome}"

    @property
    def reason_text(self) -> str:
        """The reason as a sentence in the language of the reader, or ""."""
        return reason_text(self.reason_message, self.reason_params, self.reason)
