"""Claim queued predictions and renew their leases.

A claim takes the first queued rows in one statement, raises their `attempt` and sets a
lease by the database's clock. A claim with the present attempt holds the row; that
number is the fence that `diagnoses.runs` checks before each write.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models.functions import Now

from diagnoses.latest_runs import default_names
from diagnoses.models import Prediction

logger = logging.getLogger(__name__)

DATABASE_GONE = (OperationalError, InterfaceError)
# A database restart takes seconds; after this time the task ends and its row waits.
PATIENCE_S = 30.0
_PAUSE_S = 0.2

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Claimed:
    """A claimed row; the claim is valid while `attempt` is that of the row."""

    prediction_id: UUID
    attempt: int


# A waiting row gains one step of priority per INFERENCE_AGEING_S. All rows gain at the
# same rate, so the order of two rows never changes, and a routine image waits for a
# bounded time under constant stat load. Models other than the default ones are half a
# step behind: each image gets its first result before any image gets its second. Shadow
# runs are one step below routine. SKIP LOCKED: workers never wait for one another.
# MATERIALIZED: the rows are picked once, whatever plan the update gets.
_CLAIM = """
WITH pick AS MATERIALIZED (
    SELECT waiting.id FROM diagnoses_prediction AS waiting
    JOIN diagnoses_modelversion AS model ON model.id = waiting.model_version_id
    WHERE status = 'queued' AND not_before <= statement_timestamp()
        AND (NOT model.card ? 'runs_on' OR model.card -> 'runs_on' ? %(device)s)
    ORDER BY CASE WHEN shadow THEN -1 ELSE priority END
        - CASE WHEN model.name = ANY(%(defaults)s) THEN 0 ELSE 0.5 END
        + extract(epoch FROM statement_timestamp() - queued_at) / %(ageing_s)s DESC,
        waiting.id
    LIMIT %(count)s
    FOR UPDATE OF waiting SKIP LOCKED
)
UPDATE diagnoses_prediction AS claimed
SET status = 'running',
    attempt = claimed.attempt + 1,
    worker = %(worker)s,
    started_at = statement_timestamp(),
    lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
FROM pick
WHERE claimed.id = pick.id
RETURNING claimed.id, claimed.attempt
"""

_RENEW = """
UPDATE diagnoses_prediction
SET lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
WHERE id = %(prediction_id)s AND status = 'running' AND attempt = %(attempt)s
"""


def claim(worker: str, *, count: int = 1, device: str = "cpu") -> list[Claimed]:
    """Claim the first queued rows: stat, urgent, routine, with ageing.

    Args:
        worker: Name of the worker; stored with the row.
        count: Maximum number of rows: 1 on a CPU, a batch on a GPU.
        device: "cpu" or "gpu"; models whose card excludes it are left to other workers.

    Returns:
        The claimed rows; fewer or none if fewer are waiting.
    """
    values = {
        "worker": worker[: Prediction._meta.get_field("worker").max_length],
        "count": count,
        "device": device,
        "defaults": list(default_names()),
        "ageing_s": settings.INFERENCE_AGEING_S,
        "lease_s": settings.INFERENCE_LEASE_S,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        return [Claimed(row[0], row[1]) for row in cursor.fetchall()]


def is_a_worker_busy() -> bool:
    """Return whether a worker holds a valid lease.

    It is working, however long one image takes, and may be too busy to answer the
    broker.
    """
    return Prediction.objects.filter(
        status=Prediction.Status.RUNNING, lease_expires_at__gt=Now()
    ).exists()


def renew_lease(claimed: Claimed) -> bool:
    """Extend a lease; False if the claim no longer holds the row."""
    values = {
        "prediction_id": claimed.prediction_id,
        "attempt": claimed.attempt,
        "lease_s": settings.INFERENCE_LEASE_S,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, values)
        return cursor.rowcount == 1


def on_fresh_connection(
    function: Callable[[], _Result], *, patience_s: float = PATIENCE_S
) -> _Result:
    """Call a repeatable function, and retry it while the database is away.

    Raises:
        OperationalError, InterfaceError: The database stayed away for `patience_s`.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return function()
        except DATABASE_GONE:
            if connection.in_atomic_block or time.monotonic() >= give_up_at:
                raise
            connection.close()
            time.sleep(_PAUSE_S)


class Heartbeat:
    """Renew a lease while the work goes on, from a thread with its own connection.

    It ends with the work, when another worker holds the row, and after
    INFERENCE_HARD_LIMIT_S, so that hanging work does not keep its row. Work shorter
    than a third of the lease costs no query.

    Attributes:
        lost: Set when the claim loses the row; the result will be discarded.
    """

    def __init__(self, claimed: Claimed) -> None:
        self.lost = threading.Event()
        self._claimed = claimed
        self._done = threading.Event()
        self._interval_s = settings.INFERENCE_LEASE_S / 3
        self._thread = threading.Thread(
            target=self._beat, name="heartbeat", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        last_beat = time.monotonic() + settings.INFERENCE_HARD_LIMIT_S
        try:
            while not self._done.wait(self._interval_s):
                if time.monotonic() > last_beat or not self._renew():
                    self.lost.set()
                    return
        finally:
            connection.close()

    def _renew(self) -> bool:
        """Renew once; if the database is away, try again at the next beat."""
        try:
            return renew_lease(self._claimed)
        except DATABASE_GONE as error:
            logger.warning("A lease was not renewed: %s", type(error).__name__)
            connection.close()
            return True
