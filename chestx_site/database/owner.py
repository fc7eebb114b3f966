"""Work with the tables as their owner, for migrations only."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils.translation import gettext


@contextmanager
def as_owner() -> Generator[None, None, None]:
    """Connect as the owner of the tables, and as the serving role afterwards.

    Raises:
        ImproperlyConfigured: DATABASE_OWNER_URL is missing.
    """
    owner = settings.DATABASE_OWNER
    if not owner:
        raise ImproperlyConfigured(
            gettext(
                "Set DATABASE_OWNER_URL to the database role that owns the tables: see "
                "docs/deployment.md."
            )
        )
    serving = connection.settings_dict
    # The test runner serves from another database than the settings say.
    connection.close()
    connection.settings_dict = {**serving, **owner, "NAME": serving["NAME"]}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = serving
