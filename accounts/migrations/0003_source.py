"""The way in is called `source`, as in uploads; the values stay."""

from django.db import migrations


class Migration(migrations.Migration):
    """Rename the column."""

    dependencies = (("accounts", "0002_audit_is_append_only"),)

    operations = (migrations.RenameField("auditevent", "door", "source"),)
