"""Checks of local TCP ports."""

from __future__ import annotations

import errno
import socket

from chestx_site.supervision.processes import wait_until

# After a kill -9 the processes of the last run may take a moment to end.
LONGEST_WAIT_S = 5.0


def wait_for_free_port(
    host: str, port: int, *, timeout_s: float = LONGEST_WAIT_S
) -> bool:
    """Wait until a port is free; return whether it is in time."""
    return wait_until(
        lambda: port_is_free(host, port), timeout_s=timeout_s, interval_s=0.1
    )


def port_is_free(host: str, port: int) -> bool:
    """Return whether this process can listen on a port.

    Raises:
        OSError: The port cannot be used for a reason other than being taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
