"""Supervisor: restarts child processes that die, and ends them when it ends.

Children never outlive the supervisor (chestx_site/supervision/processes.py), so even
`kill -9` of it leaves no process behind.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from django.utils.translation import gettext

from chestx_site.supervision.processes import ChildProcess

# A child that ran at least this long restarts at once.
WELL_STARTED_S = 5.0
LONGEST_PAUSE_S = 5.0
FIRST_PAUSE_S = 0.2
LOOK_INTERVAL_S = 0.2


class StopRequested(BaseException):
    """SIGTERM, SIGINT or SIGHUP came: stop the current work."""


class _Request:
    """The signal that asked this process to stop; "" if none has."""

    signal_name = ""


@contextmanager
def stop_requests() -> Generator[None, None, None]:
    """Raise StopRequested at the first stop signal and ignore further ones.

    Handlers are set explicitly, because a shell starts background jobs with SIGINT
    ignored. If Python swallows the exception (in a fork hook or a finaliser),
    `raise_if_stop_requested` raises it again.
    """
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def request(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        _Request.signal_name = signal.Signals(number).name
        raise_if_stop_requested()

    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield
    finally:
        _Request.signal_name = ""
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_stop_requested() -> None:
    """Raise StopRequested if a stop signal has come."""
    if _Request.signal_name:
        raise StopRequested(_Request.signal_name)


@dataclass
class Watched:
    """A child process with the times of its latest starts."""

    child: ChildProcess
    started_at: float = field(default_factory=time.monotonic)
    pause_s: float = 0.0
    due_at: float | None = None


class Supervisor:
    """Starts child processes, restarts those that die, and stops them in order."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        """Create a supervisor without children.

        Args:
            say: Prints a sentence.
        """
        self._say = say
        self._watched: list[Watched] = []

    def adopt(self, children: Iterable[ChildProcess]) -> None:
        """Watch children that are already running."""
        self._watched += [Watched(child) for child in children]

    def start(self, child: ChildProcess) -> None:
        """Start a child and watch it."""
        child.start()
        self.adopt([child])

    def all_alive(self) -> bool:
        """Return whether every child is running."""
        return all(watched.child.is_alive() for watched in self._watched)

    def look_after(self) -> None:
        """Restart each child that died, after five seconds at most."""
        for watched in self._watched:
            if watched.due_at is not None:
                self._bring_back(watched)
            elif not watched.child.is_alive():
                self._plan_return(watched)

    def run(self, *, every_look: Callable[[], None] | None = None) -> None:
        """Watch the children until StopRequested is raised."""
        while True:
            raise_if_stop_requested()
            self.look_after()
            if every_look:
                every_look()
            time.sleep(LOOK_INTERVAL_S)

    def restart(self, child: ChildProcess, *, reason: str) -> None:
        """Stop a child that does not work; it restarts by itself."""
        self._say(
            gettext("Restarting %(process)s: %(reason)s")
            % {"process": child.name, "reason": reason}
        )
        child.stop()

    def stop(self) -> None:
        """Stop the children in reverse order."""
        while self._watched:
            self._watched.pop().child.stop()

    def _plan_return(self, watched: Watched) -> None:
        now = time.monotonic()
        if now - watched.started_at >= WELL_STARTED_S:
            watched.pause_s = 0.0
        watched.due_at = now + watched.pause_s
        child = watched.child
        child.kill()  # its remaining processes must not run beside the new start
        message = (
            gettext("%(process)s ended (%(how)s); next start in %(seconds).1f s")
            if watched.pause_s
            else gettext("%(process)s ended (%(how)s)")
        )
        self._say(
            message
            % {
                "process": child.name,
                "how": _how(child.exit_status),
                "seconds": watched.pause_s,
            }
        )
        if watched.pause_s == FIRST_PAUSE_S and child.log:  # not at every restart
            self._say(
                gettext("The end of %(log)s:\n%(lines)s")
                % {"log": child.log, "lines": child.log_tail()}
            )
        watched.pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * watched.pause_s))

    def _bring_back(self, watched: Watched) -> None:
        if watched.due_at is None or time.monotonic() < watched.due_at:
            return
        watched.started_at, watched.due_at = time.monotonic(), None
        try:
            watched.child.start()
        except OSError as error:  # no memory, process or disk space: try again later
            self._say(
                gettext("%(process)s could not be started: %(error)s")
                % {"process": watched.child.name, "error": error}
            )


def _how(exit_status: int | None) -> str:
    """Describe how a process ended."""
    if exit_status is not None and exit_status < 0:
        return signal.Signals(-exit_status).name
    return gettext("exit status %(status)s") % {"status": exit_status}
