"""Folders, sockets and URLs of the embedded servers.

Settings import this module, so it reads no file and no settings.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from pathlib import Path
from urllib.parse import quote

from django.utils.translation import gettext

# sockaddr_un holds 108 bytes; PostgreSQL and Redis both refuse longer paths.
LONGEST_SOCKET_PATH = 100
POSTGRESQL_SOCKET_NAME = ".s.PGSQL.5432"
DATABASE_NAME = "chestx"
# Migrates and owns the tables; serves. Neither is a superuser.
DATABASE_OWNER = "chestx_owner"
DATABASE_USER = "chestx_app"
# Data of servers started by root if their unprivileged user cannot enter VAR_DIR,
# for example below /root.
ROOT_STATE_DIR = Path("/var/lib/chestx")
TEMPORARY_DIR = Path("/tmp")  # noqa: S108 - short by definition; ownership is checked
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")


class EmbeddedServiceError(Exception):
    """A server cannot start; the message says what to do."""


def state_dir(var_dir: Path) -> Path:
    """Return the folder of the servers' data.

    It is VAR_DIR, unless root starts the servers and the unprivileged user of
    PostgreSQL cannot enter VAR_DIR.
    """
    var_dir = var_dir.resolve()
    if os.geteuid() != 0 or others_may_enter(var_dir):
        return var_dir
    return ROOT_STATE_DIR / _digest(var_dir)


def socket_dir(var_dir: Path) -> Path:
    """Return the folder of the sockets; its path is short enough for sockets."""
    inside = state_dir(var_dir) / "run"
    longest = inside / "postgresql" / POSTGRESQL_SOCKET_NAME
    if len(os.fsencode(longest)) <= LONGEST_SOCKET_PATH:
        return inside
    return TEMPORARY_DIR / f"chestx-{os.geteuid()}-{_digest(var_dir.resolve())}"


def postgresql_socket_dir(var_dir: Path) -> Path:
    """Return the folder of PostgreSQL's socket."""
    return socket_dir(var_dir) / "postgresql"


def redis_socket(var_dir: Path) -> Path:
    """Return the path of Redis' socket."""
    return socket_dir(var_dir) / "redis" / "redis.sock"


def database_url(var_dir: Path, *, user: str = DATABASE_USER) -> str:
    """Return the URL of the embedded PostgreSQL (libpq and django-environ read it)."""
    host = quote(str(postgresql_socket_dir(var_dir)))
    return f"postgresql://{user}@/{DATABASE_NAME}?host={host}"


def database_owner_url(var_dir: Path) -> str:
    """Return the URL for the role that migrates."""
    return database_url(var_dir, user=DATABASE_OWNER)


def redis_url(var_dir: Path, *, database: int = 0) -> str:
    """Return the URL of the embedded Redis, as Celery and kombu read it."""
    socket = quote(str(redis_socket(var_dir)))
    return f"redis+socket://{socket}?virtual_host={database}"


def unprivileged_account() -> pwd.struct_passwd | None:
    """Return the account that runs PostgreSQL; None: the current one.

    Raises:
        EmbeddedServiceError: Root starts it and there is no such account.
    """
    if os.geteuid() != 0:
        return None
    known = {account.pw_name: account for account in pwd.getpwall()}
    for name in UNPRIVILEGED_ACCOUNTS:
        if name in known:
            return known[name]
    message = gettext(
        "PostgreSQL cannot run as root, and this system has none of these accounts: "
        "%(accounts)s. Start ChestX as another user."
    )
    raise EmbeddedServiceError(message % {"accounts": ", ".join(UNPRIVILEGED_ACCOUNTS)})


def prepare_dir(folder: Path, *, mode: int = 0o700, owner: int | None = None) -> None:
    """Create a folder with this mode and owner, or adjust an existing one.

    Raises:
        EmbeddedServiceError: It is not a folder, or it belongs to another user.
    """
    owner = os.geteuid() if owner is None else owner
    for parent in reversed(folder.parents):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)  # despite the umask: another user must pass through
    folder.mkdir(exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), owner):
        message = gettext(
            "%(folder)s belongs to another user or is not a folder. Remove it, or "
            "start with another VAR_DIR."
        )
        raise EmbeddedServiceError(message % {"folder": folder})
    if status.st_uid != owner:
        os.chown(folder, owner, -1)
    folder.chmod(mode)


def others_may_enter(folder: Path) -> bool:
    """Return whether every user may enter this folder and its parents."""
    return all(
        place.stat().st_mode & stat.S_IXOTH
        for place in (folder, *folder.parents)
        if place.exists()
    )


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
