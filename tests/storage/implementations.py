"""What the tests of the protocol need of an implementation beside the protocol itself."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from tests.storage.memory import MemoryLibrary, MemoryStorage
from zsindex.storage import tables
from zsindex.storage.protocol import Storage
from zsindex.storage.sqlite.storage import SqliteStorage

if TYPE_CHECKING:
    from zsindex.storage.postgres.storage import PostgresStorage


class Implementation(Protocol):
    """One library of some implementation."""

    def open(self, *, read_only: bool = False) -> Storage:
        """A handle on it, which is closed at the end."""
        ...

    def damage(self, *, seq: int | None = None, prompt: str | None = None, content: bytes) -> None:
        """Put other bytes in place of a stored vector."""
        ...

    def close(self) -> None:
        """Close all handles."""
        ...


class OnSqlite:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: list[SqliteStorage] = []

    def open(self, *, read_only: bool = False) -> Storage:
        self._opened.append(SqliteStorage.open(self._folder, create=False, read_only=read_only))
        return self._opened[-1]

    def damage(self, *, seq: int | None = None, prompt: str | None = None, content: bytes) -> None:
        embeddings, prompts = tables.embeddings, tables.prompts
        storage = SqliteStorage.open(self._folder, create=False)
        with closing(storage), storage.database.write("damage") as connection:
            connection.execute(sa.update(embeddings).where(embeddings.c.seq == seq).values(vector=content))
            connection.execute(sa.update(prompts).where(prompts.c.text == prompt).values(vector=content))

    def close(self) -> None:
        for storage in self._opened:
            storage.close()


class OnPostgres:
    """A database of a server."""

    def __init__(self, folder: Path) -> None:
        from tests.storage import postgres_server

        self._server = postgres_server.running()
        self._folder = folder
        self.url = self._server.clean_library()
        self._opened: list[PostgresStorage] = []

    def open(self, *, read_only: bool = False) -> Storage:
        from zsindex.storage.postgres.storage import PostgresStorage

        self._opened.append(PostgresStorage.open(self.url, read_only=read_only, folder=self._folder))
        return self._opened[-1]

    def damage(self, *, seq: int | None = None, prompt: str | None = None, content: bytes) -> None:
        import psycopg

        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE zsindex.embeddings SET vector = %s WHERE seq = %s", (content, seq))
            connection.execute("UPDATE zsindex.prompts SET vector = %s WHERE text = %s", (content, prompt))

    def close(self) -> None:
        for storage in self._opened:
            storage.close()
        self._server.give_back(self.url)


class InMemory:
    """Dictionaries."""

    def __init__(self, folder: Path, kind: type[MemoryStorage] = MemoryStorage) -> None:
        self._folder, self._kind, self._library = folder, kind, MemoryLibrary()

    def open(self, *, read_only: bool = False) -> Storage:
        return self._kind(self._folder, self._library, read_only=read_only)

    def damage(self, *, seq: int | None = None, prompt: str | None = None, content: bytes) -> None:
        state = self._library.state
        for key, stored in state.embeddings.items():
            if stored.seq == seq:
                state.embeddings[key] = stored._replace(vector=content)
        for name, found in state.prompts.items():
            if name[1] == prompt:
                state.prompts[name] = found._replace(vector=content)

    def close(self) -> None:
        pass
