"""Hints carry no data, and losing one loses no image."""

from __future__ import annotations

import base64
import json
import time
from io import StringIO

import pytest
from celery import current_app
from django.core.management import call_command
from pytest_django.fixtures import Settings

from diagnoses.hints import TASK, hints_waiting, send_hints
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from tests.diagnoses.conftest import QUEUE
from tests.diagnoses.fakes import image_row

pytestmark = pytest.mark.usefixtures("empty_broker")


def test_sent_hints_are_counted() -> None:
    assert send_hints(3) == 3
    assert hints_waiting() == {QUEUE: 3}


def test_hints_are_sent_to_every_queue(settings: Settings) -> None:
    settings.INFERENCE_QUEUES = [QUEUE, "inference.gpu"]
    with current_app.connection_for_write() as connection:
        connection.default_channel.client.delete("inference.gpu")
    assert send_hints(2) == 2
    assert hints_waiting() == {QUEUE: 2, "inference.gpu": 2}


def test_a_hint_has_no_arguments() -> None:
    send_hints()
    with current_app.connection_for_read() as connection:
        message = json.loads(connection.default_channel.client.lindex(QUEUE, 0))
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([], {})
    assert message["headers"]["task"] == TASK


def test_sending_hints_to_an_unreachable_broker_fails_soon(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = "redis+socket:///nowhere/redis.sock"
    dead = current_app.connection_for_write(url=nobody)

    def send_to_nobody(*args: object, **options: object) -> None:
        dead.ensure_connection(max_retries=1, interval_start=0, timeout=1)

    monkeypatch.setattr("diagnoses.hints.current_app.send_task", send_to_nobody)
    began = time.monotonic()
    assert send_hints(5) == 0
    assert time.monotonic() - began < 3
    assert "5 of 5 hints were not sent" in caplog.text


def test_the_sweeper_command_can_sweep_once(chest_model: ModelVersion) -> None:
    queue_predictions(image_row())
    Prediction.objects.update(hinted_at=None)
    output = StringIO()
    for _ in range(2):
        call_command("sweeper", once=True, stdout=output)
    assert output.getvalue().splitlines() == [
        "0 rows returned to the queue, 1 hints repeated",
        "0 rows returned to the queue, 0 hints repeated",
    ]
    assert hints_waiting() == {QUEUE: 1}
