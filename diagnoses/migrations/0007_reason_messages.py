"""A reason is kept as the code of a sentence and its parameters."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("diagnoses", "0006_images"),
    ]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="reason_message",
            field=models.CharField(
                blank=True,
                help_text="Code of the sentence, see messages.py.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="prediction",
            name="reason_params",
            field=models.JSONField(
                blank=True, default=dict, help_text="Values of its placeholders."
            ),
        ),
        migrations.AlterField(
            model_name="prediction",
            name="geometry",
            field=models.JSONField(
                blank=True, help_text="Crop of the image → network input.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="prediction",
            name="reason",
            field=models.TextField(
                blank=True,
                help_text="The sentence itself, in rows of former versions only.",
            ),
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
                help_text="The worst of its images.",
                max_length=9,
            ),
        ),
    ]
