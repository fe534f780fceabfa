"""Migrations: what they make, that they are kept whole or not at all, and libraries of other versions."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.libraries import add_model, add_photos, open_storage, unit_vectors
from tests.waiting import WAIT_S
from zsindex.errors import LibraryReadOnly, LibraryTooNew
from zsindex.storage import tables
from zsindex.storage.sqlite import connections, schema
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.file import FILE_NAME

PROJECT = Path(__file__).parent.parent

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = {revision!r}, {before!r}


def upgrade():
    {body}
"""
ADD_TABLE = 'op.create_table("extra", sa.Column("id", sa.Integer(), primary_key=True))'
# SQLite cannot do this in place: Alembic copies the table, to which others refer, and drops the old one.
REBUILD_IMAGES = (
    'with op.batch_alter_table("images") as images: images.alter_column("format", existing_type=sa.String(16), '
    "type_=sa.String(32), existing_nullable=False)"
)
LOSE_IMAGES = 'op.execute("DELETE FROM images")'
FAIL = 'op.execute("INSERT INTO settings VALUES (1)")'


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A library of today's schema with three photos, which later migrations make old."""
    folder = tmp_path / "library"
    with open_storage(folder) as storage:
        add_photos(storage, add_model(storage), unit_vectors(3))
    return folder


@pytest.fixture
def next_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NextVersions:
    return NextVersions(tmp_path / "migrations", monkeypatch)


class NextVersions:
    """Makes this zsindex a later one, with more migrations than it has."""

    def __init__(self, scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(schema.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(schema, "SCRIPTS", scripts)
        self._scripts = scripts
        self._monkeypatch = monkeypatch

    def add(self, body: str) -> str:
        """Add a migration; returns its revision."""
        self._monkeypatch.setattr(schema, "HEAD", f"{int(schema.HEAD) + 1:04d}")
        return self.mend(body)

    def mend(self, body: str) -> str:
        """Write the last migration anew, as a later release might."""
        revision, before = schema.HEAD, f"{int(schema.HEAD) - 1:04d}"
        script = self._scripts / "versions" / f"{revision}_next.py"
        script.write_text(MIGRATION.format(revision=revision, before=before, body=body), encoding="utf-8")
        return revision


def revision_of(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def table_names(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def backups(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{FILE_NAME}.backup-*"))


# --- what migrations make ---------------------------------------------------------------------------------------------


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_revisions_are_numbered_so_that_older_versions_can_tell_newer_ones() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.SCRIPTS))
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert revisions[::-1] == [f"{i:04d}" for i in range(1, len(revisions) + 1)]


def test_migrating_from_nothing_makes_the_tables_that_the_store_queries(tmp_path: Path) -> None:
    SqliteDatabase.open(tmp_path, create=True).close()
    with closing(sqlite3.connect(f"{(tmp_path / FILE_NAME).as_uri()}?mode=ro", uri=True)) as raw:
        engine = sa.create_engine("sqlite://", creator=lambda: raw, poolclass=sa.pool.StaticPool)
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True, "render_as_batch": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, tables.metadata) == []


def test_migrating_from_nothing_makes_the_same_database_as_the_metadata(tmp_path: Path) -> None:
    """Autogenerate compares neither names of primary keys nor AUTOINCREMENT: compare what SQLite was told."""
    SqliteDatabase.open(tmp_path, create=True).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    tables.metadata.create_all(engine)
    engine.dispose()

    def definitions(file: Path) -> dict[str, list[str]]:
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"
        with closing(sqlite3.connect(file)) as connection:
            return {name: parts(sql) for name, sql in connection.execute(query)}

    def parts(sql: str) -> list[str]:
        """What is created, and then its columns and constraints. Their order and the space between them mean nothing:
        columns that a migration adds come last, behind the constraints.
        """
        head, _, body = " ".join(sql.split()).partition("(")
        inside, _, tail = body.rpartition(")")
        return [head.strip(), tail.strip(), *sorted(part.strip() for part in re.split(r",(?![^(]*\))", inside))]

    assert definitions(tmp_path / FILE_NAME) == definitions(tmp_path / "other.db")


# --- upgrading --------------------------------------------------------------------------------------------------------


def test_an_older_library_is_backed_up_and_upgraded_on_open(older: Path, next_versions: NextVersions) -> None:
    before = schema.HEAD
    next_versions.add(ADD_TABLE)
    after = next_versions.add(REBUILD_IMAGES)
    with open_storage(older, create=False) as storage:
        assert len(storage.reads.files()) == 3
        assert storage.problems() == []
    assert revision_of(older / FILE_NAME) == after
    assert "extra" in table_names(older / FILE_NAME)
    (backup,) = backups(older)
    assert backup.name.startswith(f"{FILE_NAME}.backup-{before}-")
    assert revision_of(backup) == before
    assert "extra" not in table_names(backup)


def test_a_backup_is_a_whole_library(older: Path, next_versions: NextVersions, tmp_path: Path) -> None:
    before = schema.HEAD
    # What is still in the write-ahead log belongs to the library as well.
    with open_storage(older) as storage:
        add_photos(storage, storage.reads.models()[0], unit_vectors(2, seed=1), folder="/late")
        next_versions.add(ADD_TABLE)
        SqliteDatabase.open(older, create=False).close()
    (backup,) = backups(older)
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(backup, restored / FILE_NAME)
    assert revision_of(restored / FILE_NAME) == before
    with open_storage(restored, create=False) as storage:
        assert len(storage.reads.files()) == 5


def test_what_a_kill_has_left_of_a_backup_goes_with_the_next_one(older: Path, next_versions: NextVersions) -> None:
    before = schema.HEAD
    left = older / f"{FILE_NAME}.backup-{before}.tmp"
    left.write_bytes(b"SQLite format 3\0 and not more")
    next_versions.add(ADD_TABLE)
    SqliteDatabase.open(older, create=False).close()
    (backup,) = backups(older)
    assert revision_of(backup) == before


@pytest.mark.parametrize("refused", ["replace", "unlink", "stat"])
def test_a_file_of_the_library_that_may_not_be_touched_is_told_as_that(
    older: Path, next_versions: NextVersions, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    before = schema.HEAD
    next_versions.add(ADD_TABLE)
    really = getattr(Path, refused)

    def refuse(file: Path, *arguments: Any, **options: Any) -> Any:
        if file.name in (f"{FILE_NAME}.backup-{before}.tmp", f"{FILE_NAME}-shm"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return really(file, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, refused, refuse)
        with pytest.raises(LibraryReadOnly, match="Permission denied"):
            SqliteDatabase.open(older, create=False)
    SqliteDatabase.open(older, create=False).close()
    assert revision_of(backups(older)[-1]) == before


def test_a_connection_from_before_an_upgrade_is_not_used_after_it(
    older: Path, next_versions: NextVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next read would ask for tables that it does not know, and if the disk fails just then, say that there are
    none.
    """
    next_versions.add(ADD_TABLE)
    made: list[sqlite3.Connection] = []
    connect = connections.to_read

    def connect_to_read(folder: Path, **options: Any) -> sqlite3.Connection:
        made.append(connect(folder, **options))
        return made[-1]

    monkeypatch.setattr(connections, "to_read", connect_to_read)
    opened = SqliteDatabase.open(older, create=False)
    assert made
    assert all(connections.is_closed(connection) for connection in made)
    with opened.reading() as connection:
        connection.execute("SELECT count(*) FROM extra")
    opened.close()


def test_a_library_is_upgraded_once(older: Path, next_versions: NextVersions) -> None:
    next_versions.add(ADD_TABLE)
    for _ in range(2):
        SqliteDatabase.open(older, create=False).close()
    assert len(backups(older)) == 1


def test_a_new_library_is_not_backed_up(tmp_path: Path) -> None:
    SqliteDatabase.open(tmp_path, create=True).close()
    assert backups(tmp_path) == []


@pytest.mark.parametrize("failing", [FAIL, LOSE_IMAGES], ids=["an error", "dangling references"])
def test_a_migration_that_fails_takes_back_those_before_it(
    older: Path, next_versions: NextVersions, failing: str
) -> None:
    before = schema.HEAD
    next_versions.add(ADD_TABLE)
    next_versions.add(failing)
    with pytest.raises((sa.exc.OperationalError, RuntimeError), match=r"table settings has|refers to nothing"):
        SqliteDatabase.open(older, create=False)
    assert revision_of(older / FILE_NAME) == before
    assert "extra" not in table_names(older / FILE_NAME)
    (backup,) = backups(older)
    assert revision_of(backup) == before


def test_the_library_still_works_after_a_migration_that_failed(older: Path, next_versions: NextVersions) -> None:
    next_versions.add(FAIL)
    with pytest.raises(sa.exc.OperationalError):
        SqliteDatabase.open(older, create=False)
    next_versions.mend(ADD_TABLE)
    with open_storage(older, create=False) as storage:
        assert len(storage.reads.files()) == 3


def test_a_new_library_whose_migrations_fail_holds_nothing_and_can_be_made_later(
    tmp_path: Path, next_versions: NextVersions
) -> None:
    next_versions.add(FAIL)
    with pytest.raises(sa.exc.OperationalError):
        SqliteDatabase.open(tmp_path / "new", create=True)
    assert table_names(tmp_path / "new" / FILE_NAME) == set()
    next_versions.mend(ADD_TABLE)
    with open_storage(tmp_path / "new") as storage:
        assert storage.reads.models() == []


def test_two_processes_that_open_an_older_library_upgrade_it_once(older: Path, next_versions: NextVersions) -> None:
    head = next_versions.add(ADD_TABLE)
    program = (
        "import sys; from pathlib import Path; from zsindex.storage.sqlite import schema\n"
        "from zsindex.storage.sqlite.database import SqliteDatabase\n"
        "schema.SCRIPTS, schema.HEAD = Path(sys.argv[2]), sys.argv[3]\n"
        "SqliteDatabase.open(Path(sys.argv[1]), create=False).close()"
    )
    command = [sys.executable, "-c", program, str(older), str(schema.SCRIPTS), head]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(WAIT_S) for process in processes] == [0, 0]
    assert revision_of(older / FILE_NAME) == head
    assert len(backups(older)) == 1


# --- versions that do not fit -----------------------------------------------------------------------------------------


def test_a_library_of_a_newer_version_is_refused_and_left_alone(older: Path) -> None:
    with closing(sqlite3.connect(older / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    content = (older / FILE_NAME).read_bytes()
    with pytest.raises(LibraryTooNew, match=r"newer zsindex .*9999.*Upgrade zsindex") as caught:
        SqliteDatabase.open(older, create=True)
    assert (caught.value.found, caught.value.newest_known) == ("9999", schema.HEAD)
    assert (older / FILE_NAME).read_bytes() == content
    assert backups(older) == []


def test_an_older_library_that_cannot_be_written_says_so(older: Path, next_versions: NextVersions) -> None:
    before = schema.HEAD
    after = next_versions.add(ADD_TABLE)
    with pytest.raises(LibraryReadOnly, match=f"upgrade it from schema {before} to {after}"):
        SqliteDatabase.open(older, create=False, read_only=True)
    assert revision_of(older / FILE_NAME) == before


# --- for developers ---------------------------------------------------------------------------------------------------


def alembic(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=False)


def test_alembic_check_compares_a_library_with_the_tables(older: Path) -> None:
    result = alembic("-x", f"library={older}", "check")
    assert result.returncode == 0, result.stderr
    assert "No new upgrade operations detected" in result.stdout

    with closing(sqlite3.connect(older / FILE_NAME)) as connection, connection:
        connection.execute("DROP INDEX ix_files_image_id")
    assert alembic("-x", f"library={older}", "check").returncode != 0


def test_alembic_asks_which_library(tmp_path: Path) -> None:
    result = alembic("check")
    assert result.returncode != 0
    assert "alembic -x library=FOLDER" in result.stderr
    missing = alembic("-x", f"library={tmp_path}", "check")
    assert missing.returncode != 0
    assert list(tmp_path.iterdir()) == []
