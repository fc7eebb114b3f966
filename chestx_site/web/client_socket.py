"""A client's connection with a minimum transfer rate, and answers that do not wait."""

from __future__ import annotations

import errno
import select
import socket
import tempfile
import time
from typing import IO, Any

# A client below this rate is cut off, once it has kept us waiting for the grace time.
# A slow line (20 kB/s) is faster.
LEAST_BYTES_A_SECOND = 8 * 1024
GRACE_S = 20.0
# Of an answer, what the client has not taken yet. More than this keeps the thread.
SPOOLED_BYTES = 64 * 1024 * 1024
_SPOOLED_IN_MEMORY = 1024 * 1024
_STEP_BYTES = 256 * 1024


class SlowClientError(ConnectionResetError):
    """The client is below the minimum transfer rate."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client is too slow")


class Allowance:
    """How long a client may still keep us waiting, in seconds.

    It starts with the grace time, never exceeds it, and grows with each byte.
    """

    def __init__(self) -> None:
        self.left_s = GRACE_S

    def spend(self, seconds: float, transferred_bytes: int) -> None:
        """Take what the client kept us waiting, and add what it earned meanwhile."""
        earned = transferred_bytes / LEAST_BYTES_A_SECOND
        self.left_s = min(GRACE_S, self.left_s - seconds + earned)


class ClientSocket:
    """A non-blocking socket that gunicorn's threads use like a blocking one.

    `recv` waits for the client, at the minimum rate. `sendall` never waits: what the
    client does not take at once is kept, and `flush` sends it on.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._timeout_s: float | None = None
        self._reading, self._writing = Allowance(), Allowance()
        self._unsent: IO[bytes] | None = None
        self._unsent_from = self._unsent_to = 0

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the socket."""
        return getattr(self._sock, name)

    def setblocking(self, flag: bool) -> None:
        """Keep the socket as it is; gunicorn would change it for its own loop."""

    def settimeout(self, timeout_s: float | None) -> None:
        """Set how long one `recv` waits at most."""
        self._timeout_s = timeout_s

    def gettimeout(self) -> float | None:
        """Return how long one `recv` waits at most."""
        return self._timeout_s

    def recv(self, size: int) -> bytes:
        """Return what the client sends; wait for it.

        Raises:
            SlowClientError: It is below the minimum rate.
            TimeoutError: The time of `settimeout` is over.
        """
        while True:
            try:
                data = self._sock.recv(size)
            except BlockingIOError:
                self._wait(select.POLLIN, self._reading)
                continue
            self._reading.spend(0, len(data))
            return data

    def receive_now(self, size: int) -> bytes:
        """Return what has arrived (b"": the client sends no more), without waiting.

        Raises:
            BlockingIOError: Nothing has arrived.
        """
        return self._sock.recv(size)

    def send(self, data: bytes) -> int:
        """Send or keep all of it."""
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send what the client takes at once, and keep the rest.

        Raises:
            SlowClientError: Too much is kept already, and the client is too slow.
        """
        rest = memoryview(data)
        if self.is_flushed:
            rest = rest[self._send_now(rest) :]
        if not rest:
            return
        if self._unsent is None:
            self._unsent = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - see flush
                _SPOOLED_IN_MEMORY
            )
        self._unsent.seek(self._unsent_to)
        self._unsent.write(rest)
        self._unsent_to += len(rest)
        while self._unsent_to - self._unsent_from > SPOOLED_BYTES:
            self._wait(select.POLLOUT, self._writing)
            self._writing.spend(0, self.flush())

    @property
    def is_flushed(self) -> bool:
        """Whether the client has taken everything."""
        return self._unsent_from == self._unsent_to

    def flush(self) -> int:
        """Send what the client takes now, and return how many bytes that is."""
        flushed = 0
        while self._unsent is not None and not self.is_flushed:
            self._unsent.seek(self._unsent_from)
            step = self._unsent.read(min(_STEP_BYTES, self._unsent_to))
            sent = self._send_now(memoryview(step))
            self._unsent_from += sent
            flushed += sent
            if sent < len(step):
                return flushed
        if self._unsent is not None:
            self._unsent.close()
            self._unsent, self._unsent_from, self._unsent_to = None, 0, 0
        return flushed

    def close(self) -> None:
        """Close the connection and drop what was not sent."""
        if self._unsent is not None:
            self._unsent.close()
        self._sock.close()

    def _send_now(self, data: memoryview) -> int:
        sent = 0
        try:
            while sent < len(data):
                sent += self._sock.send(data[sent:])
        except BlockingIOError:
            pass
        return sent

    def _wait(self, event: int, allowance: Allowance) -> None:
        waiting_s = allowance.left_s
        if self._timeout_s is not None:
            waiting_s = min(waiting_s, self._timeout_s)
        began = time.monotonic()
        poll = select.poll()
        poll.register(self._sock, event)
        ready = poll.poll(max(0.0, waiting_s) * 1000)
        allowance.spend(time.monotonic() - began, 0)
        if ready:
            return
        if allowance.left_s <= 0:
            raise SlowClientError
        raise TimeoutError
