"""Child processes that end with their parent process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pwd import struct_passwd
from typing import IO

_PR_SET_PDEATHSIG = 1
# Loaded here: loading libraries after a fork is not safe.
_libc = ctypes.CDLL(None, use_errno=True)

LONGEST_LOG_BYTES = 10_000_000


def die_with_parent(parent_pid: int, *, signal_number: int = signal.SIGKILL) -> None:
    """Set PDEATHSIG: the kernel ends this process when its parent ends.

    The kernel watches the *thread* that forked, so fork from a long-lived thread. A
    change of user clears the setting: call this afterwards.

    Args:
        parent_pid: The expected parent; if it has already ended, this process ends.
        signal_number: The signal that the kernel sends.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _prepare_child(parent_pid: int, death_signal: int, niceness: int) -> None:
    """Reset signal handlers, set niceness and PDEATHSIG in the forked child."""
    os.nice(niceness)
    # A shell starts background jobs with SIGINT ignored, and exec keeps that.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent(parent_pid, signal_number=death_signal)


@dataclass
class ChildProcess:
    """A child process with its own process group.

    Attributes:
        name: Name in messages.
        command: The program and its arguments.
        log: The file for its output; None: the output of this process.
        account: The account to run it under; None: the current user.
        stop_signal: Signal that asks its main process to stop.
        death_signal: Signal that the kernel sends when this process dies.
        niceness: How far it stands back for other processes: 0 to 19.
        stop_timeout_s: Time to stop before its group is killed.
        environment: Variables in addition to those of this process.
        before_start: Called before every start.
    """

    name: str
    command: Sequence[str]
    log: Path | None = None
    account: struct_passwd | None = None
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    niceness: int = 0
    stop_timeout_s: float = 4.0
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: Path | None = None
    before_start: Callable[[], None] | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _give_up_at: float | None = field(default=None, init=False)
    _group_may_live: bool = field(default=False, init=False)

    @property
    def pid(self) -> int | None:
        """The process id of the latest start, None before the first."""
        return self._process.pid if self._process else None

    @property
    def exit_status(self) -> int | None:
        """The exit status (negative: a signal); None before the end."""
        return self._process.poll() if self._process else None

    def is_alive(self) -> bool:
        """Return whether the program is running."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Kill what is left of an earlier start, then start the program."""
        self._kill_group()
        self._give_up_at = None
        if self.before_start:
            self.before_start()
        account = self.account
        with contextlib.ExitStack() as stack:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=stack.enter_context(self._open_log()) if self.log else None,
                stderr=subprocess.STDOUT if self.log else None,
                cwd=self.working_dir,
                env={**os.environ, **self.environment},
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                # Runs after the change of user, which clears PDEATHSIG.
                preexec_fn=partial(
                    _prepare_child, os.getpid(), self.death_signal, self.niceness
                ),
            )
        self._group_may_live = True

    def signal(self, number: int) -> None:
        """Send a signal to the main process, if it runs."""
        if self._process and self.is_alive():
            self._process.send_signal(number)

    def wait(self, *, timeout_s: float) -> bool:
        """Wait for the end; return whether it comes in time."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def request_stop(self) -> None:
        """Ask the main process to stop, once, without waiting."""
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + self.stop_timeout_s
            self.signal(self.stop_signal)

    def stop(self) -> None:
        """Ask the main process to stop, wait, then kill what is left of its group."""
        self.request_stop()
        if self._give_up_at is not None:
            self.wait(timeout_s=max(0.0, self._give_up_at - time.monotonic()))
        self._kill_group()

    def kill(self) -> None:
        """Kill the main process and its group at once."""
        self._kill_group()

    def log_tail(self, *, lines: int = 8) -> str:
        """Return the last lines of the log, for error messages."""
        if self.log is None or not self.log.exists():
            return ""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _kill_group(self) -> None:
        """Kill the remaining processes of the group of the latest start.

        Only once: the number of an ended group may be used again by another program.
        """
        if self._process is None or not self._group_may_live:
            return
        with contextlib.suppress(ProcessLookupError):  # nothing is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._group_may_live = False

    def _open_log(self) -> IO[bytes]:
        if self.log is None:
            raise ValueError(f"{self.name} has no log")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LONGEST_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        return self.log.open("ab")


def wait_until(
    condition: Callable[[], bool], *, timeout_s: float, interval_s: float = 0.03
) -> bool:
    """Wait until the condition holds; return whether it does in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(interval_s)
    return True
