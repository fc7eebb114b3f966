#!/usr/bin/env python
"""Django's command line for ChestX."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError


def main() -> None:
    """Run a command; say in a sentence that there is no database, if that is all."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(
            f"ChestX cannot use its database: {error}\n"
            "Nothing runs there? run make demo, or set DATABASE_URL"
        )


if __name__ == "__main__":
    main()
