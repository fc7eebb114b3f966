"""Old and new values of what an event changed; only an erasure deletes them."""

import django.db.models.deletion
from django.db import migrations, models

_FORWARD = """
CREATE FUNCTION accounts_audit_change_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.patient_uuid IS NOT NULL
        AND current_setting('chestx.erasure', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_change_stays BEFORE UPDATE OR DELETE ON accounts_auditchange
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_change_stays();

ALTER TABLE accounts_auditchange ENABLE ROW LEVEL SECURITY;
CREATE POLICY audit_change_read ON accounts_auditchange FOR SELECT USING (true);
CREATE POLICY audit_change_with_its_event ON accounts_auditchange FOR INSERT
    WITH CHECK (EXISTS (
        SELECT FROM accounts_auditevent AS event
        WHERE event.id = event_id AND event.at >= transaction_timestamp()
    ));
"""
_BACKWARD = """
DROP POLICY audit_change_with_its_event ON accounts_auditchange;
DROP POLICY audit_change_read ON accounts_auditchange;
DROP TRIGGER audit_change_stays ON accounts_auditchange;
DROP FUNCTION accounts_audit_change_stays();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_refusal_counts"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "patient_uuid",
                    models.UUIDField(
                        blank=True,
                        help_text="Of the patient whose data the values are; else empty.",
                        null=True,
                        verbose_name="patient key",
                    ),
                ),
                ("field", models.CharField(max_length=64, verbose_name="field")),
                ("old", models.JSONField(null=True, verbose_name="old value")),
                ("new", models.JSONField(null=True, verbose_name="new value")),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="changes",
                        to="accounts.auditevent",
                    ),
                ),
            ],
            options={
                "verbose_name": "changed field",
                "verbose_name_plural": "changed fields",
                "ordering": ("pk",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("patient_uuid__isnull", False)),
                        fields=["patient_uuid"],
                        name="audit_change_by_patient",
                    )
                ],
            },
        ),
        migrations.RunSQL(_FORWARD, _BACKWARD),
    ]
