"""`manage.py sweeper`: return expired leases to the queue, repeat lost hints."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext

from diagnoses.worker.sweeper import keep_sweeping, sweep_once


class Command(BaseCommand):
    # Checks load every page and route, which a sweeper never needs.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.description = gettext(
            "Return expired leases to the queue and repeat lost hints, until SIGTERM."
        )
        parser.add_argument(
            "--once", action="store_true", help=gettext("Sweep once and end.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            sweep = sweep_once()
            message = gettext(
                "%(given_back)d rows returned to the queue, %(hints)d hints repeated"
            )
            self.stdout.write(
                message % {"given_back": sweep.given_back, "hints": sweep.hints}
            )
            return
        stop = threading.Event()

        def request_stop(number: int, frame: FrameType | None) -> None:
            stop.set()

        signal.signal(signal.SIGTERM, request_stop)
        signal.signal(signal.SIGINT, request_stop)
        keep_sweeping(stop)
