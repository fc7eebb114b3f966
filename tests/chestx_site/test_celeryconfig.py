"""The Celery configuration as a worker loads it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from django.conf import settings
from kombu.exceptions import OperationalError

from chestx_site.celery import app


def test_time_limits_are_derived_from_one_setting() -> None:
    hard = settings.INFERENCE_HARD_LIMIT_S
    assert app.conf.task_time_limit == hard
    assert app.conf.task_soft_time_limit == pytest.approx(0.9 * hard)
    visibility = app.conf.broker_transport_options["visibility_timeout"]
    assert visibility == pytest.approx(1.1 * hard)


def test_messages_are_json_only() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


def test_the_message_of_a_lost_worker_is_redelivered() -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1


def test_a_worker_reconnects_to_its_broker() -> None:
    """Measured: without remote control it is alive and never consumes again."""
    assert app.conf.worker_enable_remote_control
    assert app.conf.broker_connection_max_retries is None
    assert app.conf.worker_proc_alive_timeout >= 60


def test_publishing_to_an_unreachable_broker_fails_at_once(tmp_path: Path) -> None:
    nowhere = f"redis+socket://{tmp_path / 'no.sock'}"
    began = time.monotonic()
    with (
        app.connection_for_write(url=nowhere) as broker,
        pytest.raises(OperationalError),
    ):
        app.send_task("nobody.listens", connection=broker, retry=False)
    assert time.monotonic() - began < 2
