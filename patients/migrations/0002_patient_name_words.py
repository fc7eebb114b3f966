"""Index the words of patients' names, so that a search by their beginnings stays quick."""

from django.db import migrations

# `patients.search` writes the same expression, or the index does not serve it.
CREATE = """
CREATE INDEX patient_name_words ON patients_patient USING gin (
    array_to_tsvector(array_remove(string_to_array(name_folded, ' '), ''))
) WITH (fastupdate = off)
"""


class Migration(migrations.Migration):
    dependencies = (("patients", "0001_initial"),)

    operations = (migrations.RunSQL(CREATE, "DROP INDEX patient_name_words"),)
