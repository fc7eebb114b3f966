"""The decoder child process: start it, send requests, kill it."""

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

_START_TIMEOUT_S = 60
_PIPE_BYTES = 1024 * 1024
# Environment variables that the child gets: no address, no secret.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VAR_DIR")
# One thread each, since the address space is limited.
_ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class DecoderDiedError(Exception):
    """The child ended before it answered."""


class DecoderHungError(Exception):
    """The child did not answer in time, and was killed."""


class DecoderProcess:
    """One child `python -m patients.decoder.child`, used by one caller at a time.

    The kernel ends the child with the *thread* that started it, and request threads
    end, so a thread that lasts starts it.
    """

    def __init__(self, *, memory_bytes: int, folder: Path) -> None:
        self.owner_pid = os.getpid()
        self._memory_bytes = memory_bytes
        self._folder = folder
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="decoder-spawner")
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = bytearray()

    @property
    def pid(self) -> int | None:
        """The process id of the child, None if none runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child if none runs, and wait until it is ready.

        Raises:
            DecoderDiedError: It ended while starting.
            DecoderHungError: It did not start in time.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._process = self._spawner.submit(self._spawn).result()
        self._receive(time.monotonic() + _START_TIMEOUT_S)

    def ask(
        self, request: dict[str, Any], *, timeout_s: float
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a request and return the answer with its bytes.

        Raises:
            DecoderDiedError: The child ended before it answered.
            DecoderHungError: It did not answer in time; it is killed.
        """
        self.start()
        deadline = time.monotonic() + timeout_s
        process = self._running()
        line = json.dumps(request).encode() + b"\n"
        try:
            os.write(_opened(process.stdin).fileno(), line)
            return self._receive(deadline)
        except BrokenPipeError as error:
            self.stop()
            raise DecoderDiedError from error
        except BaseException:
            # The rest of this answer would be read as the next one.
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the child, if there is one, and wait until it has ended."""
        process, self._process = self._process, None
        self._pending.clear()
        if process is not None:
            process.kill()
            with process:
                process.wait()

    def abandon(self) -> None:
        """Close the pipes of a child that belongs to the parent process."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    _opened(pipe).close()
            # The child belongs to the parent process: there is nothing to wait for.
            process.returncode = 0

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {
            name: os.environ[name] for name in _INHERITED if name in os.environ
        }
        process = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable,
                "-m",
                "patients.decoder.child",
                str(os.getpid()),
                str(self._memory_bytes),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=self._folder,
            env={**environment, **_ONE_THREAD},
            start_new_session=True,
        )
        with contextlib.suppress(OSError):  # the system may limit it
            fcntl.fcntl(
                _opened(process.stdout).fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES
            )
        return process

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise DecoderDiedError
        return self._process

    def _receive(self, deadline: float) -> tuple[dict[str, Any], bytearray]:
        """Read one answer; kill a child that does not give it."""
        try:
            while (end := self._pending.find(b"\n")) < 0:
                self._pending += self._read(deadline, _PIPE_BYTES)
            head = json.loads(self._pending[:end])
            payload = bytearray(head.pop("payload_bytes"))
            have = self._pending[end + 1 :]
            payload[: len(have)] = have
            self._pending.clear()
            self._fill(payload, len(have), deadline)
        except BaseException:
            # The rest of this answer would be read as the next one.
            self.stop()
            raise
        return head, payload

    def _fill(self, payload: bytearray, start: int, deadline: float) -> None:
        view = memoryview(payload)
        while start < len(payload):
            self._wait(deadline)
            count = os.readv(_opened(self._running().stdout).fileno(), [view[start:]])
            if count == 0:
                raise DecoderDiedError
            start += count

    def _read(self, deadline: float, most: int) -> bytes:
        self._wait(deadline)
        data = os.read(_opened(self._running().stdout).fileno(), most)
        if not data:
            raise DecoderDiedError
        return data

    def _wait(self, deadline: float) -> None:
        poll = select.poll()
        poll.register(_opened(self._running().stdout).fileno(), select.POLLIN)
        left_ms = max(0, int((deadline - time.monotonic()) * 1000))
        if not poll.poll(left_ms):
            raise DecoderHungError


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    """Return a pipe of the child, which is always started with pipes."""
    if pipe is None:
        raise DecoderDiedError
    return pipe
