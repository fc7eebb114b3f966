"""A reason is kept as the code of a sentence and its parameters."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("patients", "0003_source_and_submitted_identity"),
    ]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="reason_message",
            field=models.CharField(
                blank=True,
                help_text="Code of the sentence, see messages.py.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="upload",
            name="reason_params",
            field=models.JSONField(
                blank=True, default=dict, help_text="Values of its placeholders."
            ),
        ),
        migrations.AlterField(
            model_name="upload",
            name="reason",
            field=models.TextField(
                blank=True,
                help_text="The sentence itself, in rows of former versions only.",
            ),
        ),
    ]
