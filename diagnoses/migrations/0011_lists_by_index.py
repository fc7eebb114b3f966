"""Indexes for each order and each filter of the lists."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_lists_by_index"),
        ("diagnoses", "0010_worklist_of_all_models"),
        ("patients", "0012_lists_by_index"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="finding",
            options={
                "ordering": ("prediction_id", "position"),
                "verbose_name": "finding",
                "verbose_name_plural": "findings",
            },
        ),
        migrations.AlterField(
            model_name="worklistentry",
            name="department",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.department",
                verbose_name="department",
            ),
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(
                condition=models.Q(("positive", True)),
                fields=["label", "prediction"],
                name="finding_positive",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                fields=["status", "-queued_at", "-id"], name="prediction_of_status"
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                fields=["reason_code", "-queued_at", "-id"], name="prediction_of_reason"
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                fields=["priority", "-queued_at", "-id"], name="prediction_of_priority"
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                fields=["shadow", "-queued_at", "-id"], name="prediction_of_shadow"
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                fields=["model_version", "-queued_at", "-id"],
                name="prediction_of_version",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(fields=["finished_at", "id"], name="prediction_by_end"),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                fields=["priority", "id"], name="prediction_by_priority"
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(fields=["status", "id"], name="prediction_by_status"),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                condition=models.Q(("status__in", ("rejected", "failed"))),
                fields=["-received_at", "-study"],
                name="worklist_unread",
            ),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                fields=["department", "study"], name="worklist_department"
            ),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                fields=["department", "-received_at", "-study"],
                name="worklist_department_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                fields=["department", "-priority", "received_at", "study"],
                name="worklist_department_priority",
            ),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                condition=models.Q(("flagged", True)),
                fields=["department", "-received_at", "-study"],
                name="worklist_department_flagged",
            ),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                condition=models.Q(("images_waiting__gt", 0)),
                fields=["department", "-received_at", "-study"],
                name="worklist_department_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                condition=models.Q(("status__in", ("rejected", "failed"))),
                fields=["department", "-received_at", "-study"],
                name="worklist_department_unread",
            ),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(
                fields=["status", "-priority", "received_at", "study"],
                name="worklist_status_priority",
            ),
        ),
    ]
