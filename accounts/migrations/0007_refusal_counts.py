"""Refusals of callers who are not signed in are counted outside the trail."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_failed_sign_ins"),
    ]

    operations = [
        migrations.CreateModel(
            name="RefusalCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=45)),
                ("action", models.CharField(max_length=48)),
                ("actor_name", models.CharField(blank=True, max_length=150)),
                ("source", models.CharField(max_length=16)),
                ("reason", models.CharField(blank=True, max_length=32)),
                ("since", models.DateTimeField(db_index=True)),
                ("further", models.PositiveBigIntegerField()),
            ],
            options={
                "verbose_name": "count of refusals",
                "verbose_name_plural": "counts of refusals",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("address", "action", "actor_name", "source", "reason"),
                        name="refusal_count_once",
                    )
                ],
            },
        ),
    ]
