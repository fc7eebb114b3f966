"""The parts of the demo, without starting it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from chestx_site.demo import Demo
from chestx_site.supervision import ports
from chestx_site.supervision.demo_secrets import kept_secret
from chestx_site.supervision.watchdog import QueueWatchdog


def test_a_secret_is_generated_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    first = kept_secret(file)
    assert len(first) >= 32
    assert kept_secret(file) == first


def test_a_given_secret_replaces_the_kept_one_and_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    kept_secret(file)
    assert kept_secret(file, given="chosen") == "chosen"
    assert kept_secret(file) == "chosen"


def test_a_secret_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept_secret(tmp_path / "secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not ports.wait_for_free_port("127.0.0.1", port, timeout_s=0.2)
    assert ports.wait_for_free_port("127.0.0.1", port, timeout_s=5)


def test_a_forbidden_port_is_a_different_error_than_a_port_in_use() -> None:
    with pytest.raises(OSError, match="assign"):
        ports.port_is_free("192.0.2.1", 8000)


@pytest.mark.parametrize("stalled", [True, False])
def test_the_watchdog_reports_whether_the_queue_stands_still(stalled: bool) -> None:
    assert QueueWatchdog(lambda: stalled).queue_stands_still() is stalled


@pytest.mark.parametrize("error", [OperationalError(), RedisConnectionError()])
def test_the_watchdog_raises_no_alarm_when_the_queue_cannot_be_read(
    error: Exception,
) -> None:
    def cannot_say() -> bool:
        raise error

    assert not QueueWatchdog(cannot_say).queue_stands_still()


def test_an_alarm_is_kept_until_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chestx_site.supervision.watchdog.LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr("chestx_site.supervision.watchdog.GRACE_S", 0.0)
    watchdog = QueueWatchdog(lambda: True)
    watchdog.start()
    assert watchdog._alarm.wait(5)
    monkeypatch.setattr(watchdog, "_stalled", lambda: False)
    assert watchdog.take_alarm()


def test_a_named_folder_of_real_files_replaces_the_phantoms(
    tmp_path: Path,
) -> None:
    drawn = Demo(say=lambda sentence: None)
    real = Demo(say=lambda sentence: None, load_from=tmp_path)
    assert drawn._loader.command[-1] == "demo_patients"
    assert real._loader.command[-2:] == ["import_studies", str(tmp_path.resolve())]
