"""`manage.py flush`, as the owner of the tables: the serving role may not truncate."""

from typing import Any

from django.core.management.commands import flush

from chestx_site.database.owner import as_owner


class Command(flush.Command):
    """Empty all tables as the owner."""

    def handle(self, **options: Any) -> None:
        """Run Django's command."""
        with as_owner():
            super().handle(**options)
