"""The suites over PostgreSQL: with ``ZSINDEX_TEST_LIBRARY=postgres`` each folder that a test makes a library of stands
for one on a throw-away server. In the folder lies what is derived, as on any machine, and a file that says which
database holds the rest. Copying the folder copies the library.

The seam is `zsindex.session.storages`, through which all libraries are opened, so that no test has to say so. In
processes that tests start, `tests/in_every_process/sitecustomize.py` puts it there. What only a folder can do is marked
``folder``, with the reason, and left out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

VARIABLE = "ZSINDEX_TEST_LIBRARY"
# Where the server is, for the processes that tests start.
SERVER_VARIABLE = "ZSINDEX_TEST_SERVER"
FILE_NAME = "on-server.json"
SITE = Path(__file__).parent / "in_every_process"

_numbers = count(1)
# Databases of libraries that this process has made.
_taken: list[str] = []


def asked() -> bool:
    """Whether the tests shall run over a server."""
    chosen = os.environ.get(VARIABLE, "folder")
    assert chosen in ("folder", "postgres"), f"{VARIABLE} is folder or postgres, not {chosen!r}"
    return chosen == "postgres"


def start() -> None:
    """Start the server, for this process and those that it starts.

    Raises:
        RuntimeError: there can be none.
    """
    from tests.storage import postgres_server

    reason = postgres_server.missing()
    if reason is not None:
        raise RuntimeError(f"{VARIABLE}=postgres: {reason}")
    server = postgres_server.running()
    server.give_back(server.clean_library())  # so that there is a template
    os.environ[SERVER_VARIABLE] = server.url("postgres")
    here = [str(SITE), str(SITE.parent.parent)]
    sys.path[:0] = here
    os.environ["PYTHONPATH"] = os.pathsep.join([*here, *filter(None, [os.environ.get("PYTHONPATH")])])
    install()


def install() -> None:
    """Let folders stand for libraries on the server, in this process."""
    from zsindex.errors import LibraryNotFound
    from zsindex.session import storages

    in_folder, is_in_folder = storages.open_storage, storages.is_at

    def open_storage(
        place: Path | str, *, create: bool = False, read_only: bool = False, unfinished: bool = False
    ) -> storages.SqlStorage:
        if isinstance(place, str) or is_in_folder(place):
            return in_folder(place, create=create, read_only=read_only, unfinished=unfinished)
        name = _database_of(place)
        if name is None:
            if read_only or not create or (place.exists() and not _is_free(place)):
                return in_folder(place, create=create, read_only=read_only)  # which says what is wrong
            name = _make(place)
        from zsindex.storage.postgres.storage import PostgresStorage

        if not place.is_dir():
            raise LibraryNotFound(place)
        return PostgresStorage.open(_url(name), read_only=read_only, folder=place, unfinished=unfinished)

    def is_at(place: Path | str) -> bool:
        return (isinstance(place, Path) and (place / FILE_NAME).exists()) or is_in_folder(place)

    storages.open_storage, storages.is_at = open_storage, is_at


@contextmanager
def for_one_test() -> Iterator[None]:
    """Gives back what is made meanwhile."""
    from tests.storage import postgres_server

    before = len(_taken)
    yield
    import psycopg

    server = postgres_server.running()
    for name in _taken[before:]:
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        try:
            server.give_back(_url(name))
        except psycopg.Error:  # a test has changed its schema
            server.drop(_url(name))
    del _taken[before:]


def is_of(folder: Path) -> bool:
    """Whether a folder stands for a library on the server."""
    return (folder / FILE_NAME).exists()


def rows(folder: Path) -> list[str]:
    """All that the library of a folder holds on the server, as text."""
    import psycopg

    from zsindex.storage.tables import metadata

    found: list[str] = []
    with psycopg.connect(_url(str(_database_of(folder)))) as link:
        for table in metadata.sorted_tables:
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            query = f"SELECT {columns} FROM zsindex.{table.name}"
            found += [f'"{table.name}" {row}' for row in link.execute(query.encode())]
    return sorted(found)


def execute(folder: Path, *statements: str) -> None:
    """Change what the library of a folder holds on the server, by statements each of which changes something."""
    import psycopg

    with psycopg.connect(_url(str(_database_of(folder)))) as link:
        link.execute(b"SET search_path = zsindex")
        for statement in statements:
            assert link.execute(statement.encode()).rowcount > 0, statement


def sessions(folder: Path) -> int:
    """How many sessions on the server use the library of a folder; none, if those that end now have ended."""
    import psycopg

    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(_url("postgres")) as link:
        for _ in range(1500):
            (found,) = link.execute(query, (_database_of(folder),)).fetchone() or (0,)
            link.rollback()
            if not found:
                break
            time.sleep(0.02)
    return int(found)


def _is_free(place: Path) -> bool:
    return place.is_dir() and not any(place.iterdir())


def _database_of(folder: Path) -> str | None:
    """The database that a folder stands for; None where it is no library. A copy of a folder gets one of its own."""
    file = folder / FILE_NAME
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    name, of = said["database"], Path(said["folder"])
    if of == folder:
        return str(name)
    if not (of / FILE_NAME).exists():  # it was moved
        _note(folder, name)
        return str(name)
    own = _make(folder)
    _copy(str(name), own)
    return own


def _make(folder: Path) -> str:
    """Make an empty library that a folder stands for."""
    if os.environ.get("PYTEST_VERSION") and "tests.storage.postgres_server" in sys.modules:
        from tests.storage import postgres_server

        name = postgres_server.running().clean_library().rpartition("/")[2]
    else:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        _execute("postgres", f"CREATE DATABASE {name} TEMPLATE empty_library")
        _execute(name, "UPDATE zsindex.settings SET value = gen_random_uuid()::text WHERE key = 'library'")
    _taken.append(name)
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder, name)
    return name


def _note(folder: Path, name: str) -> None:
    with suppress(PermissionError):
        content = json.dumps({"database": name, "folder": str(folder)})
        (folder / FILE_NAME).write_text(content, encoding="utf-8")


def _copy(one: str, other: str) -> None:
    """Copy all rows of one library into an empty one."""
    import psycopg

    with psycopg.connect(_url(one)) as source, psycopg.connect(_url(other)) as target:
        for table in _tables():
            query = f"SELECT * FROM zsindex.{table}" + (" WHERE key <> 'library'" if table == "settings" else "")
            with source.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)".encode()) as copy:
                content = b"".join(bytes(part) for part in copy)
            with target.cursor().copy(f"COPY zsindex.{table} FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.write(content)
        numbers = source.execute(
            "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'zsindex' AND last_value IS NOT NULL"
        )
        for sequence, last in numbers.fetchall():
            target.execute("SELECT setval(('zsindex.' || %s)::regclass, %s)", (sequence, last))


def _tables() -> list[str]:
    from zsindex.storage.tables import metadata

    return [table.name for table in metadata.sorted_tables]


def _execute(name: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(_url(name), autocommit=True) as link:
        link.execute(statement.encode())


def _url(name: str) -> str:
    return f"{os.environ[SERVER_VARIABLE].rpartition('/')[0]}/{name}"
