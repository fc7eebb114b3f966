"""Detects a worker that runs but takes no work."""

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
# A restarted worker loads its model before it takes images.
GRACE_S = 60.0


class QueueWatchdog(threading.Thread):
    """Thread that checks regularly whether the queue is stalled.

    A thread, because a database that hangs blocks the check, and the supervisor must
    not wait for it.
    """

    def __init__(self, stalled: Callable[[], bool]) -> None:
        """Create the thread; it checks nothing before `start`.

        Args:
            stalled: Returns whether images wait with messages sent and no claims.
        """
        super().__init__(name="queue-watchdog", daemon=True)
        self._stalled = stalled
        self._alarm = threading.Event()
        self._quiet_until = time.monotonic() + GRACE_S

    def run(self) -> None:
        """Check until the process ends."""
        while True:
            time.sleep(LOOK_INTERVAL_S)
            if time.monotonic() >= self._quiet_until and self.queue_stands_still():
                self._quiet_until = time.monotonic() + GRACE_S
                self._alarm.set()

    def take_alarm(self) -> bool:
        """Return whether there is an alarm, and reset it."""
        if not self._alarm.is_set():
            return False
        self._alarm.clear()
        return True

    def queue_stands_still(self) -> bool:
        """Check once; without database or broker the answer is no."""
        try:
            return self._stalled()
        except DATABASE_GONE + BROKER_ERRORS as error:
            logger.info("the queue cannot be checked: %s", error)
            return False
        finally:
            connections.close_all()
