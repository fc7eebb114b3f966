"""Planned faults, drawn from a seed so that a run can be repeated."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
from django.db import models
from django.utils.translation import gettext_lazy as _

from chestx_site.embedded.places import redis_socket
from chestx_site.faults.record import Held, Record
from chestx_site.faults.stack import FaultStack


class Fault(models.TextChoices):
    """Kinds of faults, with labels for people."""

    KILL_WORKER = "kill_worker", _("kill -9 of the worker's main process")
    KILL_POOL_CHILD = "kill_pool_child", _("kill -9 of a process that reads images")
    FREEZE_POOL_CHILD = (
        "freeze_pool_child",
        _("a process that reads an image frozen until its lease is over"),
    )
    FLUSH_REDIS = "flush_redis", _("Redis flushed")
    EMPTY_REDIS = "empty_redis", _("Redis killed and restarted empty")
    RESTART_POSTGRESQL = "restart_postgresql", _("PostgreSQL restarted")


# Reading takes some hundredths of a second, so most kills would hit idle processes.
LONGEST_WAIT_FOR_IMAGE_S = 3.0
ONCE = (Fault.FLUSH_REDIS, Fault.EMPTY_REDIS, Fault.RESTART_POSTGRESQL)


@dataclass(frozen=True)
class Planned:
    """A fault and its time, in seconds after the first upload."""

    at_s: float
    fault: Fault


@dataclass
class Loss:
    """An image claimed by a worker that was killed or frozen."""

    prediction_id: str
    attempt: int
    lost_at: float
    given_back_after_s: float | None = None


@dataclass
class Injected:
    """The faults so far."""

    counts: dict[Fault, int] = field(default_factory=lambda: dict.fromkeys(Fault, 0))
    losses: list[Loss] = field(default_factory=list)


def plan(*, seed: int, kills: int, freezes: int, span_s: float) -> list[Planned]:
    """Draw the times of all faults, sorted.

    Args:
        seed: The same seed gives the same plan.
        kills: Number of killed workers.
        freezes: Number of workers frozen while they read.
        span_s: Duration in seconds.
    """
    chance = random.Random(seed)  # noqa: S311 - a plan, not a secret
    kinds = [
        chance.choice((Fault.KILL_WORKER, Fault.KILL_POOL_CHILD)) for _ in range(kills)
    ]
    kinds += [Fault.FREEZE_POOL_CHILD] * freezes
    planned = [Planned(chance.uniform(1, span_s), kind) for kind in kinds]
    planned += [Planned(chance.uniform(0.2, 0.8) * span_s, kind) for kind in ONCE]
    return sorted(planned, key=lambda each: each.at_s)


class Injector:
    """Injects the planned faults and records the images that lose their worker."""

    def __init__(
        self, stack: FaultStack, record: Record, *, planned: list[Planned], seed: int
    ) -> None:
        self.injected = Injected()
        self._stack = stack
        self._record = record
        self._planned = list(planned)
        self._chance = random.Random(seed)  # noqa: S311 - a plan, not a secret
        self._frozen: list[tuple[int, Loss]] = []
        self._killed: list[tuple[list[int], float]] = []
        self._began = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether the plan is finished and no process is frozen."""
        return not (self._planned or self._frozen or self._killed)

    def begin(self) -> None:
        """Start the clock of the plan."""
        self._began = time.monotonic()

    def look(self) -> None:
        """Inject due faults, and check which images were released.

        Raises:
            psycopg.OperationalError: The database is down; call again soon.
        """
        self._note_lost()
        self._note_given_back()
        self._thaw()
        while self._planned and self._is_due(self._planned[0]):
            if not self._inject(self._planned[0].fault):
                return
            self._planned.pop(0)

    def _is_due(self, planned: Planned) -> bool:
        return time.monotonic() - self._began >= planned.at_s

    def _inject(self, fault: Fault) -> bool:
        """Inject one fault; return False if its target is not there yet."""
        acts: dict[Fault, Callable[[], bool]] = {
            Fault.KILL_WORKER: self._kill_worker,
            Fault.KILL_POOL_CHILD: self._kill_pool_child,
            Fault.FREEZE_POOL_CHILD: self._freeze_pool_child,
            Fault.FLUSH_REDIS: self._flush_redis,
            Fault.EMPTY_REDIS: self._empty_redis,
            Fault.RESTART_POSTGRESQL: self._restart_postgresql,
        }
        happened = acts[fault]()
        self.injected.counts[fault] += happened
        return happened

    def _kill_worker(self) -> bool:
        if self._frozen:
            # Its frozen children would die with it and never send a late result.
            return self._kill_pool_child()
        pids = self._stack.pool_pids()
        main = self._stack.worker.pid
        if not pids or main is None:
            return False
        os.kill(main, signal.SIGKILL)
        self._killed.append((pids, time.monotonic()))
        return True

    def _kill_pool_child(self) -> bool:
        """Kill a pool process, if possible while it reads an image."""
        frozen = {pid for pid, _ in self._frozen}
        pids = [pid for pid in self._stack.pool_pids() if pid not in frozen]
        if not pids:
            return False
        held = self._record.running(_names(pids))
        if not held and self._has_patience():
            return False
        pid = _pid(held[0]) if held else self._chance.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._killed.append(([pid], time.monotonic()))
        return True

    def _has_patience(self) -> bool:
        """Return whether the fault may wait longer for a process that reads."""
        waited_s = time.monotonic() - self._began - self._planned[0].at_s
        return waited_s < LONGEST_WAIT_FOR_IMAGE_S

    def _freeze_pool_child(self) -> bool:
        """Freeze a process that reads an image; return False if there is none."""
        pids = self._stack.pool_pids()
        for held in self._record.running(_names(pids)):
            pid = _pid(held)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                loss = Loss(held.prediction_id, held.attempt, time.monotonic())
                self.injected.losses.append(loss)
                self._frozen.append((pid, loss))
                return True
        return False

    def _thaw(self) -> None:
        """Continue frozen processes after another one has claimed their image."""
        for pid, loss in list(self._frozen):
            if self._record.attempt_of(loss.prediction_id) > loss.attempt:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                self._frozen.remove((pid, loss))

    def _flush_redis(self) -> bool:
        client = redis.Redis(unix_socket_path=str(redis_socket(self._stack.var_dir)))
        try:
            return bool(client.flushall())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _empty_redis(self) -> bool:
        self._stack.empty_redis()
        return True

    def _restart_postgresql(self) -> bool:
        self._stack.restart_postgresql()
        return True

    def _note_lost(self) -> None:
        """Record the claimed images of killed processes, when the database answers."""
        while self._killed:
            pids, killed_at = self._killed[0]
            self.injected.losses += [
                Loss(held.prediction_id, held.attempt, killed_at)
                for held in self._record.running(_names(pids))
            ]
            self._killed.pop(0)

    def _note_given_back(self) -> None:
        for loss in self.injected.losses:
            if loss.given_back_after_s is None and not self._record.is_held(
                loss.prediction_id, loss.attempt
            ):
                loss.given_back_after_s = time.monotonic() - loss.lost_at


def _pid(held: Held) -> int:
    """Return the pid of the process that claimed an image."""
    return int(held.worker.rpartition(":")[2])


def _names(pids: list[int]) -> list[str]:
    """Return the worker names of these processes."""
    return [f"{socket.gethostname()}:{pid}" for pid in pids]
