"""Claim queued predictions and renew their leases.

A claim takes the first queued rows in one statement, raises their `attempt` and sets a
lease by the database's clock. A claim with the present attempt holds the row; that
number is the fence that `diagnoses.runs` checks before each write.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
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
# runs are one step below routine, drawings of the demo below all of these. SKIP LOCKED:
# workers never wait for one another. MATERIALIZED: the rows are picked once, whatever
# plan the update gets. With a row come the waiting rows of its image for models of the
# same network, since one pass scores them all.
_CLAIM = """
WITH readable AS MATERIALIZED (
    SELECT id, name, weights_sha256 FROM diagnoses_modelversion
    WHERE (NOT card ? 'runs_on' OR card -> 'runs_on' ? %(device)s)
        AND NOT id = ANY(%(without)s)
),
pick AS MATERIALIZED (
    SELECT waiting.id, waiting.instance_id, waiting.frame, model.weights_sha256
    FROM diagnoses_prediction AS waiting
    JOIN readable AS model ON model.id = waiting.model_version_id
    WHERE status = 'queued' AND not_before <= statement_timestamp()
    ORDER BY CASE WHEN shadow THEN -1 ELSE priority END
        - CASE WHEN %(drawings)s AND EXISTS (
            SELECT FROM patients_instance AS image
            WHERE image.id = waiting.instance_id AND image.synthetic
        ) THEN 4 ELSE 0 END
        - CASE WHEN model.name = ANY(%(defaults)s) THEN 0 ELSE 0.5 END
        + extract(epoch FROM statement_timestamp() - queued_at) / %(ageing_s)s DESC,
        waiting.id
    LIMIT %(count)s
    FOR UPDATE OF waiting SKIP LOCKED
),
together AS MATERIALIZED (
    SELECT waiting.id FROM pick
    JOIN readable AS model ON model.weights_sha256 = pick.weights_sha256
    JOIN diagnoses_prediction AS waiting
        ON waiting.instance_id = pick.instance_id AND waiting.frame = pick.frame
        AND waiting.model_version_id = model.id
    WHERE status = 'queued' AND not_before <= statement_timestamp()
    FOR UPDATE OF waiting SKIP LOCKED
)
UPDATE diagnoses_prediction AS claimed
SET status = 'running',
    attempt = claimed.attempt + 1,
    worker = %(worker)s,
    started_at = statement_timestamp(),
    lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
FROM together
WHERE claimed.id = together.id
RETURNING claimed.id, claimed.attempt
"""

_RENEW = """
UPDATE diagnoses_prediction
SET lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
FROM unnest(%(ids)s::uuid[], %(attempts)s::integer[]) AS mine (id, attempt)
WHERE diagnoses_prediction.id = mine.id AND status = 'running'
    AND diagnoses_prediction.attempt = mine.attempt
"""


def claim(
    worker: str,
    *,
    count: int = 1,
    device: str = "cpu",
    without: Iterable[UUID] = (),
) -> list[Claimed]:
    """Claim the first queued rows: stat, urgent, routine, with ageing.

    Args:
        worker: Name of the worker; stored with the row.
        count: Maximum number of first rows: 1 on a CPU, a batch on a GPU.
        device: "cpu" or "gpu"; models whose card excludes it are left to other workers.
        without: Model versions whose rows are left waiting.

    Returns:
        The claimed rows, each with the waiting rows of its image whose models share
        its network; none if none is waiting.
    """
    values = {
        "worker": worker[: Prediction._meta.get_field("worker").max_length],
        "count": count,
        "device": device,
        "defaults": list(default_names()),
        "ageing_s": settings.INFERENCE_AGEING_S,
        "lease_s": settings.INFERENCE_LEASE_S,
        "without": list(without),
        # Production has none, and its queue may be long.
        "drawings": not settings.PRODUCTION,
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


def renew_leases(claims: Sequence[Claimed]) -> bool:
    """Extend the leases of the rows that the claims still hold; False if of none."""
    values = {
        "ids": [claimed.prediction_id for claimed in claims],
        "attempts": [claimed.attempt for claimed in claims],
        "lease_s": settings.INFERENCE_LEASE_S,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, values)
        return bool(cursor.rowcount)


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
    """Renew leases while the work goes on, from a thread with its own connection.

    It ends with the work, when no row is held any more, and after
    INFERENCE_HARD_LIMIT_S, so that hanging work does not keep its rows. Work shorter
    than a third of the lease costs no query.

    Attributes:
        lost: Set when no claim holds its row; the results will be discarded.
    """

    def __init__(self, claims: Sequence[Claimed]) -> None:
        self.lost = threading.Event()
        self._claims = claims
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
            return renew_leases(self._claims)
        except DATABASE_GONE as error:
            logger.warning("No lease was renewed: %s", type(error).__name__)
            connection.close()
            return True
