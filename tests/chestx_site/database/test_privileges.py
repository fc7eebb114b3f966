"""What the role that serves may not do with the record and the trail."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from pytest_django.fixtures import Settings

from accounts import audit
from accounts.models import AuditEvent
from chestx_site.database.owner import as_owner
from chestx_site.database.privileges import PRIVILEGES, grant_privileges
from diagnoses.leases import claim
from diagnoses.models import Finding, Prediction
from patients.models import Study
from tests.factories import FindingFactory, PredictionFactory, StudyFactory

ANY = str(uuid.uuid4())


def execute(statement: str, *params: object) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, params)


@pytest.mark.django_db
def test_the_serving_role_is_no_superuser_and_owns_nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolsuper OR rolcreaterole OR rolbypassrls, "
            "(SELECT count(*) FROM pg_class WHERE relowner = role.oid), "
            "(SELECT count(*) FROM pg_auth_members WHERE member = role.oid) "
            "FROM pg_roles AS role WHERE rolname = current_user"
        )
        assert cursor.fetchone() == (False, 0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO accounts_auditevent (at, action) VALUES ('2020-01-01', 'view')",
        "INSERT INTO accounts_auditevent (id, action) VALUES (1, 'view')",
        "UPDATE accounts_auditevent SET action = 'x'",
        "DELETE FROM accounts_auditevent",
        "TRUNCATE accounts_auditevent CASCADE",
        "ALTER TABLE accounts_auditevent DISABLE TRIGGER USER",
        "DROP TABLE accounts_auditevent CASCADE",
        "SELECT setval(pg_get_serial_sequence('accounts_auditevent', 'id'), 1)",
        "SET session_replication_role = replica",
        "UPDATE accounts_auditsubject SET event_id = 1",
        "DELETE FROM accounts_auditsubject",
        "ALTER TABLE accounts_auditsubject DISABLE ROW LEVEL SECURITY",
        "DELETE FROM patients_patient",
        "DELETE FROM patients_study",
        "DELETE FROM patients_instance",
        "DELETE FROM patients_upload",
        "DELETE FROM diagnoses_prediction",
        "UPDATE diagnoses_finding SET probability = 1",
        "DELETE FROM diagnoses_heatmap",
        "UPDATE diagnoses_operatingpoint SET value = 0",
        "DELETE FROM diagnoses_statechange",
        "CREATE TABLE made (id int)",
        "DELETE FROM django_migrations",
    ],
)
def test_the_serving_role_may_not(statement: str) -> None:
    refused = pytest.raises(ProgrammingError, match=r"permission denied|must be owner")
    with refused:
        execute(statement)


@pytest.mark.django_db
def test_the_setting_of_former_versions_allows_no_deletion() -> None:
    FindingFactory()
    with pytest.raises(ProgrammingError, match="permission denied"):
        execute(
            "SELECT set_config('chestx.erasure', 'on', true); "
            "DELETE FROM diagnoses_finding"
        )


@pytest.mark.django_db
def test_findings_are_added_to_running_runs_only() -> None:
    finding = FindingFactory.build(prediction=PredictionFactory(succeeded=True))
    refused = pytest.raises(ProgrammingError, match="row-level security")
    with refused, transaction.atomic():
        finding.save()
    PredictionFactory()
    (claimed,) = claim("worker-1")
    running = Prediction.objects.get(pk=claimed.prediction_id)
    FindingFactory.build(prediction=running).save()
    assert Finding.objects.get().prediction == running


@pytest.mark.django_db(transaction=True)
def test_no_patient_is_added_to_an_event_of_another_transaction() -> None:
    event = audit.record(action="view", actor=None, source="web")
    with pytest.raises(ProgrammingError, match="row-level security"):
        execute(
            "INSERT INTO accounts_auditsubject (event_id, patient_uuid) "
            "VALUES (%s, %s)",
            event.pk,
            ANY,
        )


@pytest.mark.django_db
def test_events_are_numbered_and_dated_by_the_database() -> None:
    first, second = (
        audit.record(action="view", actor=None, source="web") for _ in range(2)
    )
    assert second.pk == first.pk + 1
    stored = AuditEvent.objects.get(pk=second.pk)
    assert (stored.at, stored.at >= first.at) == (second.at, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "erase",
    [
        lambda study: execute("SELECT erase_study(%s)", study.pk),
        lambda study: execute("SELECT erase_patient(%s)", study.patient_id),
    ],
    ids=["study", "patient"],
)
def test_nothing_is_erased_without_an_audit_event(
    erase: Callable[[Study], None],
) -> None:
    study = StudyFactory()
    with pytest.raises(IntegrityError, match="without an audit event"):
        erase(study)
    assert Study.objects.get() == study


@pytest.mark.django_db
def test_rows_about_patients_are_not_deleted_by_the_serving_role() -> None:
    """Except rows that are computed from others."""
    computed = {
        "diagnoses_worklistentry",
        "patients_identitydiscrepancy",
        "patients_searchtext",
    }
    tables = {
        model._meta.db_table
        for label in ("patients", "diagnoses")
        for model in apps.get_app_config(label).get_models()
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name "
            "WHERE has_table_privilege(name, 'DELETE, TRUNCATE')",
            [sorted(tables)],
        )
        assert {name for (name,) in cursor.fetchall()} == computed


@pytest.mark.django_db
def test_every_table_with_limited_privileges_exists() -> None:
    assert set(PRIVILEGES) <= set(connection.introspection.table_names())


@pytest.mark.django_db(transaction=True)
def test_one_role_for_both_is_refused() -> None:
    refused = pytest.raises(ImproperlyConfigured, match="must name different roles")
    with as_owner(), refused:
        grant_privileges(str(connection.settings_dict["USER"]))


@pytest.mark.django_db(transaction=True)
def test_migrate_without_an_owner_says_what_to_set(settings: Settings) -> None:
    settings.DATABASE_OWNER = {}
    with pytest.raises(CommandError, match="Set DATABASE_OWNER_URL"):
        call_command("migrate")


@pytest.mark.django_db(transaction=True)
def test_migrate_takes_back_what_is_not_listed() -> None:
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("GRANT DELETE ON patients_study TO PUBLIC")
        cursor.execute("GRANT DELETE ON patients_study TO chestx_app")
        cursor.execute("REVOKE DELETE ON patients_study FROM PUBLIC")
    call_command("migrate", verbosity=0)
    with pytest.raises(ProgrammingError, match="permission denied"):
        execute("DELETE FROM patients_study")
