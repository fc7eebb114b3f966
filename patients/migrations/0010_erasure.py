"""Uploads are deleted by a function of the tables' owner.

The serving role has no right to delete rows about a patient. At commit, a transaction
that deleted any must also have written an audit event that says so.
"""

from django.db import migrations

_FORWARD = """
CREATE FUNCTION erase_uploads(uploads uuid[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    DELETE FROM patients_upload WHERE id = ANY (uploads);
$$;

CREATE FUNCTION patients_erasure_is_audited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM accounts_auditevent
        WHERE action = 'delete' AND object_kind IN ('patient', 'study')
            AND at >= transaction_timestamp()
    ) THEN
        RAISE EXCEPTION 'deletion of % is refused without an audit event', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER upload_erasure_is_audited
    AFTER DELETE ON patients_upload DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION patients_erasure_is_audited();
CREATE CONSTRAINT TRIGGER study_erasure_is_audited
    AFTER DELETE ON patients_study DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION patients_erasure_is_audited();
CREATE CONSTRAINT TRIGGER patient_erasure_is_audited
    AFTER DELETE ON patients_patient DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION patients_erasure_is_audited();
"""
_BACKWARD = """
DROP TRIGGER patient_erasure_is_audited ON patients_patient;
DROP TRIGGER study_erasure_is_audited ON patients_study;
DROP TRIGGER upload_erasure_is_audited ON patients_upload;
DROP FUNCTION patients_erasure_is_audited();
DROP FUNCTION erase_uploads(uuid[]);
"""


class Migration(migrations.Migration):
    dependencies = (
        ("patients", "0009_original_pictures"),
        ("accounts", "0005_audit_sequence"),
    )

    operations = (migrations.RunSQL(_FORWARD, _BACKWARD),)
