"""`door` is called `source` and `claims` `submitted_identity`; the values stay."""

from django.db import migrations


class Migration(migrations.Migration):
    """Rename the columns."""

    dependencies = (("patients", "0002_patient_name_words"),)

    operations = (
        migrations.RenameField("upload", "door", "source"),
        migrations.RenameField("upload", "claims", "submitted_identity"),
    )
