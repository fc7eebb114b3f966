"""Statements as the owner of the tables, inside the transaction of a test.

Tests run as the role that serves. What it may not do, such as adding findings to a run
that has ended, tests need to arrange a record, and to see what triggers refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from accounts import audit

_CREATE = """
CREATE FUNCTION run_as_owner(statement text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE statement; END $$;
GRANT EXECUTE ON FUNCTION run_as_owner(text) TO "{serving}";
"""


def create_run_as_owner() -> None:
    """Create the function in the test database; the connection is the owner's."""
    with connection.cursor() as cursor:
        cursor.execute(_CREATE.format(serving=settings.DATABASES["default"]["USER"]))


@contextmanager
def by_owner() -> Generator[None, None, None]:
    """Run statements that change something as the owner; no rows come back."""

    def run(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if sql.startswith(("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET")):
            return execute(sql, params, many, context)
        statement = context["cursor"].cursor.mogrify(sql, params)
        return execute("SELECT run_as_owner(%s)", [statement], many, context)

    with connection.execute_wrapper(run):
        yield


@contextmanager
def erasure() -> Generator[None, None, None]:
    """A transaction with the audit event without which nothing may be erased."""
    with transaction.atomic():
        audit.record(
            action="delete", actor=None, source="command", object_kind="patient"
        )
        yield
