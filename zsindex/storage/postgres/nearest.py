"""Searches on the server, with pgvector: a table for each model with its vectors as ``halfvec``, and HNSW over them.

The tables lie in a schema of their own: `pg_dump --schema zsindex` leaves them out, and dropping it loses nothing. What
is recorded of them lies with the library. So a backup that is put back knows of an index up to where that was when the
backup was made, and rows up to there are the same in both histories; later ones are never looked at.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import psycopg

from zsindex.errors import NoSearchIndex
from zsindex.records import FloatArray, IdArray
from zsindex.storage.postgres.database import Link, Rows
from zsindex.storage.postgres.failures import translated, words
from zsindex.storage.postgres.lock import ServerLock
from zsindex.storage.postgres.tables import SCHEMA
from zsindex.storage.rows import Candidates, ModelRow, NearestRow, now
from zsindex.storage.stored import from_blobs, is_of_prompt, warn_of_damage, whole_rows

if TYPE_CHECKING:
    from zsindex.storage.labels import SqlLabels
    from zsindex.storage.postgres.database import PostgresDatabase
    from zsindex.storage.postgres.reads import PostgresReads

SEARCH_SCHEMA = "zsindex_search"
OLDEST_PGVECTOR = (0, 8)  # the first that goes on searching where a filter leaves too few
# A graph over ``halfvec`` takes no longer ones.
MOST_DIMENSIONS = 4000
_KIND, _CURRENT, _BEING_MADE = "search", "current", "being made"
_PART_ROWS = 4096
_POLL_S = 0.3
# What a scan that goes on may remember of what it has seen.
_WORK_MEM = "64MB"
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_PROGRESS = (
    "SELECT blocks_done::float8 / nullif(blocks_total, 0) FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s"
)

_GONE = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedFunction,
)

T = TypeVar("T")


class PostgresNearest:
    """`zsindex.storage.protocol.NearestStorage` over an open database."""

    def __init__(self, database: PostgresDatabase, reads: PostgresReads, labels: Callable[[], SqlLabels]) -> None:
        """Args:
        labels: imported with SQLAlchemy, and so only when something is to be recorded.
        """
        self._database = database
        self._reads = reads
        self._labels = labels
        self._place = database.place
        self.lock = ServerLock(database, "search index", timeout_s=0)

    # --- what is recorded ---------------------------------------------------------------------------------------------

    def row(self, model_id: int, *, being_made: bool = False) -> NearestRow | None:
        """What is recorded of a model's index; None where there is none."""
        body = self._reads.derived(model_id, _KIND, _BEING_MADE if being_made else _CURRENT)
        if body is None:
            return None
        return NearestRow(**{**body, "ef_search": tuple(body["ef_search"]), "recall": tuple(body["recall"])})

    def save(self, model_id: int, row: NearestRow | None, *, being_made: bool = False) -> None:
        """Record one, in place of what was recorded; None: that there is none."""
        key = _BEING_MADE if being_made else _CURRENT
        self._labels().save_derived(model_id, _KIND, key, None if row is None else asdict(row))

    # --- reading ------------------------------------------------------------------------------------------------------

    @contextmanager
    def rows(
        self, model: ModelRow, *, after: int = 0, through: int | None = None, image_ids: IdArray | None = None
    ) -> Iterator[Iterator[tuple[IdArray, IdArray, FloatArray]]]:
        """Embeddings between two sequence numbers, of some images or of all; see `NearestStorage.rows`."""
        of_model = "+model_id = %s" if image_ids is None else "model_id = %s AND image_id = ANY(%b::int8[])"
        order = "ORDER BY seq" if image_ids is None else ""
        given = [
            model.id,
            *([] if image_ids is None else [image_ids.tolist()]),
            after,
            2**62 if through is None else through,
        ]
        damaged = 0

        def parts(cursor: Rows) -> Iterator[tuple[IdArray, IdArray, FloatArray]]:
            nonlocal damaged
            while part := cursor.fetchmany(_PART_ROWS):
                whole = whole_rows(part, model.id)
                damaged += len(part) - len(whole)
                seqs, ids = (np.array([row[i] for row in whole], dtype=np.int64) for i in (0, 1))
                yield seqs, ids, from_blobs([row[2] for row in whole], model, self._place)

        with self._database.reading() as link, link.cursor("rows", binary=True) as cursor:
            cursor.execute(
                f"SELECT seq, image_id, vector, checksum FROM embeddings WHERE {of_model} AND seq > %s AND seq <= %s"
                f" {order}",
                given,
            )
            yield parts(cursor)
        if damaged:
            warn_of_damage(damaged, model)

    def last(self, model_id: int) -> int:
        """The last sequence number of a model's embeddings; 0 where it has none."""
        with self._database.reading() as link:
            found = link.execute(
                "SELECT seq FROM embeddings WHERE +model_id = %s ORDER BY seq DESC LIMIT 1", (model_id,)
            )
            row = found.fetchone()
        return 0 if row is None else int(row[0])

    def candidates(
        self,
        row: NearestRow,
        model: ModelRow,
        query: FloatArray,
        n: int,
        *,
        ef_search: int | None,
        through: int,
        image_ids: IdArray | None = None,
        most_scanned: int = 0,
        below: float | None = None,
    ) -> Candidates | None:
        """The `n` of an index that come first for a query; see `NearestStorage.candidates`."""
        conditions, given = ["seq <= %s"], [_literal(query), through]
        if image_ids is not None:
            conditions.append("image_id = ANY(%b::int8[])")
            given.append(image_ids.tolist())
        if below is not None:
            conditions.append("vector <#> %s::halfvec >= %s")
            given += [_literal(query), -below]
        if ef_search is None:
            # Of a sum the graph knows nothing, so all rows are compared.
            distance, order = "(vector <#> %s::halfvec) + 0", "distance"
        else:
            distance, order = "vector <#> %s::halfvec", "vector <#> %s::halfvec"
            # Not EXISTS, of which a join would be made, and the order of the graph be lost.
            conditions.append("(SELECT true FROM embeddings WHERE embeddings.seq = own.seq)")
            given.append(_literal(query))
        nearest = (
            f"SELECT seq, {distance} AS distance FROM {SEARCH_SCHEMA}.{row.table} own WHERE {' AND '.join(conditions)}"
            f" ORDER BY {order} LIMIT {n}"
        )

        def ask(link: Link) -> Candidates:
            near = link.execute(nearest.encode(), given, binary=True).fetchall()
            rows = link.execute(
                "SELECT seq, image_id, vector, checksum FROM embeddings WHERE seq = ANY(%b::int8[]) AND model_id = %s",
                ([found[0] for found in near], model.id),
                binary=True,
            ).fetchall()
            whole = whole_rows(rows, model.id)
            if len(whole) < len(rows):
                warn_of_damage(len(rows) - len(whole), model)
            ids = np.array([found[1] for found in whole], dtype=np.int64)
            lowest = -max((found[1] for found in near), default=0.0) if len(near) == n else -np.inf
            return Candidates(ids, from_blobs([found[2] for found in whole], model, self._place), lowest)

        return self._asked(self._begin(ef_search, most_scanned), ask)

    def found(
        self, row: NearestRow, queries: FloatArray, n: int, *, ef_search: int, most_scanned: int
    ) -> list[IdArray] | None:
        """Ids of the `n` images that come first in an index for each of some queries; None if it is gone."""
        statement = (
            f"SELECT image_id FROM {SEARCH_SCHEMA}.{row.table} ORDER BY vector <#> %s::halfvec LIMIT {n}".encode()
        )

        def ask(link: Link) -> list[IdArray]:
            each = (link.execute(statement, (_literal(query),), binary=True).fetchall() for query in queries)
            return [np.array([row[0] for row in rows], dtype=np.int64) for rows in each]

        return self._asked(self._begin(ef_search, most_scanned), ask)

    def _asked(self, begin: str, ask: Callable[[Link], T]) -> T | None:
        """What an index says; None where its table has just been replaced, or the extension has been removed."""
        with translated(self._place, "search on the server"), self._database.link("read", begin) as link:
            try:
                return ask(link)
            except _GONE:
                return None
            except psycopg.errors.InsufficientPrivilege as error:
                raise NoSearchIndex(
                    self._place,
                    f"{words(error)}. As its owner, run zsindex index build --search again, which lets all read it who"
                    " may read the library",
                ) from error

    def _begin(self, ef_search: int | None, most_scanned: int) -> str:
        """The beginning of a transaction that searches. A plan is made for each question: one that is kept does not
        know how few a filter leaves. With a filter the scan goes on until there are enough.
        """
        settings = {
            "search_path": self._search_path,
            "plan_cache_mode": "force_custom_plan",
            "work_mem": f"'{_WORK_MEM}'",
        }
        if ef_search is not None:
            settings |= {
                "hnsw.ef_search": str(ef_search),
                "hnsw.iterative_scan": "relaxed_order",
                "hnsw.max_scan_tuples": str(max(1, most_scanned)),
                "enable_seqscan": "off",
                "enable_sort": "off",
            }
        sets = "".join(f"; SET LOCAL {name} = {value}" for name, value in settings.items())
        return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{sets}"

    @cached_property
    def _search_path(self) -> str:
        """With the schema that the extension lies in, which is anybody's choice."""
        with self._database.reading() as link:
            found = _extension(link)
        schema = "public" if found is None else found[1]
        return f"{SCHEMA}, {SEARCH_SCHEMA}, {_quoted(schema)}"

    # --- making -------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """See to it that there is pgvector, and a schema; see `NearestStorage.prepare`."""
        self._database.require_writable("build a search index")
        with translated(self._place, "build a search index"), self._database.link("hold") as link:
            self._require_extension(link)
            if _one(link, "SELECT pg_catalog.to_regnamespace(%s)", SEARCH_SCHEMA) is None:
                self._permitted(
                    link,
                    f"CREATE SCHEMA {SEARCH_SCHEMA}",
                    f"CREATE SCHEMA {SEARCH_SCHEMA} AUTHORIZATION {_quoted(link.info.user)}",
                )
            elif not _one(link, "SELECT pg_catalog.has_schema_privilege(%s, 'CREATE')", SEARCH_SCHEMA):
                raise NoSearchIndex(
                    self._place,
                    "this role may make none; as the owner of the schema: GRANT USAGE, CREATE ON SCHEMA"
                    f" {SEARCH_SCHEMA} TO {_quoted(link.info.user)}",
                )
        self.__dict__.pop("_search_path", None)

    def _require_extension(self, link: Link) -> None:
        found = _extension(link)
        if found is None:
            major = link.info.server_version // 10000
            if not _one(link, "SELECT count(*) FROM pg_catalog.pg_available_extensions WHERE name = 'vector'"):
                raise NoSearchIndex(
                    self._place,
                    f"the server, PostgreSQL {major}, has no pgvector. Install it there (packages are called"
                    f" postgresql-{major}-pgvector or pgvector_{major}, or see pgvector's own page), then run this"
                    " again. Without it searches on the server compare all vectors, or this machine keeps these itself"
                    " (ZSINDEX_SEARCH=here)",
                )
            self._permitted(link, "CREATE EXTENSION vector SCHEMA public", "CREATE EXTENSION vector SCHEMA public")
            found = _extension(link)
        assert found is not None
        version = tuple(int(number) for number in re.findall(r"\d+", found[0])[:2])
        if version < OLDEST_PGVECTOR:
            oldest = ".".join(map(str, OLDEST_PGVECTOR))
            raise NoSearchIndex(
                self._place,
                f"pgvector {found[0]} is too old, {oldest} is needed. Install it on the server, then, as the owner of"
                " the extension: ALTER EXTENSION vector UPDATE",
            )

    def _permitted(self, link: Link, statement: str, instead: str) -> None:
        try:
            link.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege as error:
            raise NoSearchIndex(
                self._place,
                f"{words(error)}. As a superuser, in this database: {instead};  then run this again",
            ) from error

    def begin(self, model: ModelRow, *, m: int, ef_construction: int) -> NearestRow:
        """Make an empty one, which is recorded as being made."""
        if model.info.dim > MOST_DIMENSIONS:
            raise NoSearchIndex(
                self._place, f"pgvector takes vectors of up to {MOST_DIMENSIONS:,} numbers, {model.info.spec} has more"
            )
        row = NearestRow(
            f"of_{model.id}_{secrets.token_hex(4)}", m=m, ef_construction=ef_construction, created_at=now()
        )
        table = f"{SEARCH_SCHEMA}.{row.table}"
        with self._making() as link:
            link.execute(
                f"CREATE TABLE {table} (seq bigint PRIMARY KEY, image_id bigint NOT NULL,"
                f" vector halfvec({model.info.dim}) NOT NULL)"
            )
            link.execute(f"ALTER TABLE {table} ALTER vector SET STORAGE PLAIN")
        self.save(model.id, row, being_made=True)
        return row

    def cut_back(self, row: NearestRow) -> int:
        """Remove whatever in one came after its watermark, or has gone from the library; returns how many are left. All
        may read it from now on who may read the library.
        """
        gone = f"NOT EXISTS (SELECT FROM {SCHEMA}.embeddings WHERE embeddings.seq = old.seq)"
        with self._making() as link:
            _let_read(link, row.table)
            link.execute(f"DELETE FROM {row.table} old WHERE seq > %s OR {gone}".encode(), (row.watermark,))
            return int(_one(link, f"SELECT count(*) FROM {row.table}") or 0)

    def add(self, row: NearestRow, seqs: IdArray, ids: IdArray, vectors: FloatArray) -> None:
        """Add embeddings, by COPY in binary. `halfvec` is sent as its length, two bytes of nothing, and its numbers."""
        n, dim = vectors.shape
        layout = [("fields", ">i2"), ("seq_n", ">i4"), ("seq", ">i8"), ("id_n", ">i4"), ("id", ">i8"),
                  ("vector_n", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("vector", ">f2", (dim,))]  # fmt: skip
        rows = np.zeros(n, dtype=layout)
        rows["fields"], rows["seq_n"], rows["id_n"], rows["vector_n"], rows["dim"] = 3, 8, 8, 4 + 2 * dim, dim
        rows["seq"], rows["id"], rows["vector"] = seqs, ids, vectors
        statement = f"COPY {SEARCH_SCHEMA}.{row.table} (seq, image_id, vector) FROM STDIN (FORMAT BINARY)"
        with self._making() as link, link.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write(_SIGNATURE)
            copy.write(rows.tobytes())
            copy.write(_TRAILER)

    def make_graph(
        self,
        row: NearestRow,
        *,
        memory_mb: int | None,
        report: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Make the graph; see `NearestStorage.make_graph`."""
        statement = (
            f"CREATE INDEX {row.table}_hnsw ON {SEARCH_SCHEMA}.{row.table} USING hnsw (vector halfvec_ip_ops)"
            f" WITH (m = {row.m}, ef_construction = {row.ef_construction})"
        )
        with translated(self._place, "build a search index"), self._database.link("hold") as watching:
            if _one(watching, "SELECT pg_catalog.to_regclass(%s)", f"{SEARCH_SCHEMA}.{row.table}_hnsw") is not None:
                return True

            def make(link: Link) -> None:
                with link.transaction():
                    link.execute(f"SET LOCAL search_path = {self._search_path}".encode())
                    if memory_mb is not None:
                        link.execute(f"SET LOCAL maintenance_work_mem = '{memory_mb}MB'".encode())
                    link.execute(statement.encode())

            # In another thread: this one looks how far it is, and is the one that a Ctrl-C comes to.
            with self._database.link("hold") as link, ThreadPoolExecutor(1) as beside:
                making = beside.submit(make, link)
                try:
                    while not wait([making], _POLL_S).done and not should_stop():
                        share = _one(watching, _PROGRESS, link.info.backend_pid)
                        report(min(1.0, float(share or 0)))
                finally:
                    if not making.done():
                        link.cancel_safe()
                try:
                    making.result()
                except psycopg.errors.QueryCanceled:
                    if not should_stop():
                        raise
                    return False
            watching.execute(f"ANALYZE {SEARCH_SCHEMA}.{row.table}".encode())
        return True

    def sample(self, row: NearestRow, model: ModelRow, n: int) -> tuple[IdArray, FloatArray]:
        """Ids and vectors of at most `n` images of one."""
        with self._database.reading() as link:
            rows = link.execute(
                "SELECT DISTINCT e.seq, e.image_id, e.vector, e.checksum FROM unnest(%s::int8[]) AS wanted,"
                " LATERAL (SELECT * FROM embeddings WHERE +model_id = %s AND seq >= wanted AND seq <= %s"
                " ORDER BY seq LIMIT 1) e ORDER BY 1",
                (_spread(n, row.watermark), model.id, row.watermark),
                binary=True,
            ).fetchall()
        whole = whole_rows(rows, model.id)
        ids = np.array([found[1] for found in whole], dtype=np.int64)
        return ids, from_blobs([found[2] for found in whole], model, self._place)

    def sample_prompts(self, model: ModelRow, n: int) -> FloatArray:
        """Vectors of at most `n` prompts."""
        with self._database.reading() as link:
            last = _one(link, "SELECT max(id) FROM prompts") or 0
            rows = link.execute(
                "SELECT DISTINCT p.id, p.vector, p.text, p.truncated, p.checksum FROM unnest(%s::int8[]) AS wanted,"
                " LATERAL (SELECT * FROM prompts WHERE +model_id = %s AND id >= wanted ORDER BY id LIMIT 1) p"
                " ORDER BY 1",
                (_spread(n, int(last)), model.id),
                binary=True,
            ).fetchall()
        return from_blobs([row[1] for row in rows if is_of_prompt(row[1], model.id, *row[2:])], model, self._place)

    def size_bytes(self, row: NearestRow) -> int | None:
        """What one takes on the server; None if it is gone."""
        with self._database.reading() as link:
            # Not by `to_regclass`, which fails where one may not look into the schema.
            size = _one(
                link,
                "SELECT pg_catalog.pg_total_relation_size(c.oid) FROM pg_catalog.pg_class c"
                " JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace"
                " JOIN pg_catalog.pg_attribute ON attrelid = c.oid"
                " WHERE nspname = %s AND relname = %s AND attname = 'vector'",
                SEARCH_SCHEMA,
                row.table,
            )
        return None if size is None else int(size)

    def remove_strays(self) -> int:
        """Remove what no model has recorded; returns how many."""
        recorded = {
            row.table
            for model in self._reads.models()
            for being_made in (False, True)
            if (row := self.row(model.id, being_made=being_made)) is not None
        }
        with self._making() as link:
            tables = link.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = %s", (SEARCH_SCHEMA,))
            strays = [name for (name,) in tables.fetchall() if name.startswith("of_") and name not in recorded]
            for name in strays:
                link.execute(f"DROP TABLE {SEARCH_SCHEMA}.{_quoted(name)}".encode())
        return len(strays)

    @contextmanager
    def _making(self) -> Iterator[Link]:
        """A transaction that changes what is derived, beside those that store."""
        self._database.require_writable("build a search index")
        with translated(self._place, "build a search index"), self._database.link("hold") as link, link.transaction():
            link.execute(f"SET LOCAL search_path = {self._search_path}".encode())
            yield link


def _literal(vector: FloatArray) -> str:
    """A vector as PostgreSQL reads it, of the very numbers that are left of it in half precision."""
    return f"[{','.join(map(repr, vector.astype(np.float16).astype(np.float64).tolist()))}]"


def _spread(n: int, last: int) -> list[int]:
    """Numbers up to `last`, the same each time."""
    numbers: list[int] = np.random.default_rng(0).integers(1, max(2, last + 1), n).tolist()
    return numbers


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _one(link: Link, query: str, *parameters: object) -> Any:
    row = link.execute(query.encode(), parameters).fetchone()
    return None if row is None else row[0]


def _extension(link: Link) -> tuple[str, str] | None:
    """The version of pgvector in this database, and the schema that it is in."""
    row = link.execute(
        "SELECT extversion, nspname FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace n ON n.oid = extnamespace"
        " WHERE extname = 'vector'"
    ).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


def _let_read(link: Link, table: str) -> None:
    """Let all read a table who may read the vectors themselves."""
    readers = link.execute(
        "SELECT DISTINCT coalesce(rolname, '') FROM pg_catalog.pg_class,"
        " LATERAL aclexplode(relacl) AS entry LEFT JOIN pg_catalog.pg_roles r ON r.oid = grantee"
        " WHERE pg_class.oid = %s::regclass AND privilege_type = 'SELECT'",
        (f"{SCHEMA}.embeddings",),
    ).fetchall()
    for (name,) in readers:
        role = _quoted(name) if name else "PUBLIC"
        link.execute(f"GRANT USAGE ON SCHEMA {SEARCH_SCHEMA} TO {role}".encode())
        link.execute(f"GRANT SELECT ON {SEARCH_SCHEMA}.{_quoted(table)} TO {role}".encode())
