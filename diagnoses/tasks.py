"""The only Celery task: on a hint, claim a waiting image and read it.

A hint has no content; the rows of Prediction are the work. A repeated hint finds no row
and ends.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from diagnoses.hints import TASK
from diagnoses.leases import (
    DATABASE_GONE,
    Claimed,
    Heartbeat,
    on_fresh_connection,
)
from diagnoses.runs import fail
from diagnoses.worker.batches import read_batch
from diagnoses.worker.read import LoadedModels, claim_next, read_claimed, worker_name
from diagnoses.worker.together import read_together

logger = logging.getLogger(__name__)

# The longest idle time of a worker inside a transaction; usual ones take 20 ms.
FROZEN_AFTER = "8s"
# One set per process: created before the fork, filled after it.
models = LoadedModels()


@worker_process_init.connect
def _warm_up(**_: Any) -> None:
    """Load models in each worker process: the default one first, then the others."""
    connection_created.connect(_end_frozen_transactions, dispatch_uid=TASK)
    models.warm_up()
    if settings.INFERENCE_READY_FILE:
        Path(settings.INFERENCE_READY_FILE).touch()


def _end_frozen_transactions(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Let the database end the transaction of a frozen worker.

    Its locks would block the sweeper and uploads to the study.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, false)",
            [FROZEN_AFTER],
        )


@shared_task(name=TASK)
def run_next() -> None:
    """Claim the first waiting image and read it; on a GPU a batch.

    With its first row come those of the models that share the network.
    """
    claims = claim_next(worker_name(), models=models)
    if not claims:
        return
    # All leases are renewed until the last row is read.
    with Heartbeat(claims):
        for claimed in _left_of_pass(claims) if len(claims) > 1 else claims:
            _read(claimed)


def _left_of_pass(claims: list[Claimed]) -> list[Claimed]:
    """Read several rows at once; return those that are left to read one by one."""
    read_many = read_batch if settings.INFERENCE_BATCH_SIZE > 1 else read_together
    try:
        return read_many(claims, models=models)
    except DATABASE_GONE:
        # Their leases expire, and the sweeper queues them again.
        raise
    except Exception:
        logger.exception("A pass failed unexpectedly; its rows are read one by one")
        return claims


def _read(claimed: Claimed) -> None:
    try:
        read_claimed(claimed, models=models)
    except DATABASE_GONE:
        # Its lease expires, and the sweeper queues it again.
        raise
    except Exception:
        logger.exception("Prediction %s failed unexpectedly", claimed.prediction_id)
        unexpected = partial(
            fail,
            claimed,
            reason_code="internal_error",
        )
        on_fresh_connection(unexpected)
