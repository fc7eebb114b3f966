"""The PostgreSQL and Redis servers of the demo, of development and of the tests."""

from chestx_site.embedded.places import (
    EmbeddedServiceError,
    database_owner_url,
    database_url,
    redis_socket,
    redis_url,
    socket_dir,
)

__all__ = [
    "EmbeddedServiceError",
    "database_owner_url",
    "database_url",
    "redis_socket",
    "redis_url",
    "socket_dir",
]
