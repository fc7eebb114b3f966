#!/usr/bin/env python
"""Django's command line for ChestX."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError
from django.utils.translation import gettext


def main() -> None:
    """Run a command; report a missing database in one sentence."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        if "--traceback" in sys.argv:
            raise
        message = gettext(
            "ChestX cannot connect to its database: %(error)s\n"
            "Start one with “make demo”, or set DATABASE_URL."
        )
        sys.exit(message % {"error": error})


if __name__ == "__main__":
    main()
