"""Fields and choices get names that can be translated."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from accounts.state_operations import DiscardRenderedModels


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_source"),
        ("patients", "0004_reason_messages"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    # Names, choices and help texts: the database does not change, and a step for each
    # would build the state of all models anew.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                DiscardRenderedModels(),
                migrations.AlterModelOptions(
                    name="instance",
                    options={
                        "ordering": ("series", "instance_number", "id"),
                        "verbose_name": "instance",
                        "verbose_name_plural": "instances",
                    },
                ),
                migrations.AlterModelOptions(
                    name="patient",
                    options={
                        "ordering": ("name_folded", "id"),
                        "verbose_name": "patient",
                        "verbose_name_plural": "patients",
                    },
                ),
                migrations.AlterModelOptions(
                    name="patientassignment",
                    options={
                        "ordering": ("-assigned_at",),
                        "verbose_name": "patient assignment",
                        "verbose_name_plural": "patient assignments",
                    },
                ),
                migrations.AlterModelOptions(
                    name="series",
                    options={
                        "ordering": ("study", "series_number", "id"),
                        "verbose_name": "series",
                        "verbose_name_plural": "series",
                    },
                ),
                migrations.AlterModelOptions(
                    name="study",
                    options={
                        "ordering": ("-received_at", "-id"),
                        "verbose_name": "study",
                        "verbose_name_plural": "studies",
                    },
                ),
                migrations.AlterModelOptions(
                    name="upload",
                    options={
                        "ordering": ("-created_at", "-id"),
                        "verbose_name": "upload",
                        "verbose_name_plural": "uploads",
                    },
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="bits_stored",
                    field=models.PositiveSmallIntegerField(
                        blank=True, null=True, verbose_name="bits stored"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="colour",
                    field=models.BooleanField(
                        blank=True,
                        help_text="The colour channels differ. Empty: not decoded.",
                        null=True,
                        verbose_name="colour",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="columns",
                    field=models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="columns"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="dataset_sha256",
                    field=models.CharField(
                        max_length=64, verbose_name="SHA-256 of the dataset"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="frames",
                    field=models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="frames"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="hash_rule",
                    field=models.PositiveSmallIntegerField(
                        help_text="Version of the hash rule.", verbose_name="hash rule"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="header",
                    field=models.JSONField(
                        help_text="DICOM JSON model (PS3.18 F); binary values are given by length.",
                        verbose_name="header",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="header_sha256",
                    field=models.CharField(
                        max_length=64, verbose_name="SHA-256 of the header"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="instance_number",
                    field=models.IntegerField(
                        blank=True, null=True, verbose_name="instance number"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="lossy",
                    field=models.BooleanField(
                        default=False,
                        help_text="Compressed with loss at some time.",
                        verbose_name="lossy",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="object_sha256",
                    field=models.CharField(
                        db_index=True,
                        max_length=64,
                        verbose_name="SHA-256 of the object",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="origin",
                    field=models.CharField(
                        choices=[("received", "Received"), ("ours", "Made by ChestX")],
                        default="received",
                        max_length=8,
                        verbose_name="origin",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="photometric_interpretation",
                    field=models.CharField(
                        blank=True,
                        max_length=16,
                        verbose_name="photometric interpretation",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="picture",
                    field=models.BooleanField(
                        default=False,
                        help_text="Received as PNG, JPEG, TIFF or BMP and converted to DICOM.",
                        verbose_name="from a picture file",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="pixel_sha256",
                    field=models.CharField(
                        blank=True,
                        db_index=True,
                        max_length=64,
                        null=True,
                        verbose_name="SHA-256 of the pixels",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="pixel_spacing_column_mm",
                    field=models.FloatField(
                        blank=True,
                        null=True,
                        verbose_name="pixel spacing between columns (mm)",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="pixel_spacing_kind",
                    field=models.CharField(
                        blank=True,
                        choices=[
                            ("patient", "Pixel Spacing (0028,0030)"),
                            (
                                "imager",
                                "Imager Pixel Spacing (0018,1164), at the detector",
                            ),
                            ("nominal", "Nominal Scanned Pixel Spacing (0018,2010)"),
                        ],
                        max_length=8,
                        verbose_name="pixel spacing kind",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="pixel_spacing_row_mm",
                    field=models.FloatField(
                        blank=True,
                        null=True,
                        verbose_name="pixel spacing between rows (mm)",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="received_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="received at",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="rows",
                    field=models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="rows"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="series",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="instances",
                        to="patients.series",
                        verbose_name="series",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="size_bytes",
                    field=models.PositiveBigIntegerField(verbose_name="size (bytes)"),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="sop_class_uid",
                    field=models.CharField(max_length=64, verbose_name="SOP Class UID"),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="sop_instance_uid",
                    field=models.CharField(
                        max_length=64, unique=True, verbose_name="SOP Instance UID"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="synthetic",
                    field=models.BooleanField(
                        default=False,
                        help_text="Drawn by the demo; not a real patient.",
                        verbose_name="synthetic",
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="transfer_syntax_uid",
                    field=models.CharField(
                        max_length=64, verbose_name="Transfer Syntax UID"
                    ),
                ),
                migrations.AlterField(
                    model_name="instance",
                    name="view_position",
                    field=models.CharField(
                        blank=True, max_length=16, verbose_name="view position"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="birth_date",
                    field=models.DateField(
                        blank=True, null=True, verbose_name="date of birth"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="created_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created at",
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="family_name",
                    field=models.CharField(
                        blank=True, max_length=128, verbose_name="family name"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="given_name",
                    field=models.CharField(
                        blank=True, max_length=128, verbose_name="given name"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="ideographic_name",
                    field=models.CharField(
                        blank=True, max_length=324, verbose_name="ideographic name"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="issuer",
                    field=models.CharField(
                        help_text="Issuer of Patient ID (0010,0021).",
                        max_length=64,
                        verbose_name="issuer",
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="middle_name",
                    field=models.CharField(
                        blank=True, max_length=128, verbose_name="middle name"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="name_folded",
                    field=models.CharField(
                        blank=True,
                        editable=False,
                        help_text="The name as it is searched.",
                        max_length=1024,
                        verbose_name="name for search",
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="name_prefix",
                    field=models.CharField(
                        blank=True, max_length=64, verbose_name="name prefix"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="name_suffix",
                    field=models.CharField(
                        blank=True, max_length=64, verbose_name="name suffix"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="patient_id",
                    field=models.CharField(
                        blank=True,
                        help_text="Medical record number. Empty while the patient is unidentified.",
                        max_length=64,
                        null=True,
                        verbose_name="patient ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="phonetic_name",
                    field=models.CharField(
                        blank=True, max_length=324, verbose_name="phonetic name"
                    ),
                ),
                migrations.AlterField(
                    model_name="patient",
                    name="sex",
                    field=models.CharField(
                        blank=True,
                        choices=[("M", "M"), ("F", "F"), ("O", "O")],
                        max_length=1,
                        verbose_name="sex",
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="assigned_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="assigned at",
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="assigned_by",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="assigned by",
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="from_patient",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="patients.patient",
                        verbose_name="from patient",
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="study",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="assignments",
                        to="patients.study",
                        verbose_name="study",
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="to_patient",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="patients.patient",
                        verbose_name="to patient",
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="undone_at",
                    field=models.DateTimeField(
                        blank=True, null=True, verbose_name="undone at"
                    ),
                ),
                migrations.AlterField(
                    model_name="patientassignment",
                    name="undone_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="undone by",
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="body_part_examined",
                    field=models.CharField(
                        blank=True, max_length=64, verbose_name="body part examined"
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="description",
                    field=models.CharField(
                        blank=True, max_length=256, verbose_name="description"
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="laterality",
                    field=models.CharField(
                        blank=True, max_length=16, verbose_name="laterality"
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="modality",
                    field=models.CharField(
                        blank=True, max_length=16, verbose_name="modality"
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="series_instance_uid",
                    field=models.CharField(
                        max_length=64, unique=True, verbose_name="Series Instance UID"
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="series_number",
                    field=models.IntegerField(
                        blank=True, null=True, verbose_name="series number"
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="study",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="series",
                        to="patients.study",
                        verbose_name="study",
                    ),
                ),
                migrations.AlterField(
                    model_name="series",
                    name="view_position",
                    field=models.CharField(
                        blank=True, max_length=16, verbose_name="view position"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="accession_issuer",
                    field=models.CharField(
                        blank=True, max_length=64, verbose_name="accession issuer"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="accession_number",
                    field=models.CharField(
                        blank=True, max_length=64, verbose_name="accession number"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="department",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="studies",
                        to="accounts.department",
                        verbose_name="department",
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="description",
                    field=models.CharField(
                        blank=True, max_length=256, verbose_name="description"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="flags",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                (
                                    "demographics_mismatch",
                                    "Name or date of birth differs from the record",
                                ),
                                (
                                    "accession_shared",
                                    "Another study of this patient has the same accession number",
                                ),
                                (
                                    "same_pixels_other_patient",
                                    "The same image is stored under another patient",
                                ),
                            ],
                            max_length=32,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="flags",
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="patient",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="studies",
                        to="patients.patient",
                        verbose_name="patient",
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="priority",
                    field=models.PositiveSmallIntegerField(
                        choices=[(0, "routine"), (1, "urgent"), (2, "stat")],
                        default=0,
                        verbose_name="priority",
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="received_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="received at",
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="received_issuer",
                    field=models.CharField(
                        blank=True, max_length=64, verbose_name="received issuer"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="received_patient_id",
                    field=models.CharField(
                        blank=True,
                        max_length=64,
                        null=True,
                        verbose_name="received patient ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="referring_physician",
                    field=models.CharField(
                        blank=True, max_length=324, verbose_name="referring physician"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="study_date",
                    field=models.DateField(
                        blank=True, null=True, verbose_name="study date"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="study_instance_uid",
                    field=models.CharField(
                        max_length=64, unique=True, verbose_name="Study Instance UID"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="study_time",
                    field=models.TimeField(
                        blank=True, null=True, verbose_name="study time"
                    ),
                ),
                migrations.AlterField(
                    model_name="study",
                    name="timezone_offset",
                    field=models.CharField(
                        blank=True,
                        help_text="(0008,0201) as sent: +HHMM or -HHMM.",
                        max_length=5,
                        verbose_name="time zone offset",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="conflicts_with",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="conflicting_uploads",
                        to="patients.instance",
                        verbose_name="conflicts with",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="created_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created at",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="department",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="uploads",
                        to="accounts.department",
                        verbose_name="department",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="instance",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="uploads",
                        to="patients.instance",
                        verbose_name="instance",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="original_name",
                    field=models.CharField(
                        blank=True, max_length=255, verbose_name="original name"
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="outcome",
                    field=models.CharField(
                        choices=[
                            ("stored", "Stored"),
                            ("duplicate", "Duplicate"),
                            ("conflict", "Conflict"),
                            ("refused", "Refused"),
                        ],
                        max_length=9,
                        verbose_name="outcome",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="reason",
                    field=models.TextField(
                        blank=True,
                        help_text="The sentence itself, in rows of earlier versions only.",
                        verbose_name="reason",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="reason_code",
                    field=models.CharField(
                        blank=True, max_length=48, verbose_name="reason code"
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="reason_message",
                    field=models.CharField(
                        blank=True,
                        help_text="Code of the sentence, see messages.py.",
                        max_length=64,
                        verbose_name="reason message",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="reason_params",
                    field=models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Values of its placeholders.",
                        verbose_name="reason parameters",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="resolution",
                    field=models.CharField(
                        blank=True,
                        choices=[
                            (
                                "kept_stored",
                                "The stored object is kept; the copy stays in quarantine",
                            ),
                            ("discarded", "The quarantined copy was deleted"),
                            (
                                "ingested",
                                "Sent again after the record was corrected, and stored",
                            ),
                        ],
                        max_length=11,
                        verbose_name="resolution",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="resolved_at",
                    field=models.DateTimeField(
                        blank=True, null=True, verbose_name="resolved at"
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="resolved_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="resolved by",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="sha256",
                    field=models.CharField(
                        blank=True,
                        db_index=True,
                        help_text="Of the bytes as sent. Empty: the file was not received completely.",
                        max_length=64,
                        verbose_name="SHA-256",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="size_bytes",
                    field=models.PositiveBigIntegerField(
                        blank=True, null=True, verbose_name="size (bytes)"
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="source",
                    field=models.CharField(
                        choices=[
                            ("web", "Web"),
                            ("rest", "REST"),
                            ("folder", "Folder"),
                            ("demo", "Demo"),
                            ("stow", "STOW-RS"),
                            ("cstore", "C-STORE"),
                        ],
                        max_length=8,
                        verbose_name="source",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="submitted_identity",
                    field=models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="What the form or manifest stated, for a later resolution.",
                        verbose_name="submitted identity",
                    ),
                ),
                migrations.AlterField(
                    model_name="upload",
                    name="user",
                    field=models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="uploads",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ]
        )
    ]
