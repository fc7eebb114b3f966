"""Studies and patients are deleted by functions of the tables' owner.

Findings and heat maps are inserted only while their run is running: a policy that holds
for every role but the owner.
"""

from django.db import migrations

_FORWARD = """
CREATE FUNCTION erase_study(erased uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    images uuid[] := ARRAY(
        SELECT instance.id FROM patients_instance AS instance
        JOIN patients_series AS series ON series.id = instance.series_id
        WHERE series.study_id = erased
    );
BEGIN
    -- The triggers of finished results let deletions pass.
    PERFORM set_config('chestx.erasure', 'on', true);
    DELETE FROM diagnoses_worklistentry WHERE study_id = erased;
    DELETE FROM diagnoses_heatmap WHERE finding_id IN (
        SELECT finding.id FROM diagnoses_finding AS finding
        JOIN diagnoses_prediction AS prediction ON prediction.id = finding.prediction_id
        WHERE prediction.instance_id = ANY (images)
    );
    DELETE FROM diagnoses_finding WHERE prediction_id IN (
        SELECT id FROM diagnoses_prediction WHERE instance_id = ANY (images)
    );
    DELETE FROM diagnoses_prediction WHERE instance_id = ANY (images);
    DELETE FROM patients_upload WHERE instance_id = ANY (images);
    DELETE FROM patients_instance WHERE id = ANY (images);
    DELETE FROM patients_series WHERE study_id = erased;
    DELETE FROM patients_patientassignment WHERE study_id = erased;
    DELETE FROM patients_identitydiscrepancy WHERE study_id = erased;
    DELETE FROM patients_flagreconciliation WHERE study_id = erased;
    DELETE FROM patients_searchtext WHERE study_id = erased;
    DELETE FROM patients_study WHERE id = erased;
    PERFORM set_config('chestx.erasure', 'off', true);
END $$;

CREATE FUNCTION erase_patient(erased uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM erase_study(id) FROM patients_study WHERE patient_id = erased;
    DELETE FROM patients_patientassignment
        WHERE from_patient_id = erased OR to_patient_id = erased;
    DELETE FROM patients_flagreconciliation WHERE patient_id = erased;
    DELETE FROM patients_patientcorrection WHERE patient_id = erased;
    DELETE FROM patients_searchtext WHERE patient_id = erased;
    DELETE FROM patients_patient WHERE id = erased;
    PERFORM set_config('chestx.erasure', 'on', true);
    DELETE FROM accounts_auditchange WHERE patient_uuid = erased;
    PERFORM set_config('chestx.erasure', 'off', true);
END $$;

ALTER TABLE diagnoses_finding ENABLE ROW LEVEL SECURITY;
CREATE POLICY finding_read ON diagnoses_finding FOR SELECT USING (true);
CREATE POLICY finding_of_a_running_run ON diagnoses_finding FOR INSERT
    WITH CHECK (EXISTS (
        SELECT FROM diagnoses_prediction AS prediction
        WHERE prediction.id = prediction_id AND prediction.status = 'running'
    ));
ALTER TABLE diagnoses_heatmap ENABLE ROW LEVEL SECURITY;
CREATE POLICY heat_map_read ON diagnoses_heatmap FOR SELECT USING (true);
CREATE POLICY heat_map_of_a_running_run ON diagnoses_heatmap FOR INSERT
    WITH CHECK (EXISTS (
        SELECT FROM diagnoses_finding AS finding
        JOIN diagnoses_prediction AS prediction ON prediction.id = finding.prediction_id
        WHERE finding.id = finding_id AND prediction.status = 'running'
    ));
"""
_BACKWARD = """
DROP POLICY heat_map_of_a_running_run ON diagnoses_heatmap;
DROP POLICY heat_map_read ON diagnoses_heatmap;
ALTER TABLE diagnoses_heatmap DISABLE ROW LEVEL SECURITY;
DROP POLICY finding_of_a_running_run ON diagnoses_finding;
DROP POLICY finding_read ON diagnoses_finding;
ALTER TABLE diagnoses_finding DISABLE ROW LEVEL SECURITY;
DROP FUNCTION erase_patient(uuid);
DROP FUNCTION erase_study(uuid);
"""


class Migration(migrations.Migration):
    dependencies = (
        ("diagnoses", "0008_texts"),
        ("patients", "0010_erasure"),
        ("accounts", "0008_audit_changes"),
    )

    operations = (migrations.RunSQL(_FORWARD, _BACKWARD),)
