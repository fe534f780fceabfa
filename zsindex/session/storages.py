"""Which storage a library has: a folder SQLite, a URL the server that it names. Each is imported when it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from zsindex.storage.database import Database
    from zsindex.storage.postgres.address import Address
    from zsindex.storage.protocol import Storage

    class SqlStorage(Storage, Protocol):
        """A storage over a database that SQLAlchemy speaks to."""

        @property
        def database(self) -> Database:
            """The database."""
            ...


def open_storage(
    place: Path | str, *, create: bool = False, read_only: bool = False, unfinished: bool = False
) -> SqlStorage:
    """Open the storage at a place, as `zsindex.config.library_place` gives it.

    Args:
        create: make the library if there is none; on a server only `create` does that.
        unfinished: also one that is being copied to.

    Raises:
        LibraryNotFound, NotALibrary, LibraryTooNew, LibraryTooOld, LibraryUnreachable, LibraryReadOnly, LibraryDamaged,
        LibraryBusy, StorageFull, StorageFailed, ExtraMissing
    """
    if isinstance(place, str):
        from zsindex.storage.postgres.address import Address

        address = Address(place)  # before psycopg is imported, which may be missing
        from zsindex.storage.postgres.storage import PostgresStorage

        return PostgresStorage.open(address, read_only=read_only, unfinished=unfinished)
    from zsindex.storage.sqlite.storage import SqliteStorage

    return SqliteStorage.open(place, create=create, read_only=read_only)


def is_at(place: Path | str) -> bool:
    """Whether there is a library at a place; in a folder as far as its files' names tell."""
    if isinstance(place, str):
        from zsindex.errors import LibraryNotFound

        try:
            open_storage(place, create=False, read_only=True).close()
        except LibraryNotFound:
            return False
        return True
    from zsindex.storage.sqlite.storage import SqliteStorage

    return SqliteStorage.is_at(place)


def create(place: Path | str) -> bool:
    """Make an empty library; False if there was one. Raises as `open_storage` does."""
    if isinstance(place, str):
        from zsindex.storage.postgres.address import Address

        address = Address(place)
        from zsindex.storage.postgres.database import PostgresDatabase

        return PostgresDatabase.create(address)
    is_new = not is_at(place)
    open_storage(place, create=True, read_only=False).close()
    return is_new


def upgrade(place: Path | str) -> tuple[str, str]:
    """Bring the schema of a library up to date; returns its revisions before and after. In a folder opening does that.
    Raises as `open_storage` does.
    """
    if isinstance(place, str):
        from zsindex.storage.postgres.address import Address

        address = Address(place)
        from zsindex.storage.postgres.database import PostgresDatabase

        return PostgresDatabase.upgrade(address)
    storage = open_storage(place, create=False, read_only=False)
    storage.close()
    return storage.schema(), storage.schema()


def address_of(storage: Storage) -> Address | None:
    """What names a library on a server; None for one that lies in a folder."""
    if isinstance(storage.place, Path):
        return None
    from zsindex.storage.postgres.storage import PostgresStorage

    assert isinstance(storage, PostgresStorage)
    return storage.database.address


def identity_of(storage: Storage) -> str:
    """What tells a library on a server from all others; empty for one that lies in a folder."""
    if isinstance(storage.place, Path):
        return ""
    from zsindex.storage.postgres.storage import PostgresStorage

    assert isinstance(storage, PostgresStorage)
    return storage.database.identity
