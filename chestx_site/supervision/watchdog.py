"""Notices a worker that lives and takes no work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import connections

from diagnoses.hints import BROKER_ERRORS
from diagnoses.leases import DATABASE_GONE

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 5.0
# A worker that was started again loads its model before it takes anything.
GRACE_S = 60.0


class QueueWatchdog(threading.Thread):
    """Asks from time to time whether the queue stands still; raises an alarm if so.

    A thread, since a frozen database would freeze whoever asks, and the supervisor
    must go on.
    """

    def __init__(self, stalled: Callable[[], bool]) -> None:
        """Watch nothing before `start`.

        Args:
            stalled: Says whether images wait, hints are there, and nobody claims.
        """
        super().__init__(name="queue-watchdog", daemon=True)
        self._stalled = stalled
        self._alarm = threading.Event()
        self._deaf_until = time.monotonic() + GRACE_S

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            time.sleep(LOOK_INTERVAL_S)
            if time.monotonic() >= self._deaf_until and self.queue_stands_still():
                self._deaf_until = time.monotonic() + GRACE_S
                self._alarm.set()

    def take_alarm(self) -> bool:
        """Say whether there is an alarm, and end it."""
        if not self._alarm.is_set():
            return False
        self._alarm.clear()
        return True

    def queue_stands_still(self) -> bool:
        """Ask once; without database or broker nobody can know."""
        try:
            return self._stalled()
        except DATABASE_GONE + BROKER_ERRORS as error:
            logger.info("the queue cannot be asked: %s", error)
            return False
        finally:
            connections.close_all()
