"""Hints to the workers that there is work: the only thing that goes through the broker.

A hint carries nothing, no identifier and no patient's data. That one is lost, late or
sent twice changes nothing: the rows of Prediction are the work, and the sweeper
repeats hints.
"""

from __future__ import annotations

import logging

from celery import current_app
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

QUEUE = "inference"
TASK = "diagnoses.run_next"
# OSError: what a socket says itself when nobody listens at the other end.
BROKER_ERRORS = (KombuError, RedisError, OSError)


def send_hints(count: int = 1) -> int:
    """Tell the workers that there is work, once a film.

    Returns:
        How many hints the broker took; fewer than asked for where it is down, which
        is logged and hurts nobody.
    """
    for sent in range(count):
        try:
            current_app.send_task(TASK, queue=QUEUE, retry=False)
        except BROKER_ERRORS as error:
            logger.warning(
                "%d of %d hints were not sent (%s); the sweeper repeats them",
                *(count - sent, count, type(error).__name__),
            )
            return sent
    return count


def hints_waiting() -> int:
    """Count the hints that no worker has taken yet.

    Raises:
        KombuError, RedisError, OSError: The broker does not answer (BROKER_ERRORS).
    """
    with current_app.connection_for_read() as connection:
        return int(connection.default_channel.client.llen(QUEUE))
