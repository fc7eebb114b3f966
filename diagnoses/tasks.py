"""The one Celery task: a hint arrived, so look whether a film waits.

A hint carries nothing; what there is to do stands in the rows of Prediction. Twice
the same hint, or one too many, finds nothing and ends.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init

from diagnoses.claims import DATABASE_GONE, Claimed, on_fresh_connection
from diagnoses.hints import TASK
from diagnoses.runs import fail
from diagnoses.worker import LoadedModels, claim_next, read_claimed, worker_name

logger = logging.getLogger(__name__)

# One set a process: made before the fork, filled after it.
models = LoadedModels()


@worker_process_init.connect
def _warm_up(**_: Any) -> None:
    """Load the active models before the first film, in each process of its own."""
    models.warm_up()


@shared_task(name=TASK)
def run_next() -> None:
    """Claim the best waiting film, if there is one, and read it."""
    for claimed in claim_next(worker_name()):
        _read(claimed)


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
            reason="Something went wrong that was not foreseen. The log has it.",
        )
        on_fresh_connection(unexpected)
