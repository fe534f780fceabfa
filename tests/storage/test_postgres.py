"""What holds of libraries on a server alone: what a server refuses, what may be shown, and what its tables hold."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.libraries import add_images, add_model, add_photos, digest_of, photo, unit_vectors
from tests.storage import postgres_server
from tests.storage.postgres_server import Server
from tests.waiting import until
from zsindex.errors import (
    LibraryBusy,
    LibraryDamaged,
    LibraryError,
    LibraryForked,
    LibraryNotFound,
    LibraryReadOnly,
    LibraryTooNew,
    LibraryTooOld,
    LibraryUnreachable,
    NotALibrary,
    StorageFailed,
)
from zsindex.records import Candidate, Progress, SkipReason
from zsindex.storage.claims import Claim
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import FileOutcome, ImageRecord, ImportedPhoto, ModelRow
from zsindex.storage.seals import RowsDamaged

pytestmark = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))

if postgres_server.missing() is None:
    from zsindex.storage.postgres import database as databases
    from zsindex.storage.postgres import schema, tables
    from zsindex.storage.postgres.address import Address
    from zsindex.storage.postgres.database import PostgresDatabase
    from zsindex.storage.postgres.storage import PostgresStorage


@pytest.fixture
def server() -> Server:
    return postgres_server.running()


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    made = server.new_library()
    yield made
    server.drop(made)


@pytest.fixture
def storage(url: str, tmp_path: Path) -> Iterator[PostgresStorage]:
    opened = PostgresStorage.open(url, folder=tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def model(storage: PostgresStorage) -> ModelRow:
    return add_model(storage)


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


# --- the schema -------------------------------------------------------------------------------------------------------


def test_head_is_the_newest_script() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_what_was_made_are_the_tables(storage: PostgresStorage) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with storage.database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "include_schemas": False}
        )
        assert compare_metadata(context, tables.metadata()) == []


def test_every_text_is_compared_by_code_point_and_every_number_has_64_bits(server: Server, url: str) -> None:
    found = server.execute(
        "SELECT table_name, column_name, data_type, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'zsindex' AND table_name <> 'alembic_version'",
        name_of(url),
    )
    assert len(found) > 80
    kinds = {row[2] for row in found}
    assert kinds == {"bigint", "text", "character varying", "bytea", "boolean", "double precision"}
    assert {row[3] for row in found if row[2] in ("text", "character varying")} == {"C"}


def test_vectors_lie_in_their_rows_and_uncompressed(storage: PostgresStorage, server: Server, url: str) -> None:
    """Or each would be looked up in another table."""
    info = add_model(storage).info
    wide = storage.photos.add_model(
        type(info)(**{**{f: getattr(info, f) for f in info.__dataclass_fields__}, "dim": 512, "fingerprint": "f" * 64}),
        make_default=False,
    )
    vectors = np.zeros((50, 512), dtype=np.float32)
    vectors[:, 0] = 1  # could be compressed
    add_images(storage, wide, vectors)
    sizes = server.execute(
        "SELECT avg(pg_column_size(vector))::int, pg_relation_size(reltoastrelid)"
        " FROM zsindex.embeddings, pg_class WHERE pg_class.oid = 'zsindex.embeddings'::regclass GROUP BY 2",
        name_of(url),
    )
    assert sizes == [(512 * 4 + 4, 0)]
    assert storage.reads.embeddings_after(wide, 0)[2].tobytes() == vectors.tobytes()
    assert np.array_equal(storage.reads.embeddings_after(wide, 0)[2], vectors)


def test_vectors_that_fit_no_page_are_kept(storage: PostgresStorage) -> None:
    info = add_model(storage).info
    wide = storage.photos.add_model(
        type(info)(
            **{**{f: getattr(info, f) for f in info.__dataclass_fields__}, "dim": 4096, "fingerprint": "f" * 64}
        ),
        make_default=False,
    )
    vectors = unit_vectors(3, dim=4096)
    add_images(storage, wide, vectors)
    assert storage.reads.embeddings_after(wide, 0)[2].tobytes() == vectors.tobytes()


@pytest.mark.parametrize("length", [100, 2704, 2705, 4096, 100_000])
def test_long_texts_are_unique_and_found(storage: PostgresStorage, model: ModelRow, length: int) -> None:
    """A tree takes no text beyond 2,704 bytes, unless it can be compressed."""
    text = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz0123456789"), length))
    folders = [f"/{text}1", f"/{text}2"]
    storage.photos.save([photo(f"{folder}/x", vector=unit_vectors(1)[0]) for folder in folders], model.id)
    assert storage.photos.save([photo(f"{folder}/x") for folder in folders], model.id) == {"unchanged": 2}
    assert storage.reads.files().paths == [f"{folder}/x" for folder in folders]
    storage.photos.add_roots([f"/{text}"])
    storage.reads.save_prompts([text, text + "x"], unit_vectors(2), model.id, truncated=[False, False])
    storage.reads.save_prompts([text], unit_vectors(1, seed=1), model.id, truncated=[False])
    found = storage.reads.prompt_vectors([text], model, truncated=False)
    assert found[text].tobytes() == unit_vectors(2)[0].tobytes()
    for _ in range(2):
        storage.labels.save_thresholds(text, [(text, 0.5, {}), (text + "x", 0.5, {})])
    assert len(storage.labels.thresholds(text)) == 2
    assert storage.labels.save_label_set(text, {"labels": {}}) == 1
    with pytest.raises(sa.exc.IntegrityError), storage.database.write("double a folder") as connection:
        connection.exec_driver_sql("INSERT INTO folders (path) SELECT path FROM folders LIMIT 1")


# --- making, opening, upgrading ---------------------------------------------------------------------------------------


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    """The URL of a database in which nothing is."""
    made = server.url(server.new_database())
    yield made
    server.drop(made)


def test_a_library_is_made_once(empty: str) -> None:
    with pytest.raises(LibraryNotFound, match=r"zsindex library create postgresql://postgres@127.0.0.1:\d+/test_"):
        PostgresStorage.open(empty)
    assert PostgresDatabase.create(Address(empty))
    identity = PostgresDatabase.open(Address(empty)).identity
    assert not PostgresDatabase.create(Address(empty))
    assert PostgresDatabase.open(Address(empty)).identity == identity
    assert len(identity) == 36


def test_two_that_make_a_library_make_one(empty: str) -> None:
    made: list[bool] = []
    threads = [threading.Thread(target=lambda: made.append(PostgresDatabase.create(Address(empty)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, True]


def test_no_library_is_made_where_other_things_are(server: Server, empty: str) -> None:
    server.execute("CREATE SCHEMA zsindex; CREATE TABLE zsindex.settings (id int)", name_of(empty))
    with pytest.raises(NotALibrary, match="holds other things"):
        PostgresDatabase.create(Address(empty))
    server.execute("CREATE TABLE zsindex.alembic_version (version_num text)", name_of(empty))
    with pytest.raises(NotALibrary, match="belongs to another program"):
        PostgresStorage.open(empty)


def test_a_database_of_another_encoding_is_refused(server: Server) -> None:
    server.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(NotALibrary, match="its encoding is LATIN1"):
        PostgresDatabase.create(Address(server.url("latin")))
    server.drop(server.url("latin"))


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        ("9999", LibraryTooNew, "newer zsindex .*9999"),
        ("0001", LibraryTooOld, "zsindex library upgrade postgresql:"),
        ("00 9", LibraryDamaged, "'00 9' is no version of its schema"),
    ],
)
def test_a_library_of_another_schema_is_left_alone(
    server: Server, url: str, found: str, error: type[LibraryError], message: str
) -> None:
    server.execute(f"UPDATE zsindex.alembic_version SET version_num = '{found}'", name_of(url))
    with pytest.raises(error, match=message):
        PostgresStorage.open(url)
    assert server.execute("SELECT version_num FROM zsindex.alembic_version", name_of(url)) == [(found,)]


def test_an_upgrade_runs_the_scripts_that_are_missing(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    before, after = schema.HEAD, f"{int(schema.HEAD) + 1:04d}"
    shutil.copytree(schema.SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = {after!r}, {before!r}\n"
        "def upgrade():\n    op.create_table('extra', sa.Column('id', sa.Integer(), primary_key=True))\n    FAIL\n"
    )
    file = tmp_path / "scripts" / "versions" / f"{after}_next.py"
    monkeypatch.setattr(schema, "SCRIPTS", tmp_path / "scripts")
    monkeypatch.setattr(schema, "HEAD", after)
    with pytest.raises(LibraryTooOld):
        PostgresStorage.open(url)
    file.write_text(script.replace("FAIL", "op.execute('INSERT INTO nothing VALUES (1)')"), encoding="utf-8")
    with pytest.raises(LibraryNotFound):  # a table that is not there
        PostgresDatabase.upgrade(Address(url))
    assert server.execute("SELECT to_regclass('zsindex.extra'), (SELECT version_num FROM zsindex.alembic_version)",
                          name_of(url)) == [(None, before)]  # fmt: skip
    file.write_text(script.replace("FAIL", "pass"), encoding="utf-8")
    assert PostgresDatabase.upgrade(Address(url)) == (before, after)
    assert PostgresDatabase.upgrade(Address(url)) == (after, after)
    PostgresStorage.open(url, folder=tmp_path).close()


def test_a_library_of_the_first_schema_is_brought_to_this_one(url: str, server: Server, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    server.execute(
        "DROP TABLE zsindex.image_facts, zsindex.sidecar_facts, zsindex.decisions, zsindex.albums, zsindex.surveys,"
        " zsindex.looks",
        name_of(url),
    )
    server.execute(f"UPDATE zsindex.alembic_version SET version_num = '{schema.BASELINE}'", name_of(url))
    with pytest.raises(LibraryTooOld):
        PostgresStorage.open(url)
    assert PostgresDatabase.upgrade(Address(url)) == (schema.BASELINE, schema.HEAD)
    with closing(PostgresStorage.open(url, folder=tmp_path)) as storage, storage.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata()) == []


# --- who may do what --------------------------------------------------------------------------------------------------


def as_role(server: Server, url: str, *grants: str) -> str:
    """The URL for a new role with some rights."""
    role = f"role_{time.monotonic_ns()}"
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'word'", name_of(url))
    for grant in grants:
        server.execute(f"GRANT {grant} TO {role}", name_of(url))
    return url.replace(f"postgres:{server.password}@", f"{role}:word@")


READ = ("USAGE ON SCHEMA zsindex", "SELECT ON ALL TABLES IN SCHEMA zsindex")
WRITE = (*READ, "INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA zsindex")


def test_a_role_that_may_read_has_a_library_that_is_read_only(
    server: Server, url: str, storage: PostgresStorage, model: ModelRow, tmp_path: Path
) -> None:
    add_photos(storage, model, unit_vectors(2))
    reader = PostgresStorage.open(as_role(server, url, *READ), folder=tmp_path)
    assert not reader.writable
    assert len(reader.reads.files()) == 2
    with pytest.raises(LibraryReadOnly, match=r"cannot store photos: .* connect to the primary as a role that may"):
        add_photos(reader, model, unit_vectors(1))
    with pytest.raises(LibraryReadOnly), reader.sync_lock.hold("sync"):
        pass
    reader.close()


def test_a_role_that_may_write_needs_not_own_the_tables(server: Server, url: str, tmp_path: Path) -> None:
    writer = PostgresStorage.open(as_role(server, url, *WRITE), folder=tmp_path)
    assert writer.writable
    model = add_model(writer)
    add_photos(writer, model, unit_vectors(3))
    writer.reads.save_prompts(["x"], unit_vectors(1), model.id, truncated=[False])
    writer.photos.prune(under=["/photos"])
    with writer.sync_lock.hold("sync"):
        pass
    writer.close()


def test_a_role_without_rights_is_told(server: Server, url: str) -> None:
    with pytest.raises((StorageFailed, LibraryNotFound), match=r"permission denied for schema zsindex|no library"):
        PostgresStorage.open(as_role(server, url))
    with pytest.raises(StorageFailed, match="permission denied for table"):
        PostgresStorage.open(as_role(server, url, "USAGE ON SCHEMA zsindex"))


# --- what may be shown ------------------------------------------------------------------------------------------------


def everything_said(error: BaseException) -> str:
    """All that an error and what it came from say, also where they are printed with the data of their frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "\n".join([str(error), repr(error), repr(vars(error)), *shown.format()]) + repr(pickle.dumps(error))


SECRET = "s3cr3t%2Fw%40rd"


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://me:{}@127.0.0.1:{}/db",
        "postgresql://127.0.0.1:{1}/db?user=me&password={0}",
        "postgres://me:{}@127.0.0.1:{},127.0.0.1:1/db?sslmode=disable",
        "postgresql://me:{}@127.0.0.1:{}/db?sslmode=require",
        "postgresql://me:{}@127.0.0.1:{}/db?no_such_option=1",
        "postgresql://me:%zz{}@127.0.0.1:{}/db",
        "postgresql://me:{}@[127.0.0.1:{}/db",
    ],
)
def test_no_password_is_shown(server: Server, written: str) -> None:
    with pytest.raises(LibraryError) as caught:
        PostgresStorage.open(written.format(SECRET, server.port))
    assert not {"s3cr3t", "w@rd", "w%40rd"} & set(SECRET)  # they are parts of it
    for part in ("s3cr3t", "w@rd", "w%40rd"):
        assert part not in str(caught.value)
        assert part not in repr(vars(caught.value))


def test_no_password_is_in_what_an_error_drags_along(server: Server) -> None:
    with pytest.raises(LibraryUnreachable, match="password authentication failed") as caught:
        PostgresStorage.open(f"postgresql://postgres:{SECRET}@127.0.0.1:{server.port}/postgres")
    said = "\n".join(traceback.format_exception(caught.value)) + repr(pickle.dumps(caught.value))
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://db/photos", "postgresql://db/photos"),
        ("postgresql://me:pw@db:5433/photos?sslmode=require", "postgresql://me@db:5433/photos"),
        ("postgres://db/photos", "postgresql://db/photos"),
        ("postgresql://[::1]:5/photos", "postgresql://[::1]:5/photos"),
        ("postgresql://a:1,b:2/photos", "postgresql://a:1,b:2/photos"),
        ("postgresql:///photos?host=/run/postgresql", "postgresql://%2Frun%2Fpostgresql/photos"),
        ("postgresql://?service=photos", "postgresql:///?service=photos"),
        ("postgresql://", "postgresql:///"),
    ],
)
def test_what_stands_for_it_in_messages(url: str, place: str) -> None:
    assert Address(url).place == place
    assert Address(Address(url).place).place == place, "it can be opened again under that name"
    assert "pw" not in repr(Address(url))


# --- a server that does not answer ------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(LibraryUnreachable, match=r"postgresql://127.0.0.1:1/db cannot be reached \(.*refused"):
        PostgresStorage.open("postgresql://127.0.0.1:1/db")


def test_tls_that_the_server_does_not_speak_is_told(url: str) -> None:
    with pytest.raises(LibraryUnreachable, match="server does not support SSL"):
        PostgresStorage.open(f"{url}?sslmode=require")


def test_a_library_goes_on_after_its_connections_are_cut(
    storage: PostgresStorage, model: ModelRow, server: Server, url: str
) -> None:
    add_photos(storage, model, unit_vectors(2))
    storage.reads.files()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
    server.execute(cut.format(name_of(url)))
    until(lambda: not sessions(server, url))
    assert len(storage.reads.files()) == 2
    assert add_photos(storage, model, unit_vectors(3), folder="/more")

    def cut_off() -> None:
        with storage.database.write("x") as connection:
            server.execute(cut.format(name_of(url)))
            connection.execute(sa.select(sa.literal(1)))

    with pytest.raises(LibraryUnreachable, match="terminating connection"):
        cut_off()
    assert len(storage.reads.files()) == 5


def test_a_batch_whose_connection_is_cut_is_stored_again_and_nothing_is_said(
    storage: PostgresStorage,
    model: ModelRow,
    server: Server,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At each of its two messages."""
    write_after = PostgresDatabase.write_after
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(url)}'"
    cuts = iter(["asking", "storing"])
    tries = []

    @contextmanager
    def cut_off(database: PostgresDatabase, action: str, ask: Any) -> Iterator[Any]:
        at = next(cuts, None)
        tries.append(at)

        def asked(link: databases.Link) -> Any:
            if at == "asking":
                server.execute(cut)
            return ask(link)

        with write_after(database, action, asked) as both:
            if at == "storing":
                server.execute(cut)
            yield both

    monkeypatch.setattr(PostgresDatabase, "write_after", cut_off)
    ids = add_photos(storage, model, unit_vectors(5))
    assert tries == ["asking", "storing", None]
    assert len(ids) == len(storage.reads.files()) == 5
    assert caplog.messages == []


def test_a_crash_of_the_server_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    own = Server()
    try:
        storage = PostgresStorage.open(own.new_library(), folder=tmp_path)
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(5))

        def crash() -> None:
            with storage.database.write("store photos") as connection:
                connection.exec_driver_sql("DELETE FROM files")
                own.stop(signal.SIGQUIT)

        with pytest.raises(LibraryUnreachable):
            crash()
        with pytest.raises(LibraryUnreachable, match="run the same command again when the server answers"):
            storage.reads.files()
        own.start()
        assert len(storage.reads.files()) == 5
        add_photos(storage, model, unit_vectors(2, seed=1), folder="/more")
        assert storage.reads.embeddings_after(model, 0)[1].tolist()[:5] == [1, 2, 3, 4, 5]
        storage.close()
    finally:
        own.remove()


@pytest.fixture
def primary() -> Iterator[Server]:
    own = Server()
    yield own
    own.remove()


@pytest.fixture
def standby(primary: Server) -> Iterator[Server]:
    own = Server(standby_of=primary)
    yield own
    own.remove()


def test_a_standby_answers_and_stores_nothing_until_it_is_promoted(
    primary: Server, standby: Server, tmp_path: Path
) -> None:
    name = primary.new_library().rpartition("/")[2]
    first = PostgresStorage.open(primary.url(name), folder=tmp_path)
    model = add_model(first)
    add_photos(first, model, unit_vectors(3))

    def opens() -> bool:
        try:
            PostgresStorage.open(standby.url(name), folder=tmp_path).close()
        except LibraryError:
            return False  # it is not there yet
        return True

    until(opens)
    second = PostgresStorage.open(standby.url(name), folder=tmp_path)
    until(lambda: len(second.reads.files()) == 3)
    assert not second.writable
    assert (first.lags(), second.lags()) == (False, True)
    standby.execute("SELECT pg_wal_replay_pause()")
    seen = second.position()
    first.photos.add_roots(["/photos"])
    assert first.has_reached(seen)
    assert second.has_reached(seen)
    assert not second.has_reached(first.position())
    standby.execute("SELECT pg_wal_replay_resume()")
    until(lambda: second.has_reached(first.position()))
    assert second.photos.roots() == ["/photos"]
    with pytest.raises(LibraryReadOnly, match="connect to the primary"):
        add_photos(second, model, unit_vectors(1), folder="/more")
    with pytest.raises(LibraryReadOnly), second.sync_lock.hold("sync"):
        pass  # its locks would exclude nobody

    # A library that names both, and wants the one that can be written to, goes on with the one that took over.
    both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    url = f"postgresql://postgres:{primary.password}@{both}/{name}?target_session_attrs=read-write"
    third = PostgresStorage.open(url, folder=tmp_path)
    add_photos(third, model, unit_vectors(2, seed=1), folder="/third")
    until(lambda: len(second.reads.files()) == 5)
    primary.stop(signal.SIGQUIT)
    standby.promote()
    add_photos(third, model, unit_vectors(2, seed=2), folder="/later")
    assert len(third.reads.files()) == 7
    ids = third.reads.embeddings_after(model, 0)[1].tolist()
    assert (ids[:5], len(ids), ids == sorted(set(ids))) == ([1, 2, 3, 4, 5], 7, True)
    assert len(second.reads.files()) == 7
    for storage in (second, third):
        storage.close()
    first.close()


def test_a_server_without_a_free_connection_is_told(tmp_path: Path) -> None:
    own = Server(max_connections="5", superuser_reserved_connections="0")
    try:
        url = own.new_library()
        held = [PostgresStorage.open(url, folder=tmp_path)]
        with pytest.raises(LibraryUnreachable, match="too many clients"):
            held += [PostgresStorage.open(url, folder=tmp_path) for _ in range(6)]
        for storage in held:
            storage.close()
    finally:
        own.remove()


# --- locks ------------------------------------------------------------------------------------------------------------


def test_who_waits_too_long_for_a_writer_is_told_who_that_is(
    storage: PostgresStorage, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_S", 0.1)
    other = PostgresStorage.open(url, folder=tmp_path)
    with (
        storage.database.write("store photos"),
        pytest.raises(LibraryBusy, match=f"process {os.getpid()} on .*: store photos, since "),
        other.database.write("x"),
    ):
        pass
    with other.database.write("x"):
        pass
    other.close()


def test_who_waited_in_vain_on_a_connection_that_was_kept_does_not_wait_again_on_another(
    storage: PostgresStorage, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_S", 0.1)
    other = PostgresStorage.open(url, folder=tmp_path)
    with other.database.write("x"):
        pass
    made: list[str] = []
    connect = PostgresDatabase.connect

    def counted(self: PostgresDatabase, kind: str) -> object:
        made.append(kind)
        return connect(self, kind)

    monkeypatch.setattr(PostgresDatabase, "connect", counted)
    with storage.database.write("store photos"):
        made.clear()
        with pytest.raises(LibraryBusy), other.database.write("x"):
            pass
        assert "write" not in made
    other.close()


def test_a_batch_that_waits_too_long_is_told_the_same(
    storage: PostgresStorage, model: ModelRow, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_S", 0.1)
    with closing(PostgresStorage.open(url, folder=tmp_path)) as other:
        with (
            storage.database.write("prune"),
            pytest.raises(LibraryBusy, match=f"process {os.getpid()} on .*: prune, since "),
        ):
            add_photos(other, model, unit_vectors(2))
        assert len(storage.reads.files()) == 0
        add_photos(other, model, unit_vectors(2))
        assert len(storage.reads.files()) == 2


def test_a_batch_that_waits_can_be_interrupted(
    storage: PostgresStorage, model: ModelRow, server: Server, url: str
) -> None:
    import psycopg

    def press_once_it_waits() -> None:
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: server.execute(waiting))
        os.kill(os.getpid(), signal.SIGINT)

    # Where the tests run in the background a shell has them ignore it.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (storage.database.key("write"),))
            pressed = pool.submit(press_once_it_waits)
            with pytest.raises(KeyboardInterrupt):
                add_photos(storage, model, unit_vectors(2))
            pressed.result()
    finally:
        signal.signal(signal.SIGINT, handler)
    add_photos(storage, model, unit_vectors(3))
    assert len(storage.reads.files()) == 3


def test_who_stores_a_batch_makes_others_wait_for_two_messages(
    storage: PostgresStorage, model: ModelRow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_photos(storage, model, unit_vectors(2))  # SQLAlchemy has asked what it asks once
    known = storage.reads.digest_of("/photos/00000.png")
    assert known is not None
    databases._close(storage.database._idle, os.getpid())
    connect = PostgresDatabase.connect
    with (tmp_path / "messages").open("w+", encoding="utf-8") as messages:

        def traced(self: PostgresDatabase, kind: str) -> databases.Link:
            link = connect(self, kind)
            if kind == "write":
                link.pgconn.trace(messages.fileno())
            return link

        monkeypatch.setattr(PostgresDatabase, "connect", traced)
        # New and known files, new and known images, and one that is skipped.
        add_photos(storage, model, unit_vectors(40))
        storage.photos.save(
            [
                FileOutcome(Candidate("/photos", "00000.png", 9, 9), ImageRecord(known)),
                FileOutcome(Candidate("/away", "1.png", 9, 9), None, SkipReason.DECODE_FAILED, "no picture"),
            ],
            model.id,
        )
        databases._close(storage.database._idle, os.getpid())
        messages.seek(0)
        sent = re.findall(r"^[^\t]*\tF\t\d+\t(\w+)", messages.read(), re.MULTILINE)
    assert sent.count("Sync") == 2 * 2, sent
    assert all(before == "Sync" for before, kind in pairwise(sent) if kind == "Flush"), "no answer is awaited alone"
    assert "CopyData" not in sent, "which would be awaited, too"


def test_a_lock_goes_with_the_connection_that_holds_it(
    storage: PostgresStorage, url: str, server: Server, tmp_path: Path
) -> None:
    other = PostgresStorage.open(url, folder=tmp_path)
    with storage.sync_lock.hold("sync"):
        server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(url)}'"
            " AND application_name LIKE 'sync|%'"
        )
        with other.sync_lock.hold("sync too"):
            pass
    with storage.sync_lock.hold("sync"):
        pass
    other.close()


def test_libraries_do_not_wait_for_one_another(storage: PostgresStorage, server: Server, tmp_path: Path) -> None:
    second = server.new_library()
    other = PostgresStorage.open(second, folder=tmp_path)
    with storage.sync_lock.hold("sync"), other.sync_lock.hold("sync"):
        pass
    other.close()
    server.drop(second)


def test_what_others_are_shown_fits() -> None:
    long = databases.signature("record what was written into sidecars and more than that")
    assert len(long) == 63
    assert "record what was written" in databases._read_signature(long)[0]


def test_syncs_share_their_lock_and_exclude_what_deletes(
    storage: PostgresStorage, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = PostgresStorage.open(url, folder=tmp_path)
    monkeypatch.setattr(other.sync_lock, "timeout_s", 0.05)
    with storage.sync_lock.hold("sync", shared=True):
        with other.sync_lock.hold("sync", shared=True):
            storage.sync_lock.tell(Progress("scan", 7))
            other.sync_lock.tell(Progress("encode", 1_000_000, 2_000_000))
            told = dict(map(reversed, storage.sync_lock.told()))  # type: ignore[arg-type]
            assert told.keys() == {Progress("scan", 7), Progress("encode", 1_000_000, 2_000_000)}
        with pytest.raises(LibraryBusy, match=": sync, since"), other.sync_lock.hold("prune"):
            pass
    with storage.sync_lock.hold("prune"), pytest.raises(LibraryBusy, match=": prune, since"):
        other.sync_lock.hold("sync", shared=True).__enter__()
    with other.sync_lock.hold("prune"):
        pass
    other.close()


# --- claims -----------------------------------------------------------------------------------------------------------


def test_what_one_has_claimed_is_elsewhere_for_all_others(
    storage: PostgresStorage, url: str, model: ModelRow, tmp_path: Path
) -> None:
    other = PostgresStorage.open(url, folder=tmp_path)
    digest, second = digest_of("x"), digest_of("y")
    with storage.photos.claims(model.id) as mine, other.photos.claims(model.id) as theirs:
        assert mine.take(digest) is Claim.MINE
        assert theirs.take(digest) is Claim.ELSEWHERE
        assert theirs.take(second) is Claim.MINE
        mine.release([digest])
        assert theirs.take(digest) is Claim.MINE
        theirs.release([digest])
        assert mine.take(digest) is Claim.MINE
        storage.photos.save_images([ImageRecord(digest, vector=unit_vectors(1)[0])], model.id)
        assert theirs.take(digest) is Claim.KNOWN, "it need not be let go of to be known"
    with storage.photos.claims(model.id) as mine:
        assert mine.take(second) is Claim.MINE, "what is not let go of ends with its block"
    other.close()


def test_claims_end_with_their_process(storage: PostgresStorage, url: str, model: ModelRow) -> None:
    program = (
        "import sys, time\nfrom zsindex.storage.postgres.storage import PostgresStorage\n"
        "storage = PostgresStorage.open(sys.argv[1])\n"
        "with storage.photos.claims(int(sys.argv[2])) as claims:\n"
        "    print(claims.take(bytes.fromhex(sys.argv[3])), flush=True)\n    time.sleep(60)\n"
    )
    digest = digest_of("x")
    with (
        subprocess.Popen(
            [sys.executable, "-c", program, url, str(model.id), digest.hex()], stdout=subprocess.PIPE, encoding="utf-8"
        ) as process,
        storage.photos.claims(model.id) as claims,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "Claim.MINE\n"
        assert claims.take(digest) is Claim.ELSEWHERE
        process.kill()
        until(lambda: claims.take(digest) is Claim.MINE)


def test_who_loses_the_connection_claims_anew(
    storage: PostgresStorage, url: str, server: Server, model: ModelRow
) -> None:
    with storage.photos.claims(model.id) as claims:
        assert claims.take(digest_of("x")) is Claim.MINE
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(url)}'")
        claims.release([digest_of("x")])
        assert claims.take(digest_of("x")) is Claim.MINE


def test_a_server_without_room_for_claims_costs_only_them(tmp_path: Path) -> None:
    own = Server(max_locks_per_transaction="10", max_connections="10", autovacuum="off")
    try:
        storage = PostgresStorage.open(own.new_library(), folder=tmp_path)
        model = add_model(storage)
        with storage.photos.claims(model.id) as claims:
            assert {claims.take(digest_of(str(n))) for n in range(6000)} == {Claim.MINE}
            assert "out of shared memory" in own.log()
            claims.release([digest_of(str(n)) for n in range(6000)])
            add_photos(storage, model, unit_vectors(2))
        storage.close()
    finally:
        own.remove()


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "ask", "what"),
    [
        ("UPDATE label_sets SET body = '{}'", lambda s: s.reads.label_sets(), "label set colours"),
        ("DELETE FROM label_sets", lambda s: s.reads.label_sets(), "label set colours"),
        ("UPDATE template_sets SET body = '[]'", lambda s: s.reads.template_sets(), "template set mine"),
        ("UPDATE settings SET value = '9' WHERE key = 'default_model'", lambda s: s.reads.default_model(), "default"),
        ("UPDATE images SET width = 9 WHERE id = 1", lambda s: s.reads.digest_of("/photos/00000.png"), "00000.png"),
        ("UPDATE files SET size = 9 WHERE id = 1", lambda s: s.reads.files_of([1, 2]), "some photos"),
        ("DELETE FROM files WHERE id = 1", lambda s: s.reads.files(), "photos in /photos"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_what_is_not_what_was_stored_is_left_out_and_mended(
    storage: PostgresStorage, model: ModelRow, statement: str, ask: Callable[[Storage], Any], what: str
) -> None:
    add_photos(storage, model, unit_vectors(3))
    storage.photos.seal_folders()
    storage.labels.save_label_set("colours", {"labels": {"red": ["red"]}})
    storage.labels.save_template_set("mine", ["a {}"])
    assert storage.damaged_rows() == []
    with storage.database.write("damage") as connection:
        connection.exec_driver_sql(statement)
    with pytest.warns(RowsDamaged, match=what):
        ask(storage)
    damaged = storage.damaged_rows()
    assert damaged
    assert storage.mend(damaged)
    assert storage.damaged_rows() == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(storage)


# --- how much is asked ------------------------------------------------------------------------------------------------

# What a batch or a question may send, its BEGIN, COMMIT and ROLLBACK included.
MOST = {
    "save": 17,
    "save again": 12,
    "import": 16,
    "known photos": 3,
    "export": 10,
    "files": 6,
    "digests": 3,
    "details": 3,
    "last seen": 3,
    "save prompts": 10,
    "prompts": 5,
    "vectors": 4,
    "mark missing": 8,
    "prune": 42,
}


def work(storage: PostgresStorage, model: ModelRow, n: int) -> dict[str, Callable[[], object]]:
    """Some of what syncs and questions do, with n photos, each in a folder of its own."""
    vectors = unit_vectors(n)
    outcomes = [photo(f"/{i}/x", vector=vector) for i, vector in enumerate(vectors)]
    imported = [ImportedPhoto(f"/away/{i}/x", f"/away/{i}", "x") for i in range(n)]
    paths, texts = [f"/{i}/x" for i in range(n)], [f"{i}" for i in range(n)]

    def export() -> None:
        with storage.bulk.exporting(model, [*paths[: n // 2], "/away"]) as view:
            assert sum(len(batch.paths) for batch in view.batches(iter([view.n_photos]))) == n // 2 + n

    return {
        "save": lambda: storage.photos.save(outcomes, model.id),
        "save again": lambda: storage.photos.save(outcomes, model.id),
        "import": lambda: storage.bulk.save(imported, vectors, model.id),
        "known photos": lambda: storage.bulk.known_photos(imported),
        "export": export,
        "files": lambda: storage.reads.files(["/away", *paths]),
        "digests": lambda: storage.photos.digests_of(paths),
        "details": lambda: storage.photos.details_of(range(2 * n)),
        "last seen": lambda: storage.photos.last_seen([f"/{i}" for i in range(n)], model.id),
        "save prompts": lambda: storage.reads.save_prompts(texts, vectors, model.id, truncated=[False] * n),
        "prompts": lambda: storage.reads.prompt_vectors(texts, model, truncated=False),
        "vectors": lambda: storage.reads.embeddings_after(model, 0),
        "mark missing": lambda: storage.photos.mark_missing("/1"),
        "prune": lambda: storage.photos.prune(under=["/away"]),
    }


def test_what_is_sent_does_not_grow_with_the_library(server: Server, tmp_path: Path) -> None:
    counted: dict[str, dict[int, list[str]]] = {}
    for n in (20, 200):
        url = server.new_library()
        with closing(PostgresStorage.open(url, folder=tmp_path)) as storage:
            storage.photos.counts()  # SQLAlchemy has asked what it asks once
            model = add_model(storage)
            for name, step in work(storage, model, n).items():
                with server.counting(url) as sent:
                    databases._close(storage.database._idle, os.getpid())  # new sessions are logged
                    step()
                counted.setdefault(name, {})[n] = [line for line in sent if not line.startswith("SET ")]
        server.drop(url)
    numbers = {name: {n: len(sent) for n, sent in found.items()} for name, found in counted.items()}
    assert {name for name, found in numbers.items() if len(set(found.values())) > 1} == set(), numbers
    assert {name: max(found.values()) for name, found in numbers.items() if max(found.values()) > MOST[name]} == {}, [
        counted[name][20] for name in numbers if max(numbers[name].values()) > MOST[name]
    ]


# --- sessions on the server -------------------------------------------------------------------------------------------


def sessions(server: Server, url: str) -> int:
    (found,) = server.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name_of(url)}'")
    return int(str(found[0]))


def test_a_closed_library_has_no_session_nor_one_that_was_forgotten(server: Server, url: str, tmp_path: Path) -> None:
    storage = PostgresStorage.open(url, folder=tmp_path)
    add_photos(storage, add_model(storage), unit_vectors(2))
    storage.reads.files()
    assert 2 <= sessions(server, url) <= 4
    storage.close()
    until(lambda: sessions(server, url) == 0)
    storage = PostgresStorage.open(url, folder=tmp_path)
    add_model(storage)
    storage.reads.files()
    del storage
    import gc

    gc.collect()
    until(lambda: sessions(server, url) == 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_fork_is_told_and_leaves_its_parents_sessions_alone(
    storage: PostgresStorage, model: ModelRow
) -> None:
    add_photos(storage, model, unit_vectors(2))
    child = os.fork()
    if not child:
        code = 1
        try:
            storage.reads.files()
        except LibraryForked:
            storage.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(storage.reads.files()) == 2
    add_photos(storage, model, unit_vectors(1), folder="/more")
