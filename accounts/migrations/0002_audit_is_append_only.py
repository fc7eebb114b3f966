"""The audit trail refuses UPDATE and DELETE, whoever asks.

TRUNCATE is a matter of rights, not of triggers: tests flush by it.
"""

from django.db import migrations

_FORWARD = """
CREATE FUNCTION accounts_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_append_only();
CREATE TRIGGER audit_subject_append_only BEFORE UPDATE OR DELETE ON accounts_auditsubject
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_append_only();
"""
_BACKWARD = """
DROP TRIGGER audit_subject_append_only ON accounts_auditsubject;
DROP TRIGGER audit_event_append_only ON accounts_auditevent;
DROP FUNCTION accounts_audit_append_only();
"""


class Migration(migrations.Migration):
    """Triggers on both tables of the trail."""

    dependencies = (("accounts", "0001_initial"),)

    operations = (migrations.RunSQL(_FORWARD, _BACKWARD),)
