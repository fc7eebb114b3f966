"""What a model said stays as it was said: the database itself refuses otherwise.

Finished predictions, their findings and heat maps, and operating points are never
updated. Rows are deleted only by the erasure (`diagnoses/erasure.py`), which says so
for the length of its transaction. TRUNCATE is a matter of rights: tests flush by it.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION diagnoses_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('chestx.erasure', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% of % is refused: what a model said is never changed',
        TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER prediction_finished_stays
    BEFORE UPDATE ON diagnoses_prediction FOR EACH ROW
    WHEN (OLD.status IN ('succeeded', 'rejected', 'failed'))
    EXECUTE FUNCTION diagnoses_refuse_change();
CREATE TRIGGER prediction_is_kept
    BEFORE DELETE ON diagnoses_prediction FOR EACH ROW
    EXECUTE FUNCTION diagnoses_refuse_change();
CREATE TRIGGER finding_stays
    BEFORE UPDATE OR DELETE ON diagnoses_finding FOR EACH ROW
    EXECUTE FUNCTION diagnoses_refuse_change();
CREATE TRIGGER heat_map_stays
    BEFORE UPDATE OR DELETE ON diagnoses_heatmap FOR EACH ROW
    EXECUTE FUNCTION diagnoses_refuse_change();
CREATE TRIGGER operating_point_stays
    BEFORE UPDATE OR DELETE ON diagnoses_operatingpoint FOR EACH ROW
    EXECUTE FUNCTION diagnoses_refuse_change();
"""

BACKWARD = """
DROP TRIGGER operating_point_stays ON diagnoses_operatingpoint;
DROP TRIGGER heat_map_stays ON diagnoses_heatmap;
DROP TRIGGER finding_stays ON diagnoses_finding;
DROP TRIGGER prediction_is_kept ON diagnoses_prediction;
DROP TRIGGER prediction_finished_stays ON diagnoses_prediction;
DROP FUNCTION diagnoses_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("diagnoses", "0001_initial"),)

    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
