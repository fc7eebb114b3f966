"""Make the demo's patients, who do not exist."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext, gettext_noop, ngettext

from patients.phantom.load import create_demo_patients


class Command(BaseCommand):
    """Create patients with drawn chest images; run again, it changes nothing."""

    help = gettext_noop(
        "Create the demo patients with drawn images marked SYNTHETIC. Run again, it "
        "changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Translate the description."""
        parser.description = gettext(self.help)

    def handle(self, *args: Any, **options: Any) -> None:
        """Create them and print how many images are new."""
        if settings.PRODUCTION:
            raise CommandError(
                gettext("Demo patients cannot be created in production.")
            )
        made = create_demo_patients()
        words = ngettext(
            "%(count)d synthetic image added",
            "%(count)d synthetic images added",
            made,
        )
        self.stdout.write(words % {"count": made})
