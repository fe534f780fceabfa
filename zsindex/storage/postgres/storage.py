"""A library on a server, opened by `PostgresStorage.open`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from zsindex.storage.postgres import derived, schema
from zsindex.storage.postgres.address import Address
from zsindex.storage.postgres.database import PostgresDatabase
from zsindex.storage.postgres.failures import translated
from zsindex.storage.postgres.lock import ServerLock
from zsindex.storage.postgres.nearest import PostgresNearest
from zsindex.storage.postgres.reads import PostgresReads
from zsindex.storage.postgres.tables import SCHEMA
from zsindex.storage.seals import Damaged, Kind

if TYPE_CHECKING:
    from zsindex.storage.jobs import SqlJobs
    from zsindex.storage.labels import SqlLabels
    from zsindex.storage.postgres.bulk import PostgresBulk
    from zsindex.storage.postgres.photos import PostgresPhotos

SYNC_TIMEOUT_S = 3.0
# A million vectors are written in some ten seconds.
INDEX_TIMEOUT_S = 60.0
_INVALID = (
    "SELECT i.relname, t.relname FROM pg_catalog.pg_index JOIN pg_catalog.pg_class i ON i.oid = indexrelid"
    " JOIN pg_catalog.pg_class t ON t.oid = indrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace"
    " WHERE nspname = %s AND NOT indisvalid ORDER BY 1"
)


class PostgresStorage:
    """`zsindex.storage.protocol.Storage` over an open database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self.folder = database.folder
        self.place = database.place
        self.writable = database.writable
        self.keeps_snapshots = database.writable or derived.may_keep(database.folder)
        self.reads = PostgresReads(database)
        self.sync_lock = ServerLock(database, "sync", timeout_s=SYNC_TIMEOUT_S)
        self.jobs_lock = ServerLock(database, "jobs", timeout_s=0)
        self.facts_lock = ServerLock(database, "facts", timeout_s=0)
        self.nearest = PostgresNearest(database, self.reads, lambda: self.labels)

    @classmethod
    def open(
        cls,
        address: Address | str,
        *,
        read_only: bool = False,
        folder: Path | None = None,
        unfinished: bool = False,
    ) -> PostgresStorage:
        """Open the library that a URL names; see `PostgresDatabase.open`."""
        address = Address(address) if isinstance(address, str) else address
        return cls(PostgresDatabase.open(address, read_only=read_only, folder=folder, unfinished=unfinished))

    @cached_property
    def index_lock(self) -> ServerLock:
        """Held by the one process of a machine that writes an index file into `folder`."""
        return ServerLock(self.database, f"index {self.database.cache}", timeout_s=INDEX_TIMEOUT_S)

    # Imported with SQLAlchemy when there is something to store, or to ask that not every question asks.

    @cached_property
    def photos(self) -> PostgresPhotos:
        """Photos, models and the index."""
        from zsindex.storage.postgres.photos import PostgresPhotos

        return PostgresPhotos(self.database)

    @cached_property
    def labels(self) -> SqlLabels:
        """The label lab's."""
        from zsindex.storage.labels import SqlLabels

        return SqlLabels(self.database)

    @cached_property
    def jobs(self) -> SqlJobs:
        """A service's jobs."""
        from zsindex.storage.jobs import SqlJobs

        return SqlJobs(self.database)

    @cached_property
    def bulk(self) -> PostgresBulk:
        """Photos with vectors by the thousand."""
        from zsindex.storage.postgres.bulk import PostgresBulk

        return PostgresBulk(self.database)

    def require_open(self) -> None:
        """Raise `LibraryClosed` after `close`."""
        self.database.require_open()

    def require_writable(self, action: str) -> None:
        """Raise `LibraryReadOnly` unless writing is possible; `action` completes "cannot …"."""
        self.database.require_writable(action)

    def again(self, *, read_only: bool = False) -> PostgresStorage:
        """Another handle on the same library, which is closed by itself."""
        return PostgresStorage.open(self.database.address, read_only=read_only, folder=self.folder)

    def close(self) -> None:
        """Let go of it; see `PostgresDatabase.close`."""
        self.database.close()

    def lags(self) -> bool:
        """Whether its server is a standby."""
        return bool(self._asked("SELECT pg_catalog.pg_is_in_recovery()"))

    def position(self) -> str:
        """Where its server is in the log of what was stored."""
        return str(
            self._asked(
                "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
                " ELSE pg_catalog.pg_current_wal_insert_lsn() END::text"
            )
        )

    def has_reached(self, position: str) -> bool:
        """Whether its server has all up to a position; one that is no standby has all that there is."""
        return bool(
            self._asked(
                "SELECT NOT pg_catalog.pg_is_in_recovery()"
                " OR pg_catalog.pg_last_wal_replay_lsn() >= %s::pg_catalog.pg_lsn",
                position,
            )
        )

    def _asked(self, query: str, *parameters: str) -> object:
        with self.database.reading() as link:
            found = link.execute(query.encode(), parameters).fetchone()
        return None if found is None else found[0]

    def kept_snapshots(self) -> dict[int, str]:
        """Those of handles on this machine that cannot store."""
        return {model_id: found.snapshot.file for model_id, found in derived.all_kept(self.folder)}

    def schema(self) -> str:
        """The revision of the schema."""
        return schema.HEAD

    def versions(self) -> dict[str, str]:
        """That of the server."""
        return {"postgresql": self.database.server_version}

    def size_bytes(self) -> int:
        """Bytes of the tables on the server, with their indexes."""
        query = (
            "SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::int8 FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relkind = 'r'"
        )
        with self.database.reading() as link:
            found = link.execute(query, (SCHEMA,)).fetchone()
        return 0 if found is None else int(found[0])

    def backups(self) -> list[Path]:
        """None: they are the server's."""
        return []

    def rebuild_indexes(self) -> bool:
        """Make invalid indexes anew; whether there were any. Needs the owner of the tables."""
        self.database.require_writable("rebuild its indexes")
        with translated(self.database.place, "rebuild its indexes"), self.database.link("hold") as link:
            invalid = link.execute(_INVALID, (SCHEMA,)).fetchall()
            for index, _ in invalid:
                link.execute(f'REINDEX INDEX {SCHEMA}."{index}"'.encode())
        return bool(invalid)

    def damaged_rows(self) -> list[Damaged]:
        """Rows whose checksum is not the one beside them, or in ``seals``. Records of index files have none."""
        from zsindex.storage import mending

        with self.database.read() as connection:
            return [
                found for found in mending.find(connection, self.database.dialect) if found.kind is not Kind.SNAPSHOT
            ]

    def mend(self, damaged: Sequence[Damaged]) -> list[str]:
        """Put right, or forget, damaged rows."""
        from zsindex.storage import mending

        with self.database.write("mend damaged rows") as connection:
            return mending.mend(connection, self.database.dialect, damaged)

    def vacuum(self) -> None:
        """Let the server use the room of deleted rows again. It does so by itself, too, when there are many."""
        self.database.require_writable("vacuum")
        with translated(self.database.place, "vacuum"), self.database.link("hold") as link:
            tables = link.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = %s", (SCHEMA,))
            for (table,) in tables.fetchall():
                link.execute(f'VACUUM (ANALYZE) {SCHEMA}."{table}"')

    def problems(self) -> list[str]:
        """What the server says is wrong with the tables; nothing, one hopes."""
        with self.database.reading() as link:
            rows = link.execute(_INVALID, (SCHEMA,)).fetchall()
        return [f"the index {index} of {table} is not valid: REINDEX INDEX {SCHEMA}.{index}" for index, table in rows]
