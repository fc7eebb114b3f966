"""Keeps processes running below one process, and ends them with it.

Children never outlive the supervisor (chestx_site/supervision/processes.py), so a `kill
-9` of it leaves nothing behind, and the next start finds a clean place.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from chestx_site.supervision.processes import ChildProcess

# A child that ran for this long had started well: it comes back at once.
WELL_STARTED_S = 5.0
LONGEST_PAUSE_S = 5.0
FIRST_PAUSE_S = 0.2
LOOK_INTERVAL_S = 0.2


class StopRequested(BaseException):
    """SIGTERM, SIGINT or SIGHUP came, and whatever runs now is to be left."""


class _Request:
    """The signal that asked this process to stop; "" while none has."""

    signal_name = ""


@contextmanager
def stop_requests() -> Generator[None, None, None]:
    """Turn the first signal to stop into StopRequested, and ignore further ones.

    Handlers are set explicitly, because a shell starts background jobs with SIGINT
    ignored. Where Python swallows the exception (in a fork hook or a finaliser), the
    request is not lost: `raise_if_stop_requested` raises it again.
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
    """Raise StopRequested if a signal came that nobody has heard yet."""
    if _Request.signal_name:
        raise StopRequested(_Request.signal_name)


@dataclass
class Watched:
    """A child and what is known of its latest starts."""

    child: ChildProcess
    started_at: float = field(default_factory=time.monotonic)
    pause_s: float = 0.0
    due_at: float | None = None


class Supervisor:
    """Starts children, brings back those that die, and stops them in order."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        """Watch nobody yet.

        Args:
            say: Takes a sentence for the person who watches.
        """
        self._say = say
        self._watched: list[Watched] = []

    def adopt(self, children: Iterable[ChildProcess]) -> None:
        """Watch children that run already."""
        self._watched += [Watched(child) for child in children]

    def start(self, child: ChildProcess) -> None:
        """Start a child and watch it."""
        child.start()
        self.adopt([child])

    def all_alive(self) -> bool:
        """Say whether every child runs."""
        return all(watched.child.is_alive() for watched in self._watched)

    def look_after(self) -> None:
        """Bring back each child that died, at the latest five seconds after."""
        for watched in self._watched:
            if watched.due_at is not None:
                self._bring_back(watched)
            elif not watched.child.is_alive():
                self._plan_return(watched)

    def run(self, *, every_look: Callable[[], None] | None = None) -> None:
        """Look after the children until StopRequested comes."""
        while True:
            raise_if_stop_requested()
            self.look_after()
            if every_look:
                every_look()
            time.sleep(LOOK_INTERVAL_S)

    def restart(self, child: ChildProcess, *, reason: str) -> None:
        """Stop a child that runs but does not work; it comes back by itself."""
        self._say(f"{child.name} is started again: {reason}")
        child.stop()

    def stop(self) -> None:
        """Stop the children, the youngest first."""
        while self._watched:
            self._watched.pop().child.stop()

    def _plan_return(self, watched: Watched) -> None:
        now = time.monotonic()
        if now - watched.started_at >= WELL_STARTED_S:
            watched.pause_s = 0.0
        watched.due_at = now + watched.pause_s
        child = watched.child
        child.kill()  # what it left behind must not work on beside its successor
        pause = f"; next start in {watched.pause_s:.1f} s" if watched.pause_s else ""
        self._say(f"{child.name} ended ({_how(child.exit_status)}){pause}")
        if watched.pause_s == FIRST_PAUSE_S and child.log:  # once is enough
            self._say(f"the end of {child.log}:\n{child.log_tail()}")
        watched.pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * watched.pause_s))

    def _bring_back(self, watched: Watched) -> None:
        if watched.due_at is None or time.monotonic() < watched.due_at:
            return
        watched.started_at, watched.due_at = time.monotonic(), None
        try:
            watched.child.start()
        except OSError as error:  # no memory, no process, no disk: it may pass
            self._say(f"{watched.child.name} could not be started: {error}")


def _how(exit_status: int | None) -> str:
    """Describe how a process ended."""
    if exit_status is not None and exit_status < 0:
        return signal.Signals(-exit_status).name
    return f"exit status {exit_status}"
