"""Make the demo's patients, who do not exist."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from patients.phantom.load import create_demo_patients


class Command(BaseCommand):
    """Draw phantom chests and take them into the record; again: nothing changes."""

    help = "Make the demo's patients with drawn images, marked SYNTHETIC."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make them, and say how many images are new."""
        if settings.PRODUCTION:
            raise CommandError("Made-up patients have no place in production.")
        made = create_demo_patients()
        self.stdout.write(f"{made} synthetic images added")
