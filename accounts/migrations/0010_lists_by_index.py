"""Indexes for each order and each filter of the lists."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_heat_map_preferences"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(fields=["action", "-at", "-id"], name="audit_of_action"),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                fields=["outcome", "-at", "-id"], name="audit_of_outcome"
            ),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(fields=["source", "-at", "-id"], name="audit_of_source"),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                fields=["object_kind", "-at", "-id"], name="audit_of_kind"
            ),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                fields=["actor_name", "-at", "-id"], name="audit_of_name"
            ),
        ),
    ]
