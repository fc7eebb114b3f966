"""Index what patients and studies are found by, parts of words too.

Triggers write the rows, in the transaction of whatever changes a patient or a study. A
statement that changes many rows writes all their search texts in one statement.
"""

from typing import Any

import django.contrib.postgres.functions
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

import patients.models.search_text
from patients.identity import names

# Five characters in a row are n-grams for identifiers: MRN-00000011 has no rare three.
# Characters from U+2E80 on (ideographs, kana) are n-grams of their own: names in them
# have one or two. The cost keeps the planner from computing n-grams row by row.
NGRAMS = """
CREATE FUNCTION patients_ngrams(given text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
DECLARE
    grams text[] := '{}';
    gram text;
BEGIN
    FOR start IN 1 .. length(given) - 1 LOOP
        gram := substr(given, start, 3);
        IF gram LIKE ' %' THEN
            grams := grams || left(gram, 2);
        END IF;
        IF length(gram) = 3 AND substr(gram, 2) NOT LIKE '% %' THEN
            grams := grams || gram;
        END IF;
        gram := substr(given, start, 5);
        IF length(gram) = 5 AND gram NOT LIKE '% %' THEN
            grams := grams || gram;
        END IF;
    END LOOP;
    IF octet_length(given) > length(given) THEN
        grams := grams || array(
            SELECT character FROM string_to_table(given, NULL) AS character
            WHERE ascii(character) >= 11904
        );
    END IF;
    RETURN grams;
END
$$
"""
# A person without name and identifier is shown by the beginning of the key.
TEXT = """
CREATE FUNCTION patients_search_text(patient patients_patient, accession text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat(
        ' ' || nullif(patient.name_folded, ''),
        ' ' || lower(patient.patient_id COLLATE "C"),
        CASE WHEN patient.name_folded = '' AND patient.patient_id IS NULL
            THEN ' unidentified ' || left(patient.id::text, 4) END,
        ' ' || to_char(patient.birth_date, 'YYYY-MM-DD'),
        ' ' || lower(nullif(accession, '') COLLATE "C")
    )
$$
"""
# The lock makes a new study wait for a correction of its patient, and the reverse:
# otherwise each would write without seeing the other.
WRITE = """
CREATE FUNCTION patients_search_text_of_patients() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO patients_searchtext (patient_id, text)
        SELECT id, patients_search_text(changed, '') FROM changed;
    ELSE
        UPDATE patients_searchtext AS written
        SET text = patients_search_text(patient, study.accession_number)
        FROM former, patients_patient AS patient
            LEFT JOIN LATERAL (
                SELECT NULL::uuid AS id, '' AS accession_number
                UNION ALL
                SELECT id, accession_number FROM patients_study
                WHERE patient_id = patient.id
            ) AS study ON true
        WHERE former.id = patient.id
            AND (former.name_folded, former.patient_id, former.birth_date)
                IS DISTINCT FROM
                (patient.name_folded, patient.patient_id, patient.birth_date)
            AND written.patient_id = patient.id
            AND written.study_id IS NOT DISTINCT FROM study.id;
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION patients_search_text_of_studies() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO patients_searchtext (patient_id, study_id, text)
        SELECT patient.id, changed.id,
            patients_search_text(patient, changed.accession_number)
        FROM changed JOIN patients_patient AS patient ON patient.id = changed.patient_id
        FOR NO KEY UPDATE OF patient;
    ELSE
        PERFORM FROM patients_patient AS patient
        WHERE patient.id IN (
            SELECT changed.patient_id
            FROM changed JOIN former USING (id)
            WHERE (former.patient_id, former.accession_number)
                IS DISTINCT FROM (changed.patient_id, changed.accession_number)
        )
        ORDER BY patient.id
        FOR NO KEY UPDATE;
        UPDATE patients_searchtext AS written
        SET patient_id = patient.id,
            text = patients_search_text(patient, changed.accession_number)
        FROM changed
            JOIN former USING (id)
            JOIN patients_patient AS patient ON patient.id = changed.patient_id
        WHERE written.study_id = changed.id
            AND (former.patient_id, former.accession_number)
                IS DISTINCT FROM (changed.patient_id, changed.accession_number);
    END IF;
    RETURN NULL;
END
$$;
"""
TRIGGERS = """
CREATE TRIGGER search_text_of_new_patients AFTER INSERT ON patients_patient
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION patients_search_text_of_patients();
CREATE TRIGGER search_text_of_changed_patients AFTER UPDATE ON patients_patient
REFERENCING OLD TABLE AS former
FOR EACH STATEMENT EXECUTE FUNCTION patients_search_text_of_patients();
CREATE TRIGGER search_text_of_new_studies AFTER INSERT ON patients_study
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION patients_search_text_of_studies();
CREATE TRIGGER search_text_of_changed_studies AFTER UPDATE ON patients_study
REFERENCING OLD TABLE AS former NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION patients_search_text_of_studies();
"""
FILL = """
INSERT INTO patients_searchtext (patient_id, study_id, text)
SELECT patient.id, NULL, patients_search_text(patient, '')
FROM patients_patient AS patient
UNION ALL
SELECT patient.id, study.id, patients_search_text(patient, study.accession_number)
FROM patients_study AS study JOIN patients_patient AS patient
    ON patient.id = study.patient_id;
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""
DROP = """
DROP TRIGGER search_text_of_new_patients ON patients_patient;
DROP TRIGGER search_text_of_changed_patients ON patients_patient;
DROP TRIGGER search_text_of_new_studies ON patients_study;
DROP TRIGGER search_text_of_changed_studies ON patients_study;
DROP FUNCTION patients_search_text_of_patients();
DROP FUNCTION patients_search_text_of_studies();
DROP FUNCTION patients_search_text(patients_patient, text);
"""
NAME_WORDS = """
CREATE INDEX patient_name_words ON patients_patient USING gin (
    array_to_tsvector(array_remove(string_to_array(name_folded, ' '), ''))
) WITH (fastupdate = off)
"""


def fold_anew(apps: Any, schema_editor: Any) -> None:
    """Add the words with two letters, `mueller`, to the names with `ü` and the like."""
    patients = apps.get_model("patients", "Patient").objects
    written = "|".join(names.WRITTEN_WITH_TWO_LETTERS)
    lettered = models.Q()
    for column in names.COLUMNS.values():
        lettered |= models.Q(**{f"{column}__regex": written})
    for patient in patients.filter(lettered).iterator(chunk_size=1000):
        patient.name_folded = names.folded(names.name_of(patient))
        patient.save(update_fields=["name_folded"])


class Migration(migrations.Migration):
    dependencies = (("patients", "0010_erasure"),)

    operations = (
        migrations.RunPython(fold_anew, migrations.RunPython.noop),
        migrations.RunSQL(NGRAMS, "DROP FUNCTION patients_ngrams(text)"),
        migrations.RunSQL("DROP INDEX patient_name_words", NAME_WORDS),
        migrations.CreateModel(
            name="SearchText",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("text", models.TextField(db_collation="C")),
                (
                    "patient",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="patients.patient",
                    ),
                ),
                (
                    "study",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="patients.study",
                    ),
                ),
            ],
            options={
                "verbose_name": "search text",
                "verbose_name_plural": "search texts",
            },
        ),
        migrations.RunSQL(TEXT + ";" + WRITE + FILL + TRIGGERS, DROP),
        migrations.AddConstraint(
            "searchtext",
            models.UniqueConstraint(
                condition=models.Q(("study", None)),
                fields=("patient",),
                name="search_text_once_a_patient",
            ),
        ),
        migrations.AddIndex(
            "searchtext",
            django.contrib.postgres.indexes.GinIndex(
                patients.models.search_text.NGrams("text"),
                fastupdate=False,
                name="search_text_ngrams",
            ),
        ),
    )
