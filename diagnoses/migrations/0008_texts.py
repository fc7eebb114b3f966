"""Give fields, choices and models translatable names."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from accounts.state_operations import DiscardRenderedModels


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_source"),
        ("diagnoses", "0007_reason_messages"),
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
                    name="finding",
                    options={
                        "ordering": ("prediction", "position"),
                        "verbose_name": "finding",
                        "verbose_name_plural": "findings",
                    },
                ),
                migrations.AlterModelOptions(
                    name="heatmap",
                    options={
                        "verbose_name": "heat map",
                        "verbose_name_plural": "heat maps",
                    },
                ),
                migrations.AlterModelOptions(
                    name="modelversion",
                    options={
                        "ordering": ("name", "-installed_at"),
                        "verbose_name": "model version",
                        "verbose_name_plural": "model versions",
                    },
                ),
                migrations.AlterModelOptions(
                    name="operatingpoint",
                    options={
                        "ordering": ("model_version", "label", "-effective_from"),
                        "verbose_name": "operating point",
                        "verbose_name_plural": "operating points",
                    },
                ),
                migrations.AlterModelOptions(
                    name="prediction",
                    options={
                        "ordering": ("-queued_at", "-id"),
                        "verbose_name": "prediction",
                        "verbose_name_plural": "predictions",
                    },
                ),
                migrations.AlterModelOptions(
                    name="siteacceptance",
                    options={
                        "ordering": ("model_version", "-measured_at"),
                        "verbose_name": "local validation",
                        "verbose_name_plural": "local validations",
                    },
                ),
                migrations.AlterModelOptions(
                    name="statechange",
                    options={
                        "ordering": ("-changed_at", "-id"),
                        "verbose_name": "state change",
                        "verbose_name_plural": "state changes",
                    },
                ),
                migrations.AlterModelOptions(
                    name="worklistentry",
                    options={
                        "ordering": ("-priority", "received_at", "study_id"),
                        "verbose_name": "worklist entry",
                        "verbose_name_plural": "worklist entries",
                    },
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="calibrated",
                    field=models.BooleanField(verbose_name="calibrated"),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="label",
                    field=models.CharField(max_length=64, verbose_name="label"),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="operating_point",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="diagnoses.operatingpoint",
                        verbose_name="operating point",
                    ),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="position",
                    field=models.PositiveSmallIntegerField(
                        help_text="Order of the label on the card.",
                        verbose_name="position",
                    ),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="positive",
                    field=models.BooleanField(verbose_name="positive"),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="prediction",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="findings",
                        to="diagnoses.prediction",
                        verbose_name="prediction",
                    ),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="probability",
                    field=models.FloatField(verbose_name="probability"),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="threshold",
                    field=models.FloatField(verbose_name="threshold"),
                ),
                migrations.AlterField(
                    model_name="finding",
                    name="threshold_source",
                    field=models.CharField(
                        choices=[
                            ("card", "Card"),
                            ("operating_point", "Operating point"),
                        ],
                        max_length=15,
                        verbose_name="threshold source",
                    ),
                ),
                migrations.AlterField(
                    model_name="heatmap",
                    name="columns",
                    field=models.PositiveSmallIntegerField(verbose_name="columns"),
                ),
                migrations.AlterField(
                    model_name="heatmap",
                    name="finding",
                    field=models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="heat_map",
                        serialize=False,
                        to="diagnoses.finding",
                        verbose_name="finding",
                    ),
                ),
                migrations.AlterField(
                    model_name="heatmap",
                    name="rows",
                    field=models.PositiveSmallIntegerField(verbose_name="rows"),
                ),
                migrations.AlterField(
                    model_name="heatmap",
                    name="scale",
                    field=models.FloatField(verbose_name="scale"),
                ),
                migrations.AlterField(
                    model_name="heatmap",
                    name="values",
                    field=models.BinaryField(verbose_name="values"),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="card",
                    field=models.JSONField(verbose_name="card"),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="installed_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="installed at",
                    ),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="name",
                    field=models.CharField(max_length=64, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="state",
                    field=models.CharField(
                        choices=[
                            ("installed", "Installed"),
                            ("shadow", "Shadow"),
                            ("active", "Active"),
                            ("retired", "Retired"),
                        ],
                        default="installed",
                        max_length=9,
                        verbose_name="state",
                    ),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="state_changed_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="state changed at",
                    ),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="state_changed_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="state changed by",
                    ),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="state_reason",
                    field=models.CharField(
                        blank=True, max_length=256, verbose_name="state reason"
                    ),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="version",
                    field=models.CharField(max_length=32, verbose_name="version"),
                ),
                migrations.AlterField(
                    model_name="modelversion",
                    name="weights_sha256",
                    field=models.CharField(
                        blank=True,
                        help_text="Empty: the model has no weights.",
                        max_length=64,
                        verbose_name="SHA-256 of the weights",
                    ),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="effective_from",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="effective from",
                    ),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="label",
                    field=models.CharField(max_length=64, verbose_name="label"),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="method",
                    field=models.CharField(max_length=256, verbose_name="method"),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="model_version",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="operating_points",
                        to="diagnoses.modelversion",
                        verbose_name="model version",
                    ),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="reason",
                    field=models.CharField(
                        blank=True, max_length=256, verbose_name="reason"
                    ),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="set_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="set by",
                    ),
                ),
                migrations.AlterField(
                    model_name="operatingpoint",
                    name="value",
                    field=models.FloatField(verbose_name="value"),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="attempt",
                    field=models.PositiveIntegerField(
                        default=0, verbose_name="attempt"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="finished_at",
                    field=models.DateTimeField(
                        blank=True, null=True, verbose_name="finished at"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="frame",
                    field=models.PositiveIntegerField(
                        default=0, help_text="Counted from 0.", verbose_name="frame"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="geometry",
                    field=models.JSONField(
                        blank=True,
                        help_text="Crop of the image → network input.",
                        null=True,
                        verbose_name="geometry",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="hinted_at",
                    field=models.DateTimeField(
                        blank=True, null=True, verbose_name="hinted at"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="input_sha256",
                    field=models.CharField(
                        blank=True,
                        help_text="Of the array that the network received.",
                        max_length=64,
                        verbose_name="SHA-256 of the input",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="instance",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="predictions",
                        to="patients.instance",
                        verbose_name="instance",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="lease_expires_at",
                    field=models.DateTimeField(
                        blank=True, null=True, verbose_name="lease expires at"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="lost_workers",
                    field=models.PositiveSmallIntegerField(
                        default=0, verbose_name="lost workers"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="milliseconds",
                    field=models.FloatField(
                        blank=True, null=True, verbose_name="milliseconds"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="model_version",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="predictions",
                        to="diagnoses.modelversion",
                        verbose_name="model version",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="not_before",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="not before",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="pixel_sha256",
                    field=models.CharField(
                        blank=True, max_length=64, verbose_name="SHA-256 of the pixels"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="priority",
                    field=models.PositiveSmallIntegerField(
                        choices=[(0, "routine"), (1, "urgent"), (2, "stat")],
                        default=0,
                        verbose_name="priority",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="provenance",
                    field=models.JSONField(
                        default=dict,
                        help_text="Weights, preprocessing, backend, precision, library versions.",
                        verbose_name="provenance",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="queued_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="queued at",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="reason",
                    field=models.TextField(
                        blank=True,
                        help_text="The sentence, in rows of former versions only.",
                        verbose_name="reason",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="reason_code",
                    field=models.CharField(
                        blank=True, max_length=48, verbose_name="reason code"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="reason_message",
                    field=models.CharField(
                        blank=True,
                        help_text="Code of the sentence.",
                        max_length=64,
                        verbose_name="code of the reason",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="reason_params",
                    field=models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Values of its placeholders.",
                        verbose_name="values of the reason",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="requested_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="requested by",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="run",
                    field=models.PositiveIntegerField(default=1, verbose_name="run"),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="shadow",
                    field=models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Queued while the version was in shadow. It stays a shadow run.",
                        verbose_name="shadow",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="started_at",
                    field=models.DateTimeField(
                        blank=True, null=True, verbose_name="started at"
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="status",
                    field=models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("rejected", "Rejected"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=9,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="prediction",
                    name="worker",
                    field=models.CharField(
                        blank=True, max_length=128, verbose_name="worker"
                    ),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="figures",
                    field=models.JSONField(
                        help_text="With 95 % intervals over patients.",
                        verbose_name="figures",
                    ),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="images",
                    field=models.PositiveIntegerField(verbose_name="images"),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="manifest_sha256",
                    field=models.CharField(
                        max_length=64, verbose_name="SHA-256 of the manifest"
                    ),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="measured_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="measured at",
                    ),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="measured_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="measured by",
                    ),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="model_version",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="acceptances",
                        to="diagnoses.modelversion",
                        verbose_name="model version",
                    ),
                ),
                migrations.AlterField(
                    model_name="siteacceptance",
                    name="patients",
                    field=models.PositiveIntegerField(verbose_name="patients"),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="acceptance",
                    field=models.ForeignKey(
                        blank=True,
                        help_text="The local validation that the activation is based on.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="diagnoses.siteacceptance",
                        verbose_name="local validation",
                    ),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="changed_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="changed at",
                    ),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="changed_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="changed by",
                    ),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="from_state",
                    field=models.CharField(
                        blank=True,
                        choices=[
                            ("installed", "Installed"),
                            ("shadow", "Shadow"),
                            ("active", "Active"),
                            ("retired", "Retired"),
                        ],
                        help_text="State before the change.",
                        max_length=9,
                        verbose_name="from state",
                    ),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="id",
                    field=models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="model_version",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="state_changes",
                        to="diagnoses.modelversion",
                        verbose_name="model version",
                    ),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="reason",
                    field=models.CharField(max_length=256, verbose_name="reason"),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="rollback",
                    field=models.BooleanField(default=False, verbose_name="rollback"),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="to_state",
                    field=models.CharField(
                        choices=[
                            ("installed", "Installed"),
                            ("shadow", "Shadow"),
                            ("active", "Active"),
                            ("retired", "Retired"),
                        ],
                        max_length=9,
                        verbose_name="to state",
                    ),
                ),
                migrations.AlterField(
                    model_name="statechange",
                    name="without_acceptance",
                    field=models.CharField(
                        blank=True,
                        help_text="Reason for activating without local validation.",
                        max_length=256,
                        verbose_name="reason for no local validation",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="department",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.department",
                        verbose_name="department",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="finding",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="diagnoses.finding",
                        verbose_name="finding",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="flagged",
                    field=models.BooleanField(
                        default=False,
                        help_text="The finding is positive and not Normal.",
                        verbose_name="flagged",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="images",
                    field=models.PositiveIntegerField(verbose_name="images"),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="images_unread",
                    field=models.PositiveIntegerField(
                        help_text="Rejected or failed: no score.",
                        verbose_name="images without a score",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="images_waiting",
                    field=models.PositiveIntegerField(
                        help_text="Queued or running.", verbose_name="images waiting"
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="prediction",
                    field=models.ForeignKey(
                        blank=True,
                        help_text="The run that the row shows.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="diagnoses.prediction",
                        verbose_name="prediction",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="priority",
                    field=models.PositiveSmallIntegerField(
                        choices=[(0, "routine"), (1, "urgent"), (2, "stat")],
                        verbose_name="priority",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="received_at",
                    field=models.DateTimeField(verbose_name="received at"),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="status",
                    field=models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("rejected", "Rejected"),
                            ("failed", "Failed"),
                        ],
                        help_text="The worst status of its images.",
                        max_length=9,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="worklistentry",
                    name="study",
                    field=models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="worklist_entry",
                        serialize=False,
                        to="patients.study",
                        verbose_name="study",
                    ),
                ),
            ]
        )
    ]
