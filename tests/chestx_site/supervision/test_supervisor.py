"""The supervisor restarts children, stops them in order, leaves none behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from chestx_site.supervision.processes import ChildProcess, wait_until
from chestx_site.supervision.supervisor import (
    LONGEST_PAUSE_S,
    StopRequested,
    Supervisor,
    Watched,
    stop_requests,
)

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[3]
SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
FAIL = (sys.executable, "-c", "raise SystemExit(3)")


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def supervisor(messages: list[str]) -> Generator[Supervisor, None, None]:
    made = Supervisor(say=messages.append)
    yield made
    made.stop()


def exists(pid: int) -> bool:
    """Say whether a process lives: zombies, which nobody has collected, do not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_child_may_stand_back_for_other_processes(supervisor: Supervisor) -> None:
    child = ChildProcess(name="sleeper", command=SLEEP, niceness=3)
    supervisor.start(child)
    assert child.pid is not None
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(own + 3, 19)


def test_a_child_that_dies_is_restarted(
    supervisor: Supervisor, messages: list[str]
) -> None:
    child = ChildProcess(name="sleeper", command=SLEEP)
    supervisor.start(child)
    first = child.pid
    child.signal(signal.SIGKILL)
    assert child.wait(timeout_s=5)
    supervisor.look_after()
    supervisor.look_after()
    assert child.is_alive()
    assert child.pid != first
    assert "sleeper ended (SIGKILL)" in messages


def test_a_child_that_keeps_failing_is_restarted_with_growing_delays(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(
        "chestx_site.supervision.supervisor.time.monotonic", lambda: now
    )
    starts: list[float] = []
    child = ChildProcess(
        name="failing", command=FAIL, before_start=lambda: starts.append(now)
    )
    supervisor.start(child)
    while now < 60:
        child.wait(timeout_s=10)
        supervisor.look_after()
        now += 0.1
    pauses = [later - before for before, later in itertools.pairwise(starts)]
    assert pauses[0] < 0.5
    assert max(pauses) <= LONGEST_PAUSE_S + 0.5
    assert pauses[-1] >= LONGEST_PAUSE_S - 0.5


def test_a_child_that_ran_long_enough_is_restarted_at_once() -> None:
    watched = Watched(ChildProcess(name="failing", command=FAIL), pause_s=5.0)
    watched.started_at = time.monotonic() - 60
    supervisor = Supervisor(say=lambda _: None)
    supervisor._watched = [watched]
    watched.child.start()
    watched.child.wait(timeout_s=10)
    supervisor.look_after()
    assert watched.due_at is not None
    assert watched.due_at <= time.monotonic()
    supervisor.stop()


def test_a_missing_program_does_not_end_the_supervisor(
    supervisor: Supervisor, messages: list[str]
) -> None:
    child = ChildProcess(name="sleeper", command=SLEEP)
    supervisor.start(child)
    child.command = ["/nowhere/program"]
    child.kill()
    supervisor.look_after()
    supervisor.look_after()
    assert any("could not be started" in sentence for sentence in messages)


def test_children_stop_in_reverse_order(supervisor: Supervisor) -> None:
    stopped: list[str] = []

    class Noted(ChildProcess):
        def stop(self) -> None:
            stopped.append(self.name)
            super().stop()

    for name in ("database", "web", "sweeper"):
        supervisor.start(Noted(name=name, command=SLEEP))
    supervisor.stop()
    assert stopped == ["sweeper", "web", "database"]


def test_children_with_an_early_stop_request_share_the_timeout() -> None:
    slow = (
        "import signal, time;"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), exit(0)));"
        "print('set', flush=True); time.sleep(60)"
    )
    children = [
        ChildProcess(name=name, command=(sys.executable, "-c", slow))
        for name in ("one", "two", "three")
    ]
    for child in children:
        child.start()
    time.sleep(1)
    began = time.monotonic()
    for child in children:
        child.request_stop()
    for child in children:
        child.stop()
    assert time.monotonic() - began < 2.5
    assert [child.exit_status for child in children] == [0, 0, 0]


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    child = ChildProcess(
        name="deaf", command=(sys.executable, "-c", deaf), stop_timeout_s=0.3
    )
    child.start()
    time.sleep(0.5)
    child.stop()
    assert child.exit_status == -signal.SIGKILL


def test_stopping_a_dead_child_ends_its_own_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "grandchild"
    parent = textwrap.dedent(
        f"""
        import pathlib, subprocess, time
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))
        time.sleep(60)
        """
    )
    child = ChildProcess(name="parent", command=(sys.executable, "-c", parent))
    child.start()
    assert wait_until(
        lambda: pid_file.exists() and bool(pid_file.read_text()), timeout_s=10
    )
    grandchild = int(pid_file.read_text())
    child.signal(signal.SIGKILL)
    child.wait(timeout_s=5)
    assert exists(grandchild)
    child.stop()
    assert wait_until(lambda: not exists(grandchild), timeout_s=5)


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "child"
    parent = textwrap.dedent(
        f"""
        import pathlib, time
        from chestx_site.supervision.processes import ChildProcess
        child = ChildProcess(name="sleeper", command=["sleep", "60"])
        child.start()
        pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))
        time.sleep(60)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert wait_until(
        lambda: pid_file.exists() and bool(pid_file.read_text()), timeout_s=20
    )
    pid = int(pid_file.read_text())
    assert exists(pid)
    process.kill()
    process.wait()
    assert wait_until(lambda: not exists(pid), timeout_s=4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_stops_and_further_ones_are_deferred(
    number: signal.Signals,
) -> None:
    with stop_requests():
        with pytest.raises(StopRequested, match=number.name):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_swallowed_stop_request_still_ends_the_run(
    supervisor: Supervisor,
) -> None:
    """As in a fork hook, where an exception is printed and forgotten."""
    with stop_requests():
        with suppress(StopRequested):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested, match="SIGTERM"):
            supervisor.run()


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_requests():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_log_over_the_limit_is_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chestx_site.supervision.processes.LONGEST_LOG_BYTES", 10)
    log = tmp_path / "log" / "sleeper.log"
    log.parent.mkdir()
    log.write_text("a long story\n")
    child = ChildProcess(name="sleeper", command=("echo", "new"), log=log)
    child.start()
    assert child.wait(timeout_s=5)
    assert child.log_tail() == "new"
    assert log.with_suffix(".old.log").read_text() == "a long story\n"


def test_a_hanging_child_is_restarted(
    supervisor: Supervisor, messages: list[str]
) -> None:
    child = ChildProcess(name="worker", command=SLEEP, stop_timeout_s=0.2)
    supervisor.start(child)
    first = child.pid
    child.signal(signal.SIGSTOP)
    supervisor.restart(child, reason="it takes no work")
    supervisor.look_after()
    supervisor.look_after()
    assert child.is_alive()
    assert child.pid != first
    assert "Restarting worker: it takes no work" in messages
