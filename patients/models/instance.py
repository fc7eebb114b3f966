"""Series and instances: the objects themselves, with their hashes and headers."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.access import DepartmentQuerySet
from patients.models.study import Study

SHA256_HEX = r"^[0-9a-f]{64}$"


class SeriesQuerySet(DepartmentQuerySet["Series"]):
    department_path = "study__department"


class Series(models.Model):
    """Images of one study made by one machine in one way."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="series")
    series_instance_uid = models.CharField(max_length=64, unique=True)
    modality = models.CharField(max_length=16, blank=True)
    body_part_examined = models.CharField(max_length=64, blank=True)
    view_position = models.CharField(max_length=16, blank=True)
    laterality = models.CharField(max_length=16, blank=True)
    description = models.CharField(max_length=256, blank=True)
    series_number = models.IntegerField(null=True, blank=True)

    objects = SeriesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "series"
        ordering = ("study", "series_number", "id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(series_instance_uid=""),
                name="series_instance_uid_not_empty",
            ),
        )

    def __str__(self) -> str:
        return self.description or f"{self.modality} {self.series_number or ''}".strip()


class PixelSpacingKind(models.TextChoices):
    """Which attribute the spacing came from (PS3.3 10.7.1).

    Only the first measures the patient.
    """

    PATIENT = "patient", "Pixel Spacing (0028,0030)"
    IMAGER = "imager", "Imager Pixel Spacing (0018,1164), at the detector"
    NOMINAL = "nominal", "Nominal Scanned Pixel Spacing (0018,2010)"


class Origin(models.TextChoices):
    """Who made the object."""

    RECEIVED = "received"
    OURS = "ours"


class InstanceQuerySet(DepartmentQuerySet["Instance"]):
    department_path = "series__study__department"


class Instance(models.Model):
    """One stored DICOM object.

    Its bytes stand in the storage under `object_sha256` and are never changed.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    series = models.ForeignKey(
        Series, on_delete=models.PROTECT, related_name="instances"
    )
    sop_instance_uid = models.CharField(max_length=64, unique=True)
    sop_class_uid = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    instance_number = models.IntegerField(null=True, blank=True)
    view_position = models.CharField(max_length=16, blank=True)
    rows = models.PositiveIntegerField(null=True, blank=True)
    columns = models.PositiveIntegerField(null=True, blank=True)
    frames = models.PositiveIntegerField(null=True, blank=True)
    bits_stored = models.PositiveSmallIntegerField(null=True, blank=True)
    photometric_interpretation = models.CharField(max_length=16, blank=True)
    pixel_spacing_row_mm = models.FloatField(null=True, blank=True)
    pixel_spacing_column_mm = models.FloatField(null=True, blank=True)
    pixel_spacing_kind = models.CharField(
        max_length=8, choices=PixelSpacingKind, blank=True
    )
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.RECEIVED)
    synthetic = models.BooleanField(
        default=False, help_text="Drawn by the demo, not a patient."
    )
    picture = models.BooleanField(
        default=False, help_text="Came as PNG, JPEG, TIFF or BMP and was wrapped here."
    )
    lossy = models.BooleanField(
        default=False, help_text="Lossy-compressed at some time."
    )
    colour = models.BooleanField(
        null=True,
        blank=True,
        help_text="Its channels really differ; empty: not decoded.",
    )
    size_bytes = models.PositiveBigIntegerField()
    object_sha256 = models.CharField(max_length=64, db_index=True)
    dataset_sha256 = models.CharField(max_length=64)
    header_sha256 = models.CharField(max_length=64)
    # Null: decoding took longer than its budget, so the pixels were not hashed.
    pixel_sha256 = models.CharField(  # noqa: DJ001
        max_length=64, null=True, blank=True, db_index=True
    )
    hash_rule = models.PositiveSmallIntegerField(
        help_text="Version of the rule of the hashes."
    )
    header = models.JSONField(
        help_text="DICOM JSON model (PS3.18 F); binary values by length."
    )
    received_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        ordering = ("series", "instance_number", "id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(sop_instance_uid=""), name="sop_instance_uid_not_empty"
            ),
            models.CheckConstraint(
                condition=Q(origin__in=Origin.values), name="instance_origin_known"
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

    def __str__(self) -> str:
        return self.sop_instance_uid
