"""Hints to the workers that images are waiting: the only use of the broker.

A hint has no content: no identifier and no patient data. A lost, late or repeated hint
does no harm: the rows of Prediction are the work, and the sweeper repeats hints.
"""

from __future__ import annotations

import logging

from celery import current_app
from django.conf import settings
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

TASK = "diagnoses.run_next"
# OSError: raised by a socket when nothing listens at the other end.
BROKER_ERRORS = (KombuError, RedisError, OSError)


def send_hints(count: int = 1) -> int:
    """Send one hint per image to every kind of worker.

    Hints go to CPU and GPU workers (INFERENCE_QUEUES); the first to claim reads.

    Returns:
        How many hints the broker took; fewer if it is down, which is logged and
        harmless.
    """
    return min(send_hints_to(queue, count) for queue in settings.INFERENCE_QUEUES)


def send_hints_to(queue: str, count: int) -> int:
    """Send hints to one kind of worker; see `send_hints`."""
    for sent in range(count):
        try:
            current_app.send_task(TASK, queue=queue, retry=False)
        except BROKER_ERRORS as error:
            logger.warning(
                "%d of %d hints were not sent (%s); the sweeper repeats them",
                count - sent,
                count,
                type(error).__name__,
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
