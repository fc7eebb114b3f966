"""Series and instances: the DICOM objects, with their hashes and headers."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility, VisibleQuerySet
from patients.models.study import Study

SHA256_HEX = r"^[0-9a-f]{64}$"


class SeriesQuerySet(VisibleQuerySet["Series"]):
    """Series."""


class Series(models.Model):
    """Images of one study made by one machine in one way."""

    visibility = Visibility(Action.READ_PATIENTS, department="study__department")

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    study = models.ForeignKey(
        Study,
        on_delete=models.PROTECT,
        related_name="series",
        db_index=False,
        verbose_name=_("study"),
    )
    series_instance_uid = models.CharField(
        max_length=64, unique=True, verbose_name=_("Series Instance UID")
    )
    modality = models.CharField(max_length=16, blank=True, verbose_name=_("modality"))
    body_part_examined = models.CharField(
        max_length=64, blank=True, verbose_name=_("body part examined")
    )
    view_position = models.CharField(
        max_length=16, blank=True, verbose_name=_("view position")
    )
    laterality = models.CharField(
        max_length=16, blank=True, verbose_name=_("laterality")
    )
    description = models.CharField(
        max_length=256, blank=True, verbose_name=_("description")
    )
    series_number = models.IntegerField(
        null=True, blank=True, verbose_name=_("series number")
    )

    objects = SeriesQuerySet.as_manager()

    class Meta:
        verbose_name = _("series")
        verbose_name_plural = _("series")
        ordering = ("study", "series_number", "id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(series_instance_uid=""),
                name="series_instance_uid_not_empty",
            ),
        )
        indexes = (
            models.Index(fields=("study", "modality"), name="series_of_study"),
            # Each order and each filter of the lists.
            models.Index(fields=("modality", "study"), name="series_study_of_modality"),
            models.Index(fields=("modality", "id"), name="series_by_modality"),
            models.Index(
                fields=("modality", "series_instance_uid"), name="series_of_modality"
            ),
            models.Index(
                fields=("body_part_examined", "series_instance_uid"),
                name="series_of_body_part",
            ),
            models.Index(fields=("series_number", "id"), name="series_by_number"),
        )

    def __str__(self) -> str:
        return self.description or f"{self.modality} {self.series_number or ''}".strip()


class PixelSpacingKind(models.TextChoices):
    """The attribute of the spacing (PS3.3 10.7.1).

    Only the first is valid in the patient.
    """

    PATIENT = "patient", _("Pixel Spacing (0028,0030)")
    IMAGER = "imager", _("Imager Pixel Spacing (0018,1164), at the detector")
    NOMINAL = "nominal", _("Nominal Scanned Pixel Spacing (0018,2010)")


class Origin(models.TextChoices):
    """Who made the object."""

    RECEIVED = "received", _("Received")
    OURS = "ours", _("Made by ChestX")


class InstanceQuerySet(VisibleQuerySet["Instance"]):
    """Instances."""


class Instance(models.Model):
    """One stored DICOM object.

    Its bytes are in the storage under `object_sha256` and never change.
    """

    visibility = Visibility(
        Action.READ_PATIENTS, department="series__study__department"
    )

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("ID")
    )
    series = models.ForeignKey(
        Series,
        on_delete=models.PROTECT,
        related_name="instances",
        verbose_name=_("series"),
    )
    sop_instance_uid = models.CharField(
        max_length=64, unique=True, verbose_name=_("SOP Instance UID")
    )
    sop_class_uid = models.CharField(max_length=64, verbose_name=_("SOP Class UID"))
    transfer_syntax_uid = models.CharField(
        max_length=64, verbose_name=_("Transfer Syntax UID")
    )
    instance_number = models.IntegerField(
        null=True, blank=True, verbose_name=_("instance number")
    )
    view_position = models.CharField(
        max_length=16, blank=True, verbose_name=_("view position")
    )
    rows = models.PositiveIntegerField(null=True, blank=True, verbose_name=_("rows"))
    columns = models.PositiveIntegerField(
        null=True, blank=True, verbose_name=_("columns")
    )
    frames = models.PositiveIntegerField(
        null=True, blank=True, verbose_name=_("frames")
    )
    bits_stored = models.PositiveSmallIntegerField(
        null=True, blank=True, verbose_name=_("bits stored")
    )
    photometric_interpretation = models.CharField(
        max_length=16, blank=True, verbose_name=_("photometric interpretation")
    )
    pixel_spacing_row_mm = models.FloatField(
        null=True, blank=True, verbose_name=_("pixel spacing between rows (mm)")
    )
    pixel_spacing_column_mm = models.FloatField(
        null=True, blank=True, verbose_name=_("pixel spacing between columns (mm)")
    )
    pixel_spacing_kind = models.CharField(
        max_length=8,
        choices=PixelSpacingKind,
        blank=True,
        verbose_name=_("pixel spacing kind"),
    )
    origin = models.CharField(
        max_length=8, choices=Origin, default=Origin.RECEIVED, verbose_name=_("origin")
    )
    synthetic = models.BooleanField(
        default=False,
        help_text=_("Drawn by the demo; not a real patient."),
        verbose_name=_("synthetic"),
    )
    picture = models.BooleanField(
        default=False,
        help_text=_("Received as PNG, JPEG, TIFF or BMP and converted to DICOM."),
        verbose_name=_("from a picture file"),
    )
    lossy = models.BooleanField(
        default=False,
        help_text=_("Compressed with loss at some time."),
        verbose_name=_("lossy"),
    )
    colour = models.BooleanField(
        null=True,
        blank=True,
        help_text=_("The colour channels differ. Empty: not decoded."),
        verbose_name=_("colour"),
    )
    size_bytes = models.PositiveBigIntegerField(verbose_name=_("size (bytes)"))
    original_sha256 = models.CharField(
        max_length=64,
        blank=True,
        db_index=True,
        help_text=_("Of a picture as sent, where its pixels were encoded anew."),
        verbose_name=_("SHA-256 of the original"),
    )
    object_sha256 = models.CharField(
        max_length=64, db_index=True, verbose_name=_("SHA-256 of the object")
    )
    dataset_sha256 = models.CharField(
        max_length=64, verbose_name=_("SHA-256 of the dataset")
    )
    header_sha256 = models.CharField(
        max_length=64, verbose_name=_("SHA-256 of the header")
    )
    # Null: decoding took longer than its budget, so the pixels were not hashed.
    pixel_sha256 = models.CharField(  # noqa: DJ001
        max_length=64,
        null=True,
        blank=True,
        db_index=True,
        verbose_name=_("SHA-256 of the pixels"),
    )
    hash_rule = models.PositiveSmallIntegerField(
        help_text=_("Version of the hash rule."), verbose_name=_("hash rule")
    )
    header = models.JSONField(
        help_text=_("DICOM JSON model (PS3.18 F); binary values are given by length."),
        verbose_name=_("header"),
    )
    received_at = models.DateTimeField(
        db_default=Now(), editable=False, verbose_name=_("received at")
    )

    objects = InstanceQuerySet.as_manager()

    class Meta:
        verbose_name = _("instance")
        verbose_name_plural = _("instances")
        ordering = ("series", "instance_number", "id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(sop_instance_uid=""), name="sop_instance_uid_not_empty"
            ),
            models.CheckConstraint(
                condition=Q(origin__in=Origin.values), name="instance_origin_known"
            ),
            models.CheckConstraint(
                condition=Q(original_sha256="") | Q(original_sha256__regex=SHA256_HEX),
                name="instance_original_sha256_hex",
            ),
            models.CheckConstraint(
                condition=Q(object_sha256__regex=SHA256_HEX)
                & Q(dataset_sha256__regex=SHA256_HEX)
                & Q(header_sha256__regex=SHA256_HEX)
                & (Q(pixel_sha256__isnull=True) | Q(pixel_sha256__regex=SHA256_HEX)),
                name="instance_hashes_are_sha256",
            ),
            models.CheckConstraint(
                condition=Q(
                    pixel_spacing_kind="",
                    pixel_spacing_row_mm__isnull=True,
                    pixel_spacing_column_mm__isnull=True,
                )
                | Q(
                    pixel_spacing_kind__in=PixelSpacingKind.values,
                    pixel_spacing_row_mm__gt=0,
                    pixel_spacing_column_mm__gt=0,
                ),
                name="instance_pixel_spacing_whole",
            ),
        )
        indexes = (
            # Each order and each filter of the lists.
            models.Index(fields=("-received_at", "-id"), name="instance_newest"),
            models.Index(fields=("instance_number", "id"), name="instance_by_number"),
            models.Index(
                fields=("sop_class_uid", "-received_at", "-id"),
                name="instance_of_sop_class",
            ),
            models.Index(
                fields=("origin", "-received_at", "-id"), name="instance_of_origin"
            ),
            models.Index(
                fields=("synthetic", "-received_at", "-id"),
                name="instance_of_synthetic",
            ),
            models.Index(
                fields=("picture", "-received_at", "-id"), name="instance_of_picture"
            ),
            models.Index(
                fields=("lossy", "-received_at", "-id"), name="instance_of_lossy"
            ),
        )

    def __str__(self) -> str:
        return self.sop_instance_uid
