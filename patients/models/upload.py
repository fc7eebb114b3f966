"""Every received file and its outcome."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility, VisibleQuerySet
from accounts.messages import reason_text
from accounts.models import Department
from patients.messages import MESSAGES, readable_params
from patients.models.instance import Instance


class UploadQuerySet(VisibleQuerySet["Upload"]):
    """Uploads."""


class Upload(models.Model):
    """One received file and its outcome; refused files too."""

    class Source(models.TextChoices):
        WEB = "web", _("Web")
        REST = "rest", _("REST")
        FOLDER = "folder", _("Folder")
        DEMO = "demo", _("Demo")
        STOW = "stow", _("STOW-RS")
        CSTORE = "cstore", _("C-STORE")

    class Outcome(models.TextChoices):
        STORED = "stored", _("Stored")
        DUPLICATE = "duplicate", _("Duplicate")
        CONFLICT = "conflict", _("Conflict")
        REFUSED = "refused", _("Refused")

    class Resolution(models.TextChoices):
        KEPT_STORED = (
            "kept_stored",
            _("The stored object is kept; the copy stays in quarantine"),
        )
        DISCARDED = "discarded", _("The quarantined copy was deleted")
        INGESTED = (
            "ingested",
            _("Sent again after the record was corrected, and stored"),
        )

    # Only the sender, and those who resolve conflicts, see a conflict.
    visibility = Visibility(
        Action.READ_PATIENTS,
        department="department",
        owner="user",
        withheld={"outcome": Outcome.CONFLICT},
        withheld_for=Action.RESOLVE_CONFLICT,
    )

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
        verbose_name=_("user"),
    )
    source = models.CharField(max_length=8, choices=Source, verbose_name=_("source"))
    original_name = models.CharField(
        max_length=255, blank=True, verbose_name=_("original name")
    )
    sha256 = models.CharField(
        max_length=64,
        blank=True,
        db_index=True,
        help_text=_(
            "Of the bytes as sent. Empty: the file was not received completely."
        ),
        verbose_name=_("SHA-256"),
    )
    size_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, verbose_name=_("size (bytes)")
    )
    outcome = models.CharField(max_length=9, choices=Outcome, verbose_name=_("outcome"))
    reason_code = models.CharField(
        max_length=48, blank=True, verbose_name=_("reason code")
    )
    reason_message = models.CharField(
        max_length=64,
        blank=True,
        help_text=_("Code of the sentence, see messages.py."),
        verbose_name=_("reason message"),
    )
    reason_params = models.JSONField(
        default=dict,
        blank=True,
        help_text=_("Values of its placeholders."),
        verbose_name=_("reason parameters"),
    )
    reason = models.TextField(
        blank=True,
        help_text=_("The sentence itself, in rows of earlier versions only."),
        verbose_name=_("reason"),
    )
    instance = models.ForeignKey(
        Instance,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
        blank=True,
        verbose_name=_("instance"),
    )
    department = models.ForeignKey(
        Department,
        on_delete=models.PROTECT,
        related_name="uploads",
        null=True,
        blank=True,
        verbose_name=_("department"),
    )
    conflicts_with = models.ForeignKey(
        Instance,
        on_delete=models.PROTECT,
        related_name="conflicting_uploads",
        null=True,
        blank=True,
        verbose_name=_("conflicts with"),
    )
    submitted_identity = models.JSONField(
        default=dict,
        blank=True,
        help_text=_("What the form or manifest stated, for a later resolution."),
        verbose_name=_("submitted identity"),
    )
    resolution = models.CharField(
        max_length=11, choices=Resolution, blank=True, verbose_name=_("resolution")
    )
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("resolved by"),
    )
    resolved_at = models.DateTimeField(
        null=True, blank=True, verbose_name=_("resolved at")
    )
    created_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("created at")
    )

    objects = UploadQuerySet.as_manager()

    class Meta:
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
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
            # Each order and each filter of the lists.
            models.Index(
                fields=("outcome", "-created_at", "-id"), name="upload_of_outcome"
            ),
            models.Index(
                fields=("source", "-created_at", "-id"), name="upload_of_source"
            ),
            models.Index(
                fields=("reason_code", "-created_at", "-id"), name="upload_of_reason"
            ),
            models.Index(fields=("user", "-created_at", "-id"), name="upload_of_user"),
            models.Index(
                fields=("department", "-created_at", "-id"), name="upload_of_department"
            ),
            models.Index(fields=("outcome", "id"), name="upload_by_outcome"),
            models.Index(fields=("original_name", "id"), name="upload_by_name"),
            models.Index(fields=("size_bytes", "id"), name="upload_by_size"),
            models.Index(
                fields=("original_name",),
                name="upload_name_prefix",
                opclasses=("text_pattern_ops",),
            ),
        )

    def __str__(self) -> str:
        outcome = self.Outcome(self.outcome).label
        return f"{self.original_name or gettext('unnamed')}: {outcome}"

    @property
    def reason_text(self) -> str:
        """The reason as a sentence in the language of the reader, or ""."""
        return reason_text(
            MESSAGES,
            self.reason_message,
            readable_params(self.reason_params),
            stored=self.reason,
        )
