"""Hints to the workers that there is work: the only thing that goes through the broker.

A hint carries nothing, no identifier and no patient's data. That one is lost, late or
sent twice changes nothing: the rows of Prediction are the work, and the sweeper
repeats hints.
"""

from __future__ import annotations

import logging

from celery import current_app
from django.conf import settings
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

TASK = "diagnoses.run_next"
# OSError: what a socket says itself when nobody listens at the other end.
BROKER_ERRORS = (KombuError, RedisError, OSError)


def send_hints(count: int = 1) -> int:
    """Tell every kind of worker that there is work, once an image.

    Where images wait for CPU and GPU workers (INFERENCE_QUEUES), both are told, and
    who claims first reads.

    Returns:
        How many hints the broker took; fewer than asked for where it is down, which
        is logged and hurts nobody.
    """
    return min(send_hints_to(queue, count) for queue in settings.INFERENCE_QUEUES)


def send_hints_to(queue: str, count: int) -> int:
    """Tell one kind of worker; see `send_hints`."""
    for sent in range(count):
        try:
            current_app.send_task(TASK, queue=queue, retry=False)
        except BROKER_ERRORS as error:
            logger.warning(
                "%d of %d hints were not sent (%s); the sweeper repeats them",
                *(count - sent, count, type(error).__name__),
            )
            return sent
    return count


def hints_waiting() -> dict[str, int]:
    """Count the hints that no worker has taken yet, by queue.

    Raises:
        KombuError, RedisError, OSError: The broker does not answer (BROKER_ERRORS).
    """
    with current_app.connection_for_read() as connection:
        broker = connection.default_channel.client
        return {queue: int(broker.llen(queue)) for queue in settings.INFERENCE_QUEUES}
