"""Recover lost work: queue rows with expired leases again, repeat lost hints.

It also writes the worklist rows again that another model in use has outdated, and lets
the audit trail have the refusals that were counted.

It only asks the broker how many hints wait, so it also recovers from an emptied broker.
Any number of sweepers may run.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Min, Q, QuerySet
from django.db.models.functions import Greatest, Now

from accounts.errors import AuditUnavailable
from accounts.refusals import counted
from diagnoses.hints import BROKER_ERRORS, hints_waiting, send_hints_to
from diagnoses.leases import DATABASE_GONE, Claimed, is_a_worker_busy
from diagnoses.models import Prediction
from diagnoses.runs import count_lost_worker
from diagnoses.worklist import rebuild_worklist
from patients.storage import sweep_orphans

logger = logging.getLogger(__name__)

Status = Prediction.Status
# A hint without a claim for this long may be lost.
HINT_PATIENCE = timedelta(seconds=5)
# No claim for this long although images and hints wait: the workers are stalled.
STALLED_AFTER_S = 30.0
# A longer wait is shown to users as a delay.
DELAY = timedelta(seconds=60)
ORPHAN_SWEEP_INTERVAL_S = 24 * 3600.0
_MOST_AT_ONCE = 500
# A sweep must not hold up the next one: leases wait for it.
_MOST_WORKLIST_ROWS = 200


@dataclass(frozen=True)
class Sweep:
    """Counts of one sweep."""

    given_back: int
    hints: int
    worklist_rows: int = 0


def sweep_once() -> Sweep:
    """Queue rows of lost workers again, write outdated worklist rows, repeat hints.

    Raises:
        OperationalError, InterfaceError: The database is away.
        KombuError, RedisError, OSError: The broker is away; rows were given back.
    """
    given_back = give_back_expired()
    worklist_rows = rebuild_worklist(most=_MOST_WORKLIST_ROWS)
    return Sweep(given_back, hints=repeat_lost_hints(), worklist_rows=worklist_rows)


def give_back_expired() -> int:
    """Queue rows with expired leases again; return how many.

    A locked row is left for the next sweep: a worker frozen in a transaction must not
    stop the recovery of the other rows.
    """
    with transaction.atomic():
        expired = list(
            Prediction.objects.select_for_update(skip_locked=True)
            .filter(status=Status.RUNNING, lease_expires_at__lt=Now())
            .order_by("lease_expires_at")
            .values_list("pk", "attempt")[:_MOST_AT_ONCE]
        )
    given_back = 0
    for prediction_id, attempt in expired:
        # A heartbeat in between costs its worker the row: the fence keeps it safe.
        if count_lost_worker(Claimed(prediction_id, attempt)):
            logger.warning(
                "The lease of prediction %s, attempt %d, expired",
                prediction_id,
                attempt,
            )
            given_back += 1
    return given_back


def repeat_lost_hints() -> int:
    """Send the hints that are missing for the waiting images; return how many.

    Only if an image has waited too long since its hint, so that a busy queue is left
    alone; never more hints than images, so that they do not pile up.
    """
    waiting = _claimable()
    overdue = waiting.filter(
        Q(hinted_at__isnull=True) | Q(hinted_at__lt=Now() - HINT_PATIENCE)
    )
    if not overdue.exists():
        return 0
    images = waiting.count()
    sent = sum(
        send_hints_to(queue, min(images - queued_hints, _MOST_AT_ONCE))
        for queue, queued_hints in hints_waiting().items()
        if images > queued_hints
    )
    if sent:
        overdue.update(hinted_at=Now())
    return sent


def stalled(*, for_s: float = STALLED_AFTER_S) -> bool:
    """Return whether images and hints wait, but no worker has claimed any for a while.

    Raises:
        OperationalError, InterfaceError: The database is away.
        KombuError, RedisError, OSError: The broker is away.
    """
    since = Now() - timedelta(seconds=for_s)
    waiting = _claimable().filter(queued_at__lt=since, not_before__lt=since)
    if not waiting.exists() or is_a_worker_busy():
        return False
    claimed_lately = Prediction.objects.filter(started_at__gt=since)
    return not claimed_lately.exists() and any(hints_waiting().values())


@dataclass(frozen=True)
class Delay:
    """Since when the oldest image waits; `busy`: workers are analysing others."""

    since: datetime
    busy: bool


def analysis_delay() -> Delay | None:
    """Return the delay of the analysis, or None if it is short.

    Shadow runs do not count.
    """
    waiting = (
        _claimable()
        .filter(shadow=False)
        .aggregate(
            since=Min(
                Greatest("queued_at", "not_before"),
                filter=Q(queued_at__lt=Now() - DELAY, not_before__lt=Now() - DELAY),
            )
        )
    )
    since: datetime | None = waiting["since"]
    return None if since is None else Delay(since, busy=is_a_worker_busy())


def _claimable() -> QuerySet[Prediction]:
    return Prediction.objects.filter(status=Status.QUEUED, not_before__lte=Now())


def keep_sweeping(stop: threading.Event) -> None:
    """Sweep until `stop` is set; wait while the database or broker is away."""
    orphans = threading.Thread(
        target=_keep_sweeping_orphans, args=(stop,), name="orphans", daemon=True
    )
    orphans.start()
    while not stop.wait(settings.SWEEP_INTERVAL_S):
        try:
            sweep = sweep_once()
            counted.flush()
        except (AuditUnavailable, *DATABASE_GONE, *BROKER_ERRORS) as error:
            logger.warning("Nothing swept for now: %s", type(error).__name__)
            connection.close()
            continue
        if any((sweep.given_back, sweep.hints, sweep.worklist_rows)):
            logger.info(
                "%d rows returned to the queue, %d hints repeated, "
                "%d worklist rows written again",
                sweep.given_back,
                sweep.hints,
                sweep.worklist_rows,
            )


def _keep_sweeping_orphans(stop: threading.Event) -> None:
    """Remove orphaned objects once a day, in a thread: listing may take long."""
    due = time.monotonic()
    while not stop.wait(1.0):
        if time.monotonic() < due:
            continue
        due = time.monotonic() + ORPHAN_SWEEP_INTERVAL_S
        try:
            logger.info("%d orphaned objects removed", sweep_orphans())
        except (*DATABASE_GONE, OSError) as error:
            logger.warning("Orphans were not swept: %s", type(error).__name__)
        finally:
            connection.close()
