"""Decisions about versions are never changed, and what was decided before is kept.

Of versions that were active or retired before there was a history, their last change
is its first entry.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION diagnoses_refuse_other_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was decided or measured is never changed',
        TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

INSERT INTO diagnoses_statechange (
    id, model_version_id, from_state, to_state, rollback, reason,
    without_acceptance, changed_by_id, changed_at
)
SELECT gen_random_uuid(), id, '', state, false,
    coalesce(nullif(state_reason, ''), 'not kept'), '', state_changed_by_id,
    state_changed_at
FROM diagnoses_modelversion WHERE state <> 'installed';

CREATE TRIGGER state_change_stays
    BEFORE UPDATE OR DELETE ON diagnoses_statechange FOR EACH ROW
    EXECUTE FUNCTION diagnoses_refuse_other_decision();
CREATE TRIGGER site_acceptance_stays
    BEFORE UPDATE OR DELETE ON diagnoses_siteacceptance FOR EACH ROW
    EXECUTE FUNCTION diagnoses_refuse_other_decision();
"""

BACKWARD = """
DROP TRIGGER site_acceptance_stays ON diagnoses_siteacceptance;
DROP TRIGGER state_change_stays ON diagnoses_statechange;
DROP FUNCTION diagnoses_refuse_other_decision();
"""


class Migration(migrations.Migration):
    dependencies = (("diagnoses", "0004_governance"),)

    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
