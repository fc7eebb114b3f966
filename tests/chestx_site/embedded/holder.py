"""A program that holds the embedded servers as `manage.py services` does."""

import os
import sys
from pathlib import Path

import django

from chestx_site.embedded.services import EmbeddedServices
from chestx_site.supervision.supervisor import StopRequested, Supervisor, stop_requests


def say(sentence: str) -> None:
    """Print a sentence for the test that reads the output."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def main() -> None:
    """Hold both servers until a signal comes."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")
    django.setup()  # messages are translated
    try:
        with (
            stop_requests(),
            EmbeddedServices(Path(sys.argv[1]), say=say, durable=False) as services,
        ):
            supervisor = Supervisor(say=say)
            supervisor.adopt(services.servers)
            say("ready")
            supervisor.run()
    except StopRequested as request:
        say(f"stopped by {request}")


main()
