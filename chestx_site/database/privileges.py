"""What the serving role may do with each table.

The role of DATABASE_URL serves: it owns nothing, so it can neither change a table nor
switch off a trigger. `migrate` grants what stands here after every run.
"""

from __future__ import annotations

from collections import defaultdict

from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext
from psycopg import sql

_READ = "SELECT"
_APPEND = "SELECT, INSERT"
# Rows about a patient are deleted by the erasure functions alone.
_KEEP = "SELECT, INSERT, UPDATE"
_CHANGE = "SELECT, INSERT, UPDATE, DELETE"

# Number and time of an event are written by the database, so they are not in the list.
_AUDIT_EVENT = (
    "SELECT, INSERT (actor_uuid, actor_name, action, object_kind, object_uuid, source, "
    "address, outcome, detail)"
)
_AUDIT_SUBJECT = "SELECT, INSERT (event_id, patient_uuid)"
_AUDIT_CHANGE = "SELECT, INSERT (event_id, patient_uuid, field, old, new)"

# Tables that are not named here, such as sessions, may be changed.
PRIVILEGES = {
    "django_migrations": _READ,
    "accounts_auditevent": _AUDIT_EVENT,
    "accounts_auditsubject": _AUDIT_SUBJECT,
    "accounts_auditchange": _AUDIT_CHANGE,
    "patients_patient": _KEEP,
    "patients_study": _KEEP,
    "patients_series": _KEEP,
    "patients_instance": _KEEP,
    "patients_upload": _KEEP,
    "patients_patientassignment": _KEEP,
    "patients_patientcorrection": _KEEP,
    "patients_flagreconciliation": _APPEND,
    "diagnoses_modelversion": _KEEP,
    "diagnoses_operatingpoint": _APPEND,
    "diagnoses_statechange": _APPEND,
    "diagnoses_siteacceptance": _APPEND,
    "diagnoses_prediction": _KEEP,
    "diagnoses_finding": _APPEND,
    "diagnoses_heatmap": _APPEND,
}
FUNCTIONS = ("erase_study(uuid)", "erase_patient(uuid)", "erase_uploads(uuid[])")


def grant_privileges(serving: str) -> None:
    """Grant a role what `PRIVILEGES` says, and nothing else.

    The connection is the owner's.

    Args:
        serving: Name of the role of DATABASE_URL.

    Raises:
        ImproperlyConfigured: A role is a superuser, or one role is both.
    """
    role = sql.Identifier(serving)
    with transaction.atomic(), connection.cursor() as cursor:
        _refuse_unfit_roles(cursor, serving)
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
            "AND relnamespace = 'public'::regnamespace ORDER BY relname"
        )
        tables = defaultdict(list)
        for (table,) in cursor.fetchall():
            tables[PRIVILEGES.get(table, _CHANGE)].append(sql.Identifier(table))
        statements = [
            sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(role),
            sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role),
        ]
        statements += [
            sql.SQL("GRANT {} ON {} TO {}").format(
                sql.SQL(privileges), sql.SQL(", ").join(names), role
            )
            for privileges, names in tables.items()
        ]
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name "
            "WHERE to_regprocedure(name) IS NOT NULL",
            [list(FUNCTIONS)],
        )
        for (function,) in cursor.fetchall():
            name = sql.SQL(function)
            statements += [
                sql.SQL("REVOKE ALL ON FUNCTION {} FROM PUBLIC").format(name),
                sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(name, role),
            ]
        for statement in statements:
            cursor.execute(statement)


def _refuse_unfit_roles(cursor: CursorWrapper, serving: str) -> None:
    cursor.execute(
        "SELECT rolname, rolsuper, rolname = current_user FROM pg_roles "
        "WHERE rolname IN (%s, current_user)",
        [serving],
    )
    for name, is_superuser, is_owner in cursor.fetchall():
        if is_superuser:
            message = gettext("The database role %(role)s must not be a superuser.")
            raise ImproperlyConfigured(message % {"role": name})
        if name == serving and is_owner:
            raise ImproperlyConfigured(
                gettext(
                    "DATABASE_URL and DATABASE_OWNER_URL must name different roles: "
                    "the role that serves must not own the tables."
                )
            )
