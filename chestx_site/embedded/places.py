"""Where the embedded servers keep their data and their sockets, and their URLs.

Settings use the first functions, so importing this touches no disk and no Django.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from pathlib import Path
from urllib.parse import quote

# sockaddr_un holds 108 bytes; PostgreSQL and Redis both refuse longer paths.
LONGEST_SOCKET_PATH = 100
POSTGRESQL_SOCKET_NAME = ".s.PGSQL.5432"
DATABASE_NAME = "chestx"
DATABASE_USER = "chestx"
# Where root keeps the servers' data when VAR_DIR lies where an unprivileged
# user may not go, as in a checkout under /root.
ROOT_STATE_DIR = Path("/var/lib/chestx")
TEMPORARY_DIR = Path("/tmp")  # noqa: S108 - short by definition; ownership is checked
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")


class EmbeddedServiceError(Exception):
    """A server cannot be started; the message says what to do about it."""


def state_dir(var_dir: Path) -> Path:
    """Return the folder that holds the servers' data.

    It is VAR_DIR itself, except for root with a VAR_DIR that the unprivileged user
    who runs PostgreSQL cannot reach.
    """
    var_dir = var_dir.resolve()
    if os.geteuid() != 0 or others_may_enter(var_dir):
        return var_dir
    return ROOT_STATE_DIR / _digest(var_dir)


def socket_dir(var_dir: Path) -> Path:
    """Return the folder of both servers' sockets, short enough for a socket's path."""
    inside = state_dir(var_dir) / "run"
    longest = inside / "postgresql" / POSTGRESQL_SOCKET_NAME
    if len(os.fsencode(longest)) <= LONGEST_SOCKET_PATH:
        return inside
    return TEMPORARY_DIR / f"chestx-{os.geteuid()}-{_digest(var_dir.resolve())}"


def postgresql_socket_dir(var_dir: Path) -> Path:
    """Return the folder that PostgreSQL puts its socket into."""
    return socket_dir(var_dir) / "postgresql"


def redis_socket(var_dir: Path) -> Path:
    """Return the path of the socket of Redis."""
    return socket_dir(var_dir) / "redis" / "redis.sock"


def database_url(var_dir: Path) -> str:
    """Return the URL of the embedded PostgreSQL (libpq and django-environ read it)."""
    host = quote(str(postgresql_socket_dir(var_dir)))
    return f"postgresql://{DATABASE_USER}@/{DATABASE_NAME}?host={host}"


def redis_url(var_dir: Path, *, database: int = 0) -> str:
    """Return the URL of the embedded Redis, as Celery and kombu read it."""
    socket = quote(str(redis_socket(var_dir)))
    return f"redis+socket://{socket}?virtual_host={database}"


def unprivileged_account() -> pwd.struct_passwd | None:
    """Return the account that PostgreSQL runs under, None for the caller's own.

    Raises:
        EmbeddedServiceError: Run by root on a system without such an account.
    """
    if os.geteuid() != 0:
        return None
    known = {account.pw_name: account for account in pwd.getpwall()}
    for name in UNPRIVILEGED_ACCOUNTS:
        if name in known:
            return known[name]
    raise EmbeddedServiceError(
        "PostgreSQL refuses to run as root, and this system has no account named "
        f"{' or '.join(UNPRIVILEGED_ACCOUNTS)} to run it under. Start as another user."
    )


def prepare_dir(folder: Path, *, mode: int = 0o700, owner: int | None = None) -> None:
    """Make a folder of exactly this mode and owner, or refuse one that is another's.

    Raises:
        EmbeddedServiceError: There is something else, or it belongs to a stranger.
    """
    owner = os.geteuid() if owner is None else owner
    for parent in reversed(folder.parents):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)  # whatever the umask: another user passes through
    folder.mkdir(exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), owner):
        raise EmbeddedServiceError(
            f"{folder} belongs to another user or is no folder. Remove it, or start "
            "with another VAR_DIR."
        )
    if found.st_uid != owner:
        os.chown(folder, owner, -1)
    folder.chmod(mode)


def others_may_enter(folder: Path) -> bool:
    """Say whether every folder on the way is open to users without any right."""
    return all(
        place.stat().st_mode & stat.S_IXOTH
        for place in (folder, *folder.parents)
        if place.exists()
    )


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
