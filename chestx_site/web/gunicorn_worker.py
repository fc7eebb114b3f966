"""gunicorn's threaded worker, with threads that never wait for a slow client.

The main loop receives the header and a small body of each request before a thread gets
it, and sends on what a client does not take at once. Uploads, whose bodies are read by
their thread, have threads of their own. A client below the minimum rate loses its
connection.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from chestx_site.web.client_socket import (
    GRACE_S,
    LEAST_BYTES_A_SECOND,
    ClientSocket,
)

HEADER_DEADLINE_S = 10.0
LARGEST_HEADER_BYTES = 64 * 1024
# Larger bodies are read by a thread of the uploads.
LARGEST_RECEIVED_BODY_BYTES = 256 * 1024
UPLOAD_PATHS = (b"/upload/", b"/api/v1/uploads/")
UPLOAD_THREADS = 4
# After the answer the rest of the body is read and dropped, so that a client that is
# still sending gets the answer and no reset (RFC 9112, 9.6).
LINGER_S = 3.0
_RECEIVE_BYTES = 64 * 1024
_LOOK_INTERVAL_S = 0.5
_TOO_LATE = b"HTTP/1.1 408 Request Timeout"
_HEADER_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"


@dataclass(frozen=True)
class RequestHead:
    """What the header of a request says about its body.

    Attributes:
        end: Where the body starts.
        body_bytes: Content-Length, 0 without one.
        is_upload: A thread of the uploads answers it.
        streams: Its thread reads the body from the connection.
    """

    end: int
    body_bytes: int
    is_upload: bool
    streams: bool


def read_head(received: bytes) -> RequestHead | None:
    """Return what the header says, None while it is incomplete.

    gunicorn parses it again and refuses what is malformed.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    request_line, *lines = received[:end].split(b"\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _colon, value in (line.partition(b":") for line in lines)
    }
    length = headers.get(b"content-length", b"")
    body_bytes = int(length) if length.isdigit() and len(length) < 16 else 0
    method, _blank, target = request_line.partition(b" ")
    streams = (
        body_bytes > LARGEST_RECEIVED_BODY_BYTES
        or len(length) >= 16
        or b"transfer-encoding" in headers
        or b"expect" in headers
    )
    posts_files = method == b"POST" and target.startswith(UPLOAD_PATHS)
    return RequestHead(end + 4, body_bytes, streams or posts_files, streams)


class Connection(TConn):
    """A connection with what has been received of its next request.

    Attributes:
        deadline: When it is closed, by the monotonic clock.
        streams: The body of the current request is read by its thread.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, ClientSocket(sock), client, server)
        self.received = bytearray()
        self.deadline = 0.0
        self.has_head = False
        self.streams = False


class BufferingWorker(ThreadWorker):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._upload_threads = ThreadPoolExecutor(UPLOAD_THREADS, "upload")
        # Connections that wait in the main loop, the longest first, with what follows
        # when their deadline is over.
        self._waiting: dict[Connection, Callable[[Connection], None]] = {}
        self._next_look = 0.0

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; the main loop receives its first request."""
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, sock, client, listener.getsockname())
        self._receive(conn, HEADER_DEADLINE_S)
        if self.nr_conns >= self.worker_connections:
            self._drop_longest_waiting()

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Answer a request; announce the end of a connection whose body streams."""
        if conn.streams:
            req.force_close()
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Return whether the connection can be used again.

        A received body is in memory; the rest of a streamed one is dropped.
        """
        if not keepalive or conn.streams:
            return False
        return bool(conn.parser.finish_body(deadline=time.monotonic() + 1))

    def finish_request(self, conn: Connection, future: Future[bool]) -> None:
        """Send on what is left of the answer, then close or wait for a request."""
        failed = future.cancelled() or future.exception() is not None
        then = self._linger
        if not failed and future.result() and self.alive:
            then = self._await_next
        if conn.sock.is_flushed:
            then(conn)
            return
        self._wait(conn, selectors.EVENT_WRITE, partial(self._flush, then), GRACE_S)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections whose deadline is over."""
        now = time.monotonic()
        if now < self._next_look and not force:
            return
        self._next_look = now + _LOOK_INTERVAL_S
        for conn, too_late in list(self._waiting.items()):
            if force or conn.deadline <= now:
                too_late(conn)

    def murder_pending(self) -> None:
        """Do nothing: all waiting connections are in one list here."""

    def _cap_keepalive(self, deadline: float) -> None:
        """Close connections without a request when the worker stops."""
        for conn in [c for c in self._waiting if not c.received]:
            if conn.sock.is_flushed:
                self._close(conn)

    def _await_next(self, conn: Connection) -> None:
        """Wait for the next request; a part of it may have been received already."""
        conn.received = bytearray(conn.parser.unreader.take_buffered())
        self._receive(conn, self.cfg.keepalive)
        if conn.received:
            self._look_at_received(conn)

    def _receive(self, conn: Connection, seconds: float) -> None:
        conn.has_head = conn.streams = False
        self._wait(conn, selectors.EVENT_READ, self._take, seconds, self._too_late)

    def _take(self, conn: Connection) -> None:
        """Receive what has arrived of a request."""
        data = conn.sock.receive_now(_RECEIVE_BYTES)
        if not data:
            self._close(conn)
            return
        if not conn.received:
            conn.deadline = time.monotonic() + HEADER_DEADLINE_S
        conn.received += data
        if conn.has_head:
            earned = conn.deadline + len(data) / LEAST_BYTES_A_SECOND
            conn.deadline = min(earned, time.monotonic() + GRACE_S)
        self._look_at_received(conn)

    def _look_at_received(self, conn: Connection) -> None:
        """Give the request to a thread once enough of it is there."""
        # An empty line before a request is ignored (RFC 9112, 2.2).
        received = conn.received.lstrip(b"\r\n")
        head = read_head(bytes(received[:LARGEST_HEADER_BYTES]))
        if head is None:
            if len(received) >= LARGEST_HEADER_BYTES:
                self._refuse(conn, _HEADER_TOO_LARGE)
            return
        if not conn.has_head:
            conn.has_head = True
            conn.deadline = time.monotonic() + GRACE_S
        if not head.streams and len(received) < head.end + head.body_bytes:
            return
        self._forget(conn)
        conn.streams, conn.received = head.streams, bytearray()
        conn.init()
        conn.parser.unreader.unread(bytes(received))
        threads = self._upload_threads if head.is_upload else self.tpool
        future = threads.submit(self.handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def _flush(self, then: Callable[[Connection], None], conn: Connection) -> None:
        """Send on what the client takes now."""
        earned = conn.deadline + conn.sock.flush() / LEAST_BYTES_A_SECOND
        conn.deadline = min(earned, time.monotonic() + GRACE_S)
        if conn.sock.is_flushed:
            self._forget(conn)
            then(conn)

    def _too_late(self, conn: Connection) -> None:
        if conn.received:
            self._refuse(conn, _TOO_LATE)
        else:
            self._close(conn)

    def _refuse(self, conn: Connection, status_line: bytes) -> None:
        """Answer a request that no thread gets."""
        self._forget(conn)
        end = b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        conn.sock.sendall(status_line + end)
        self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        """Announce the end, drop what still arrives, then close."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        self._wait(conn, selectors.EVENT_READ, self._discard, LINGER_S)

    def _discard(self, conn: Connection) -> None:
        if not conn.sock.receive_now(_RECEIVE_BYTES):
            self._close(conn)

    def _wait(
        self,
        conn: Connection,
        event: int,
        ready: Callable[[Connection], None],
        seconds: float,
        too_late: Callable[[Connection], None] | None = None,
    ) -> None:
        """Let the main loop wait for a client, for so many seconds."""

        def happened(_sock: ClientSocket) -> None:
            try:
                ready(conn)
            except BlockingIOError:
                return
            except OSError:
                self._close(conn)

        conn.deadline = time.monotonic() + seconds
        self._waiting[conn] = too_late or self._close
        self.poller.register(conn.sock, event, happened)

    def _forget(self, conn: Connection) -> None:
        if self._waiting.pop(conn, None) is not None:
            self.poller.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.sock.close()

    def _drop_longest_waiting(self) -> None:
        """Make room: the longest waiting client is most probably a slow one."""
        for conn in self._waiting:
            self._close(conn)
            return
