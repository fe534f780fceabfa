"""What questions read of `library.db`, and the prompts that they leave there, in plain SQL.

Everything else about `library.db` is SQLAlchemy's (`zsindex.storage.photos`, `zsindex.storage.labels`). But importing
SQLAlchemy takes longer than answering from the cache, so these few statements, which every question runs, go to SQLite
directly. Each public method is one transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from zsindex import config
from zsindex.errors import LibraryDamaged, ZsindexError
from zsindex.photos.formats import is_encodable
from zsindex.records import FloatArray, IdArray, ModelSpec, SkippedFile, SkipReason
from zsindex.storage import uses
from zsindex.storage.rows import FileTable, ModelRow, SavedLabelSet, SnapshotRow, prompts_in, selected
from zsindex.storage.seals import (
    Kind,
    is_of_content,
    is_of_file,
    listing_checksum,
    seal,
    warn_of_rows,
)
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.legible import legible
from zsindex.storage.sqlite.parameters import chunks, marks
from zsindex.storage.stored import (
    MODEL_COLUMNS,
    SNAPSHOT_COLUMNS,
    VECTOR_DTYPE,
    from_blob,
    from_blobs,
    gathered,
    is_of_image,
    is_of_prompt,
    model_row,
    number,
    prompt_checksum,
    to_blob,
    whole_rows,
)

_PART_ROWS = 4096

_MODELS = f"SELECT {', '.join(MODEL_COLUMNS)} FROM models"
_IMAGE = "images.digest, images.width, images.height, images.format, images.checksum"
_SNAPSHOT = f"SELECT {', '.join(SNAPSHOT_COLUMNS)} FROM snapshots WHERE model_id = ?"


class FastReads:
    """`zsindex.storage.protocol.Reads` over an open database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._folder = database.folder
        # Ids of prompts that were asked for, and whose last use is recorded as on another day.
        self._asked: set[int] = set()
        # Of which that is known, and on which day as the clock says.
        self._looked_up: tuple[int, set[int]] = (0, set())

    # --- settings and models ------------------------------------------------------------------------------------------

    def setting(self, key: str) -> str | None:
        """A value that was stored under a key; None if there is none."""
        with self._database.reading() as connection:
            return _setting(connection, key)

    def files_revision(self) -> int:
        """Grows with every change of the files: together with a model's watermark it names a state of the library."""
        with self._database.reading() as connection:
            return number(_setting(connection, "files_revision") or "0")

    def facts_state(self) -> tuple[int, int]:
        """Changes of the files, and of facts."""
        with self._database.reading() as connection:
            files, facts = (number(_setting(connection, key) or "0") for key in ("files_revision", "facts_revision"))
        return files, facts

    @contextmanager
    def _sealed(self) -> Iterator[sqlite3.Connection]:
        """A transaction in which what is read is compared with its seals."""
        with self._database.reading() as connection, legible(connection):
            yield connection

    def models(self) -> list[ModelRow]:
        """All models of the library, oldest first."""
        with self._sealed() as connection:
            return [model_row(row) for row in _models(connection, f"{_MODELS} ORDER BY id")]

    def default_model(self) -> ModelRow | None:
        """The model that the library uses unless told otherwise; None before the first one was loaded."""
        with self._sealed() as connection:
            chosen = _setting(connection, "default_model")
            sealed = _seals(connection, Kind.DEFAULT_MODEL)
            rows = [] if chosen is None else _models(connection, f"{_MODELS} WHERE id = CAST(? AS INTEGER)", (chosen,))
            if sealed and sealed.get("") != seal((chosen,)):
                warn_of_rows(["which model is the default"])
                return None
        return model_row(rows[0]) if rows else None

    def find_model(self, spec: ModelSpec) -> ModelRow | None:
        """The newest model that was loaded as `spec`."""
        which = 'name = ? AND pretrained IS ? AND "precision" = ? AND decode = ? AND icc = ? AND transparency = ?'
        with self._sealed() as connection:
            rows = _models(
                connection,
                f"{_MODELS} WHERE {which} ORDER BY id DESC",
                (spec.name, spec.pretrained, spec.precision, str(spec.decode), str(spec.icc), str(spec.transparency)),
            )
        return model_row(rows[0]) if rows else None

    # --- files --------------------------------------------------------------------------------------------------------

    def digest_of(self, path: str) -> bytes | None:
        """Digest of the image that a path shows, or showed when it was last there; None if the path is not known."""
        if not is_encodable(path):
            return None
        with self._database.reading() as connection:
            folder, name = os.path.split(path)
            row = connection.execute(
                f"SELECT {_IMAGE}, files.size, files.mtime_ns, files.image_id, files.checksum FROM files"
                " JOIN folders ON folders.id = files.folder_id"
                " JOIN images ON images.id = files.image_id WHERE folders.path = ? AND files.name = ?",
                (folder, name),
            ).fetchone()
        if row is None:
            return None
        if not (is_of_content(*row[:5]) and is_of_file(folder, name, *row[5:])):
            warn_of_rows([f"what is known of {path}"])
            return None
        return bytes(row[0])

    def files(self, prefixes: Sequence[str] | None = None) -> FileTable:
        """Files that are there and have an image, folder by folder, each by name.

        Args:
            prefixes: files and folders (their whole subtrees) to restrict to; None for the whole library.
        """
        # A row per folder rather than per file: making Python objects of the rows takes longest.
        query = (
            "SELECT folder_id, group_concat(name, char(0)), group_concat(image_id) FROM files"
            " WHERE missing_since IS NULL AND image_id IS NOT NULL"
        )
        with self._database.reading() as connection:
            revision = number(_setting(connection, "files_revision") or "0")
            folders, rows = _by_folder(connection, prefixes, query, "GROUP BY folder_id")
            sealed = _seals(connection, Kind.FOLDER, of=None if prefixes is None else [str(ident) for ident in folders])
        paths: list[str] = []
        images: list[str] = []
        there = {str(ident) for ident in folders}
        damaged = [] if there.issuperset(sealed) else ["a folder with its photos"]
        of_folder = {folder: (names, image_ids) for folder, names, image_ids in rows}
        for folder, (path, wanted) in folders.items():
            joined, image_ids = of_folder.get(folder, ("", ""))
            names = joined.split("\0") if joined else []
            # SQLite goes through the index, by name, but does not promise it.
            if names != sorted(names):
                pairs = sorted(zip(names, image_ids.split(","), strict=True))
                joined, image_ids = "\0".join([name for name, _ in pairs]), ",".join([ident for _, ident in pairs])
                names = [name for name, _ in pairs]
            checksum = sealed.get(str(folder))
            if checksum is not None and listing_checksum(path, joined, image_ids) != checksum:
                damaged.append(f"what is known of the photos in {path}")
                continue
            if names and wanted is not None:
                pairs = [pair for pair in zip(names, image_ids.split(","), strict=True) if pair[0] in wanted]
                names, image_ids = [name for name, _ in pairs], ",".join([ident for _, ident in pairs])
            if names:
                base = os.path.join(path, "")
                paths += [base + name for name in names]
                images.append(image_ids)
        if damaged:
            warn_of_rows(damaged)
        return FileTable(paths, np.fromstring(",".join(images), dtype=np.int64, sep=","), revision)

    def files_of(self, image_ids: Collection[int]) -> FileTable:
        """Files that are there and show one of the images, in the same order as `files`."""
        found: list[tuple[str, str, int]] = []
        damaged = False
        with self._database.reading() as connection:
            for part in chunks(list(image_ids)):
                for *row, size, mtime_ns, checksum in _files_of(connection, part):
                    if is_of_file(row[0], row[1], size, mtime_ns, row[2], checksum):
                        found.append((row[0], row[1], row[2]))
                    else:
                        damaged = True
        if damaged:
            warn_of_rows(["what is known of some photos"])
        found.sort()
        paths = [os.path.join(folder, name) for folder, name, _ in found]
        return FileTable(paths, np.array([image_id for _, _, image_id in found], dtype=np.int64))

    def skipped(self, prefixes: Sequence[str] | None = None) -> list[SkippedFile]:
        """Files that are there but cannot be used, in the same order as `files`."""
        query = (
            "SELECT folder_id, name, skip_reason, skip_detail FROM files"
            " WHERE missing_since IS NULL AND skip_reason IS NOT NULL"
        )
        with self._database.reading() as connection:
            folders, rows = _by_folder(connection, prefixes, query)
            of_folder: defaultdict[int, list[tuple[str, str, str | None]]] = defaultdict(list)
            for folder, *about in rows:
                of_folder[folder].append((about[0], about[1], about[2]))
            return [
                SkippedFile(os.path.join(path, name), SkipReason(reason), detail or "")
                for folder, (path, wanted) in folders.items()
                for name, reason, detail in sorted(of_folder[folder])
                if wanted is None or name in wanted
            ]

    # --- vectors ------------------------------------------------------------------------------------------------------

    def image_vectors(self, digests: Collection[bytes], model: ModelRow) -> dict[bytes, FloatArray]:
        """Cached vectors of images, by content digest; damaged ones are left out."""
        found: dict[bytes, FloatArray] = {}
        with self._database.reading() as connection:
            for part in chunks(list(digests)):
                rows = connection.execute(
                    f"SELECT {_IMAGE}, embeddings.vector, images.id, embeddings.checksum FROM images"
                    " JOIN embeddings ON embeddings.image_id = images.id"
                    f" WHERE embeddings.model_id = ? AND images.digest IN ({marks(part)})",
                    (model.id, *part),
                )
                found.update(
                    (row[0], from_blob(blob, model, self._folder))
                    for *row, blob, image_id, checksum in rows
                    if is_of_content(*row) and is_of_image(blob, model.id, image_id, checksum)
                )
        return found

    def prompt_vectors(self, texts: Collection[str], model: ModelRow, *, truncated: bool) -> dict[str, FloatArray]:
        """Cached vectors of prompts; those of cut texts only where the caller allows `truncated` ones, and no damaged
        ones.
        """
        found: dict[str, FloatArray] = {}
        which = "" if truncated else " AND NOT truncated"
        with self._database.reading() as connection:
            for part in chunks(list(texts)):
                rows = connection.execute(
                    f"{_PROMPTS} WHERE model_id = ? AND text IN ({marks(part)}){which}", (model.id, *part)
                ).fetchall()
                found.update(
                    (text, from_blob(blob, model, self._folder))
                    for _, text, blob, *rest in rows
                    if is_of_prompt(blob, model.id, text, *rest)
                )
                if self._database.writable:
                    self._note_asked(connection, [row[0] for row in rows])
        return found

    def _note_asked(self, connection: sqlite3.Connection, ids: Sequence[int]) -> None:
        """Remember which of these prompts were last recorded as used on another day. Asked once a day for each."""
        today = uses.today()
        if self._looked_up[0] != today or len(self._looked_up[1]) > _MOST_LOOKED_UP:
            self._looked_up = today, set()
        known = self._looked_up[1]
        if new := [ident for ident in ids if ident not in known]:
            others = f"SELECT prompt_id FROM prompt_uses WHERE prompt_id IN ({marks(new)}) AND day <> ?"
            day = _use_day(connection).library
            self._asked.update(row[0] for row in connection.execute(others, (*new, day)))
            known.update(new)

    def record_uses(self) -> int:
        """Record that the prompts that were asked for since were asked for, if that can be done at once."""
        self._database.require_open()
        asked = [*self._asked]
        if not asked or not self._database.writable:
            return 0
        try:
            with self._database.writing_at_once("record which prompts were used") as connection:
                _record_uses(connection, asked)
        except ZsindexError:
            return 0  # another time, or they count as used less lately than they were
        self._asked.difference_update(asked)
        return len(asked)

    def save_prompts(
        self, texts: Sequence[str], vectors: FloatArray, model_id: int, *, truncated: Sequence[bool]
    ) -> int:
        """Store prompts; those that another process stored meanwhile are left as they are, unless they are damaged.

        Of more than `config.PROMPTS_MB` and `config.PROMPTS` allow, those go that were not asked for for the longest
        and that belong to no saved label set. Returns how many.
        """
        most_bytes, most = config.PROMPTS_MB.bytes, config.PROMPTS.value
        with self._database.writing("store prompt vectors") as connection:
            for part in chunks(texts):
                there = connection.execute(
                    f"{_PROMPTS} WHERE model_id = ? AND text IN ({marks(part)})", (model_id, *part)
                ).fetchall()
                damaged = [(row[0],) for row in there if not is_of_prompt(row[2], model_id, row[1], *row[3:])]
                connection.executemany("DELETE FROM prompts WHERE id = ?", damaged)
            connection.executemany(
                "INSERT INTO prompts (model_id, text, vector, truncated, checksum) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (
                    (model_id, text, blob := to_blob(vector), cut, prompt_checksum(blob, model_id, text, cut))
                    for text, vector, cut in zip(texts, vectors, truncated, strict=True)
                ),
            )
            asked = [*self._asked]
            turn, day = _record_uses(connection, asked)
            for part in chunks(texts):
                connection.execute(
                    "INSERT INTO prompt_uses SELECT id, ?, ? FROM prompts"
                    f" WHERE model_id = ? AND text IN ({marks(part)})"
                    " ON CONFLICT (prompt_id) DO UPDATE SET turn = excluded.turn, day = excluded.day",
                    (turn, day, model_id, *part),
                )
            gone = _make_room(connection, most_bytes, most)
        self._asked.difference_update(asked)
        return gone

    def embeddings_after(self, model: ModelRow, seq: int) -> tuple[int, IdArray, FloatArray]:
        """Embeddings stored after a sequence number.

        Returns:
            The last sequence number (`seq` if there is nothing), image ids (n,), vectors float32 (n, dim), in order.

        Warns:
            VectorsDamaged: some are left out.
        """
        with self.embeddings(model, after=seq) as (count, parts):
            return gathered(count, parts, model, seq)

    @contextmanager
    def embeddings(
        self, model: ModelRow, *, after: int
    ) -> Iterator[tuple[int, Iterator[tuple[int, IdArray, FloatArray]]]]:
        """How many embeddings were stored after a sequence number, and these, in order, some thousand at a time.

        Each part is its last sequence number, image ids (b,) and vectors float32 (b, dim), without damaged ones. All of
        it is one moment's view, whatever is stored meanwhile.
        """

        def parts(connection: sqlite3.Connection) -> Iterator[tuple[int, IdArray, FloatArray]]:
            rows = connection.execute(
                "SELECT seq, image_id, vector, checksum FROM embeddings"
                f" WHERE {_OF_MODEL_BY_SEQ} AND seq > ? ORDER BY seq",
                (model.id, after),
            )
            while part := rows.fetchmany(_PART_ROWS):
                whole = whole_rows(part, model.id)
                blobs = [row[2] for row in whole]
                yield (
                    part[-1][0],
                    np.array([row[1] for row in whole], dtype=np.int64),
                    from_blobs(blobs, model, self._folder),
                )

        with self._database.reading() as connection:
            yield _count_after(connection, model.id, after), parts(connection)

    def has_vectors(self, model_id: int) -> bool:
        """Whether there is any embedding of a model."""
        with self._database.reading() as connection:
            query = "SELECT EXISTS (SELECT 1 FROM embeddings WHERE model_id = ?)"
            return bool(connection.execute(query, (model_id,)).fetchone()[0])

    def count_after(self, model_id: int, seq: int) -> int:
        """How many embeddings of a model were stored after a sequence number."""
        with self._database.reading() as connection:
            return _count_after(connection, model_id, seq)

    def is_unchanged(self, model_id: int, generation: int, seq: int) -> bool:
        """Whether `generation` is still that, and `count_after` 0."""
        with self._database.reading() as connection:
            (found,) = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM models WHERE id = ? AND generation = ?) AND NOT EXISTS"
                f" (SELECT 1 FROM embeddings WHERE {_of_model(seq)} AND seq > ?)",
                (model_id, generation, model_id, seq),
            ).fetchone()
        return bool(found)

    def generation(self, model_id: int) -> int:
        """How often embeddings of the model were deleted; -1 for a model that the library does not hold."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT generation FROM models WHERE id = ?", (model_id,)).fetchone()
        return -1 if row is None else int(row[0])

    def image_ids_of(self, model_id: int, *, through: int) -> IdArray:
        """Image ids, ascending, whose vector under the model was stored up to the sequence number `through`."""
        # As one text: a million rows, each of them a Python object, take four times as long.
        with self._database.reading() as connection:
            (found,) = connection.execute(
                "SELECT group_concat(image_id) FROM embeddings WHERE model_id = ? AND seq <= ?", (model_id, through)
            ).fetchone()
        return np.sort(np.fromstring(found or "", dtype=np.int64, sep=","))

    def snapshot(self, model_id: int) -> SnapshotRow | None:
        """What is recorded of a model's index file; None before the first one."""
        with self._sealed() as connection:
            row = connection.execute(_SNAPSHOT, (model_id,)).fetchone()
            sealed = _seals(connection, Kind.SNAPSHOT)
        return None if row is None or sealed.get(str(model_id)) != seal((model_id, *row[:-1])) else SnapshotRow(*row)

    def derived(self, model_id: int, kind: str, key: str) -> Any:
        """What was computed before under a key of at most 64 characters; None if it was not."""
        which = "model_id = ? AND kind = ? AND key = ?"
        with self._sealed() as connection:
            row = connection.execute(f"SELECT body FROM derived WHERE {which}", (model_id, kind, key)).fetchone()
            sealed = _seals(connection, Kind.DERIVED, f"{model_id}/{kind}")
        whole = row is not None and sealed.get(key) == seal((model_id, kind, key, *row))
        return json.loads(row[0]) if whole else None

    # --- label sets ---------------------------------------------------------------------------------------------------

    def label_sets(self) -> list[SavedLabelSet]:
        """The newest version of each label set, by name."""
        with self._sealed() as connection:
            newest = "SELECT max(id) FROM label_sets GROUP BY name"
            rows = connection.execute(f"{_LABEL_SETS} WHERE id IN ({newest}) ORDER BY name").fetchall()
            sealed: dict[str, tuple[int, int]] = {}
            for name, version, checksum in connection.execute(
                "SELECT part, CAST(key AS INTEGER), checksum FROM seals WHERE kind = 'label_set' ORDER BY 1, 2"
            ):
                sealed[name] = version, checksum
            whole = [row for row in rows if sealed.get(row[0]) == (row[1], seal(row))]
            damaged = {str(row[0]) for row in rows if row not in whole} | sealed.keys() - {row[0] for row in rows}
            if damaged:
                warn_of_rows([f"label set {name}" for name in sorted(damaged)])
            return [_label_set(row) for row in whole]

    def label_set_versions(self, name: str) -> list[SavedLabelSet]:
        """All versions of a label set, oldest first; empty where there is none of that name."""
        with self._sealed() as connection:
            rows = connection.execute(f"{_LABEL_SETS} WHERE name = ? ORDER BY version", (name,)).fetchall()
            sealed = _seals(connection, Kind.LABEL_SET, name)
            if {str(row[1]): seal(row) for row in rows} != sealed:
                raise LibraryDamaged(self._folder, f"label set {name} is not what was saved")
            return [_label_set(row) for row in rows]

    def template_sets(self) -> dict[str, tuple[str, ...]]:
        """Template sets by name."""
        with self._sealed() as connection:
            rows = dict(connection.execute("SELECT name, body FROM template_sets ORDER BY name"))
            sealed = _seals(connection, Kind.TEMPLATE_SET)
            whole = {name: body for name, body in rows.items() if sealed.get(name) == seal((name, body))}
            if damaged := sorted(map(str, (rows.keys() | sealed.keys()) - whole.keys())):
                warn_of_rows([f"template set {name}" for name in damaged])
            return {name: tuple(json.loads(body)) for name, body in whole.items()}


# --- the bound of cached prompts --------------------------------------------------------------------------------------

_MOST_LOOKED_UP = 100_000
# So much of the bound is left when something goes: otherwise each question after it would look for the oldest.
_LEFT = 0.9


def prompt_bytes(connection: sqlite3.Connection) -> int:
    """How much cached prompts take. Read from the index of their texts: the vectors are not looked at."""
    (size,) = connection.execute(
        f"SELECT sum(n * ({VECTOR_DTYPE.itemsize} * dim + {uses.BESIDE_TEXT}) + 2 * letters) FROM models JOIN"
        " (SELECT model_id, count(*) AS n, sum(length(CAST(text AS BLOB))) AS letters FROM prompts GROUP BY model_id)"
        " ON model_id = models.id"
    ).fetchone()
    return int(size or 0)


def _use_day(connection: sqlite3.Connection) -> uses.Day:
    """The day as a library counts them."""
    last = connection.execute("SELECT value FROM settings WHERE key = ?", (uses.KEY,)).fetchone()
    if last is None:  # none was recorded since the last upgrade, as of which the clock was right
        newest = connection.execute("SELECT day FROM prompt_uses ORDER BY turn DESC LIMIT 1").fetchone()
        day = uses.today() if newest is None else int(newest[0])
        return uses.Day(day, day).until(uses.today())
    return uses.Day.from_text(last[0]).until(uses.today())


def _record_uses(connection: sqlite3.Connection, asked: Sequence[int]) -> tuple[int, int]:
    """Record uses of prompts, by their ids. Returns the turn in which they were used, the last of all, and the day."""
    (turn,) = connection.execute("SELECT coalesce(max(turn), 0) + 1 FROM prompt_uses").fetchone()
    day = _use_day(connection)
    connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", (uses.KEY, day.text))
    used = [(turn, day.library, ident) for ident in asked]
    connection.executemany("UPDATE prompt_uses SET turn = ?, day = ? WHERE prompt_id = ?", used)
    return int(turn), day.library


def _make_room(connection: sqlite3.Connection, most_bytes: int, most: int) -> int:
    """Remove the prompts beyond so many bytes, and so many, that were not asked for for the longest, but for those of
    saved label sets. What is needed again is encoded again. Returns how many.
    """
    pages, page_size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * page_size <= min(most_bytes, most * uses.BESIDE_TEXT):
        return 0  # the whole file is smaller, as most are: nothing has to be counted
    (count,) = connection.execute("SELECT count(*) FROM prompt_uses").fetchone()
    size = prompt_bytes(connection)
    if size <= most_bytes and count <= most:
        return 0
    kept = prompts_in(json.loads(body) for (body,) in connection.execute("SELECT body FROM label_sets"))
    too_large = size - int(_LEFT * most_bytes) if size > most_bytes else 0
    too_many = count - int(_LEFT * most) if count > most else 0
    gone: list[tuple[int]] = []
    # CROSS, so that they come in the order of the index, and no more than are looked at.
    for ident, text, length in connection.execute(
        "SELECT prompts.id, text, length(vector) FROM prompt_uses CROSS JOIN prompts ON prompts.id = prompt_id"
        " ORDER BY turn, prompt_id"
    ):
        if too_large <= 0 and too_many <= 0:
            break
        if text not in kept:
            gone.append((ident,))
            too_large -= length + uses.BESIDE_TEXT + 2 * len(text.encode())
            too_many -= 1
    connection.executemany("DELETE FROM prompts WHERE id = ?", gone)
    return len(gone)


# --- pieces of queries ------------------------------------------------------------------------------------------------

_LABEL_SETS = "SELECT name, version, body, saved_at FROM label_sets"
_PROMPTS = "SELECT id, text, vector, truncated, checksum FROM prompts"
# The embeddings of a model, where those after some `seq` are meant, which lie together. The + hides the index by model,
# which SQLite would read from one end to the other, and then sort.
_OF_MODEL_BY_SEQ = "+model_id = ?"


def _setting(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _seals(
    connection: sqlite3.Connection, kind: Kind, part: str = "", *, of: Sequence[str] | None = None
) -> dict[str, int]:
    """Seals of a kind by key; of some keys only, or of all."""
    query = "SELECT key, checksum FROM seals WHERE kind = ? AND part = ?"
    if of is None:
        return dict(connection.execute(query, (str(kind), part)))
    found: dict[str, int] = {}
    for keys in chunks(of):
        found.update(connection.execute(f"{query} AND key IN ({marks(keys)})", (str(kind), part, *keys)))
    return found


def _models(connection: sqlite3.Connection, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows of models, without damaged ones."""
    rows, sealed = connection.execute(query, parameters).fetchall(), _seals(connection, Kind.MODEL)
    whole = [row for row in rows if sealed.get(str(row[0])) == seal(row[:-1])]
    if len(whole) < len(rows):
        warn_of_rows([f"the record of model {row[2]!s}" for row in rows if row not in whole])
    return whole


def _label_set(row: Sequence[Any]) -> SavedLabelSet:
    name, version, body, saved_at = row
    return SavedLabelSet(name, version, json.loads(body), saved_at)


def _of_model(seq: int) -> str:
    # For all rows the index by model is the better way: it has no vectors in it.
    return "model_id = ?" if seq == 0 else _OF_MODEL_BY_SEQ


def _count_after(connection: sqlite3.Connection, model_id: int, seq: int) -> int:
    query = f"SELECT count(*) FROM embeddings WHERE {_of_model(seq)} AND seq > ?"
    return int(connection.execute(query, (model_id, seq)).fetchone()[0])


def _files_of(connection: sqlite3.Connection, image_ids: Sequence[int]) -> list[tuple[Any, ...]]:
    """Path of the folder, name, image id, size, mtime_ns and checksum of files that are there, in any order."""
    columns = "folders.path", "files.name", "files.image_id", "files.size", "files.mtime_ns", "files.checksum"
    rows = (
        "FROM files JOIN folders ON folders.id = files.folder_id"
        f" WHERE files.missing_since IS NULL AND files.image_id IN ({marks(image_ids)})"
    )
    # As one row: with each the interpreter's lock is let go, and where many ask at once another thread takes it.
    joined = ", ".join(f"group_concat({column}, char(0))" for column in columns)
    try:
        texts = connection.execute(f"SELECT {joined} {rows}", image_ids).fetchone()
        if all(text is None for text in texts):
            return []
        folders, names, *numbers = [text.split("\0") for text in texts]
        return list(zip(folders, names, *(map(int, some) for some in numbers), strict=True))
    except (AttributeError, ValueError, sqlite3.OperationalError):  # one is not what was stored: which, rows tell
        return connection.execute(f"SELECT {', '.join(columns)} {rows}", image_ids).fetchall()


def _by_folder(
    connection: sqlite3.Connection, prefixes: Sequence[str] | None, query: str, grouping: str = ""
) -> tuple[dict[int, tuple[str, set[str] | None]], list[tuple[Any, ...]]]:
    """The folders that a selection touches, and what a query over `files` finds in them.

    Returns:
        Path and names by id, in path order, None for all names; and the rows, in no particular order.
    """
    ids: dict[str, int] = dict(connection.execute("SELECT path, id FROM folders ORDER BY path"))
    touched = {ids[path]: (path, names) for path, names in selected(ids, prefixes).items()}
    if prefixes is None:
        return touched, connection.execute(f"{query} {grouping}").fetchall()
    rows: list[tuple[Any, ...]] = []
    for part in chunks(list(touched)):
        rows += connection.execute(f"{query} AND folder_id IN ({marks(part)}) {grouping}", part)
    return touched, rows
