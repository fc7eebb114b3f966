"""`manage.py migrate`, as the owner of the tables."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.core.management.commands import migrate

from chestx_site.database.owner import as_owner
from chestx_site.database.privileges import grant_privileges


class Command(migrate.Command):
    """Migrate as the owner, then grant the serving role its rights."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Django's command and grant the privileges."""
        try:
            with as_owner():
                super().handle(*args, **options)
                if not (options["plan"] or options["check_unapplied"]):
                    grant_privileges(settings.DATABASES["default"]["USER"])
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
