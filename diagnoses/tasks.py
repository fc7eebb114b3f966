"""The one Celery task: a hint arrived, so look whether an image waits.

A hint carries nothing; what there is to do stands in the rows of Prediction. Twice
the same hint, or one too many, finds nothing and ends.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init
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

logger = logging.getLogger(__name__)

# The longest that a worker may say nothing inside a transaction; its own take 20 ms.
FROZEN_AFTER = "8s"
# One set a process: made before the fork, filled after it.
models = LoadedModels()


@worker_process_init.connect
def _warm_up(**_: Any) -> None:
    """Load a model before the first image, in each process of its own; others after."""
    connection_created.connect(_end_frozen_transactions, dispatch_uid=TASK)
    models.warm_up()


def _end_frozen_transactions(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Let the database end a transaction of a worker that is frozen inside it.

    Its locks would keep the image from the sweeper, and the study from uploads.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, false)",
            [FROZEN_AFTER],
        )


@shared_task(name=TASK)
def run_next() -> None:
    """Claim the best waiting image, if there is one, and read it; on a GPU a batch."""
    submitted_identity = claim_next(worker_name())
    if len(submitted_identity) < 2:
        for claimed in submitted_identity:
            _read(claimed)
        return
    with ExitStack() as heartbeats:
        # Of all of them to the end: what a batch leaves waits while others are read.
        for claimed in submitted_identity:
            heartbeats.enter_context(Heartbeat(claimed))
        for claimed in _left_of_batch(submitted_identity):
            _read(claimed)


def _left_of_batch(submitted_identity: list[Claimed]) -> list[Claimed]:
    """Read several images at once; return those that are to be read by themselves."""
    try:
        return read_batch(submitted_identity, models=models)
    except DATABASE_GONE:
        # Their leases expire, and the sweeper gives them back.
        raise
    except Exception:
        logger.exception("A batch failed unexpectedly; its images are read one by one")
        return submitted_identity


def _read(claimed: Claimed) -> None:
    try:
        read_claimed(claimed, models=models)
    except DATABASE_GONE:
        # Its lease expires, and the sweeper gives it back.
        raise
    except Exception:
        logger.exception("Prediction %s failed unexpectedly", claimed.prediction_id)
        unexpected = partial(
            fail,
            claimed,
            reason_code="internal_error",
        )
        on_fresh_connection(unexpected)
