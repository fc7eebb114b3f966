"""Who may work on which prediction, and until when.

A claim takes the best queued rows in one statement, raises their `attempt` and sets a
lease by the database's clock. Who holds a row's present attempt holds the row; that
number is the fence which `diagnoses.runs` checks before it writes anything.
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

from diagnoses.latest_runs import default_names
from diagnoses.models import Prediction

logger = logging.getLogger(__name__)

DATABASE_GONE = (OperationalError, InterfaceError)
# A database restart takes seconds; longer than this, the task ends and its row waits.
PATIENCE_S = 30.0
_PAUSE_S = 0.2

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Claimed:
    """A row that is mine as long as its `attempt` is this one."""

    prediction_id: UUID
    attempt: int


# Each waiting row gains one step of priority a term of waiting. All gain alike, so the
# order of two rows never changes, and a routine image waits for a bounded time under
# constant stat. Models other than the default ones stand half a step behind: every
# image's first answer comes before any image's second. Shadow runs stand one step below
# routine. SKIP LOCKED: workers never wait for one another; MATERIALIZED: the rows are
# picked once, whatever plan the update gets.
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
    """Take the best queued rows: stat, urgent, routine, with an ageing term.

    Args:
        worker: Who asks; kept with the row.
        count: How many at most: 1 on a CPU, a batch on a GPU.
        device: "cpu" or "gpu"; a model whose card says where it runs, and not there,
            is left to others.

    Returns:
        The rows, fewer or none where fewer wait.
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


def renew_lease(claimed: Claimed) -> bool:
    """Extend a lease; False where the row is no longer mine."""
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
    """Call a function that may be repeated, again while the database is away.

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

    It ends with the work, when the row is somebody else's, and after
    INFERENCE_HARD_LIMIT_S: nothing that hangs keeps its row for ever. Work shorter
    than a third of the lease costs no query.

    Attributes:
        lost: Set once the row is no longer ours; the result will be thrown away.
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
        """Renew once; a database that is away is asked again at the next beat."""
        try:
            return renew_lease(self._claimed)
        except DATABASE_GONE as error:
            logger.warning("A lease was not renewed: %s", type(error).__name__)
            connection.close()
            return True
