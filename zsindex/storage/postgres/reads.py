"""What questions read of a library on a server, and the prompts that they leave there, in plain SQL: importing
SQLAlchemy takes longer than answering from the cache. Each public method is one transaction, and the number of its
statements does not depend on the library.
"""

from __future__ import annotations

import hashlib
import json
import os
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
from zsindex.storage.postgres import derived
from zsindex.storage.postgres.database import Link, PostgresDatabase, Rows
from zsindex.storage.rows import FileTable, ModelRow, SavedLabelSet, SnapshotRow, prompts_in, selected
from zsindex.storage.seals import Kind, is_of_content, is_of_file, listing_checksum, seal, warn_of_rows
from zsindex.storage.stored import (
    MODEL_COLUMNS,
    SNAPSHOT_COLUMNS,
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
_LABEL_SETS = "SELECT name, version, body, saved_at FROM label_sets"
# The + hides the index by model, which the server would read from one end to the other as long as it has not counted
# what is in it.
_OF_MODEL_BY_SEQ = "+model_id = %s"
_PROMPTS = "SELECT id, text, vector, truncated, checksum FROM prompts"


class PostgresReads:
    """`zsindex.storage.protocol.Reads` over an open database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._place = database.place
        # Ids of prompts that were asked for, and whose last use is recorded as on another day.
        self._asked: set[int] = set()
        # Of which that is known, and on which day as the clock says.
        self._looked_up: tuple[int, set[int]] = (0, set())

    def _rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._database.reading() as link:
            return link.execute(query, parameters, binary=True).fetchall()

    def _one(self, query: str, *parameters: Any) -> tuple[Any, ...] | None:
        rows = self._rows(query, *parameters)
        return rows[0] if rows else None

    # --- settings and models ------------------------------------------------------------------------------------------

    def files_revision(self) -> int:
        """Grows with every change of the files: together with a model's watermark it names a state of the library."""
        with self._database.reading() as link:
            return _files_revision(link)

    def facts_state(self) -> tuple[int, int]:
        """Changes of the files, and of facts."""
        with self._database.reading() as link:
            return _files_revision(link), number(_setting(link, "facts_revision") or "0")

    def models(self) -> list[ModelRow]:
        """All models of the library, oldest first."""
        with self._database.reading() as link:
            return [model_row(row) for row in _models(link, f"{_MODELS} ORDER BY id")]

    def default_model(self) -> ModelRow | None:
        """The model that the library uses unless told otherwise; None before the first one was loaded."""
        with self._database.reading() as link:
            chosen = _setting(link, "default_model")
            sealed = _seals(link, Kind.DEFAULT_MODEL)
            rows = [] if chosen is None else _models(link, f"{_MODELS} WHERE id::text = %s", chosen)
        if sealed and sealed.get("") != seal((chosen,)):
            warn_of_rows(["which model is the default"])
            return None
        return model_row(rows[0]) if rows else None

    def find_model(self, spec: ModelSpec) -> ModelRow | None:
        """The newest model that was loaded as `spec`."""
        with self._database.reading() as link:
            rows = _models(
                link,
                f"{_MODELS} WHERE name = %s AND pretrained IS NOT DISTINCT FROM %s AND precision = %s AND decode = %s"
                " AND icc = %s AND transparency = %s ORDER BY id DESC",
                spec.name,
                spec.pretrained,
                spec.precision,
                str(spec.decode),
                str(spec.icc),
                str(spec.transparency),
            )
        return model_row(rows[0]) if rows else None

    # --- files --------------------------------------------------------------------------------------------------------

    def digest_of(self, path: str) -> bytes | None:
        """Digest of the image that a path shows, or showed when it was last there; None if the path is not known."""
        self._database.require_open()
        if not is_encodable(path) or "\0" in path:
            return None  # no file has such a name, and no text on a server such a character
        folder, name = os.path.split(path)
        row = self._one(
            f"SELECT {_IMAGE}, files.size, files.mtime_ns, files.image_id, files.checksum FROM files"
            " JOIN folders ON folders.id = files.folder_id"
            " JOIN images ON images.id = files.image_id WHERE folders.path = %s AND files.name = %s",
            folder,
            name,
        )
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
        # A row per folder rather than per file: making Python objects of the rows takes longest. No name has a slash.
        query = (
            "SELECT folder_id, string_agg(name, '/' ORDER BY name), string_agg(image_id::text, ',' ORDER BY name)"
            " FROM files WHERE missing_since IS NULL AND image_id IS NOT NULL"
        )
        with self._database.reading() as link:
            revision = _files_revision(link)
            folders, rows = _by_folder(link, prefixes, query, "GROUP BY folder_id")
            sealed = _seals(link, Kind.FOLDER, of=None if prefixes is None else [str(ident) for ident in folders])
        paths: list[str] = []
        images: list[str] = []
        there = {str(ident) for ident in folders}
        damaged = [] if there.issuperset(sealed) else ["a folder with its photos"]
        of_folder = {folder: (names.split("/"), image_ids) for folder, names, image_ids in rows}
        for folder, (path, wanted) in folders.items():
            names, image_ids = of_folder.get(folder, ([], ""))
            checksum = sealed.get(str(folder))
            if checksum is not None and listing_checksum(path, "\0".join(names), image_ids) != checksum:
                damaged.append(f"what is known of the photos in {path}")
                continue
            if wanted is not None:
                ids = image_ids.split(",") if image_ids else []
                pairs = [pair for pair in zip(names, ids, strict=True) if pair[0] in wanted]
                names, image_ids = [name for name, _ in pairs], ",".join(image_id for _, image_id in pairs)
            if names:
                base = os.path.join(path, "")
                paths += [base + name for name in names]
                images.append(image_ids)
        if damaged:
            warn_of_rows(damaged)
        return FileTable(paths, np.fromstring(",".join(images), dtype=np.int64, sep=","), revision)

    def files_of(self, image_ids: Collection[int]) -> FileTable:
        """Files that are there and show one of the images, in the same order as `files`."""
        rows = self._rows(
            "SELECT folders.path, files.name, files.size, files.mtime_ns, files.image_id, files.checksum FROM files"
            " JOIN folders ON folders.id = files.folder_id"
            " WHERE files.missing_since IS NULL AND files.image_id = ANY(%b::int8[]) ORDER BY 1, 2",
            list(image_ids),
        )
        whole = [row for row in rows if is_of_file(*row)]
        if len(whole) < len(rows):
            warn_of_rows(["what is known of some photos"])
        paths = [os.path.join(row[0], row[1]) for row in whole]
        return FileTable(paths, np.array([row[4] for row in whole], dtype=np.int64))

    def skipped(self, prefixes: Sequence[str] | None = None) -> list[SkippedFile]:
        """Files that are there but cannot be used, in the same order as `files`."""
        query = (
            "SELECT folder_id, name, skip_reason, skip_detail FROM files"
            " WHERE missing_since IS NULL AND skip_reason IS NOT NULL"
        )
        with self._database.reading() as link:
            folders, rows = _by_folder(link, prefixes, query)
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
        rows = self._rows(
            f"SELECT {_IMAGE}, embeddings.vector, images.id, embeddings.checksum FROM images"
            " JOIN embeddings ON embeddings.image_id = images.id"
            " WHERE embeddings.model_id = %s AND images.digest = ANY(%b::bytea[])",
            model.id,
            list(digests),
        )
        return {
            row[0]: from_blob(blob, model, self._place)
            for *row, blob, image_id, checksum in rows
            if is_of_content(*row) and is_of_image(blob, model.id, image_id, checksum)
        }

    def prompt_vectors(self, texts: Collection[str], model: ModelRow, *, truncated: bool) -> dict[str, FloatArray]:
        """Cached vectors of prompts; those of cut texts only where the caller allows `truncated` ones, and no damaged
        ones.
        """
        with self._database.reading() as link:
            rows = [row for row in _prompts(link, texts, model.id) if truncated or not row[3]]
            if self._database.writable:
                self._note_asked(link, [row[0] for row in rows])
        return {
            text: from_blob(blob, model, self._place)
            for _, text, blob, cut, checksum in rows
            if is_of_prompt(blob, model.id, text, cut, checksum)
        }

    def _note_asked(self, link: Link, ids: Sequence[int]) -> None:
        """Remember which of these prompts were last recorded as used on another day. Asked once a day for each."""
        today = uses.today()
        if self._looked_up[0] != today or len(self._looked_up[1]) > _MOST_LOOKED_UP:
            self._looked_up = today, set()
        known = self._looked_up[1]
        if new := [ident for ident in ids if ident not in known]:
            others = "SELECT prompt_id FROM prompt_uses WHERE prompt_id = ANY(%b::int8[]) AND day <> %s"
            found = link.execute(others, (new, _use_day(link).library)).fetchall()
            self._asked.update(row[0] for row in found)
            known.update(new)

    def record_uses(self) -> int:
        """Record that the prompts that were asked for since were asked for, if that can be done at once."""
        self._database.require_open()
        asked = [*self._asked]
        if not asked or not self._database.writable:
            return 0
        try:
            with self._database.writing_at_once("record which prompts were used") as link:
                _record_uses(link, asked)
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
        with self._database.writing("store prompt vectors") as link:
            there = _prompts(link, texts, model_id)
            damaged = [row[0] for row in there if not is_of_prompt(row[2], model_id, row[1], row[3], row[4])]
            if damaged:
                link.execute("DELETE FROM prompts WHERE id = ANY(%b::int8[])", (damaged,))
            rows = [
                (text, _hash(text), blob := to_blob(vector), bool(cut), prompt_checksum(blob, model_id, text, cut))
                for text, vector, cut in zip(texts, vectors, truncated, strict=True)
            ]
            if rows:
                link.execute(
                    "INSERT INTO prompts (model_id, text, hash, vector, truncated, checksum) SELECT %s, * FROM"
                    " unnest(%b::text[], %b::bytea[], %b::bytea[], %b::bool[], %b::int8[]) ON CONFLICT DO NOTHING",
                    (model_id, *(list(values) for values in zip(*rows, strict=True))),
                )
            asked = [*self._asked]
            turn, day = _record_uses(link, asked)
            link.execute(
                "INSERT INTO prompt_uses (prompt_id, turn, day) SELECT id, %s, %s FROM prompts"
                " WHERE model_id = %s AND hash = ANY(%b::bytea[])"
                " ON CONFLICT (prompt_id) DO UPDATE SET turn = excluded.turn, day = excluded.day",
                (turn, day, model_id, [_hash(text) for text in texts]),
            )
            gone = _make_room(link, most_bytes, most)
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

        query = (
            f"SELECT seq, image_id, vector, checksum FROM embeddings WHERE {_OF_MODEL_BY_SEQ} AND seq > %s ORDER BY seq"
        )

        def parts(cursor: Rows) -> Iterator[tuple[int, IdArray, FloatArray]]:
            while part := cursor.fetchmany(_PART_ROWS):
                whole = whole_rows(part, model.id)
                blobs = [row[2] for row in whole]
                yield (
                    part[-1][0],
                    np.array([row[1] for row in whole], dtype=np.int64),
                    from_blobs(blobs, model, self._place),
                )

        with self._database.reading() as link:
            count = _count_after(link, model.id, after)
            if not count:
                yield 0, iter(())
                return
            # The server keeps what is not asked for yet, unless it is little.
            with link.cursor("embeddings" if count > _PART_ROWS else "", binary=True) as cursor:
                cursor.execute(query, (model.id, after))
                yield count, parts(cursor)

    def has_vectors(self, model_id: int) -> bool:
        """Whether there is any embedding of a model."""
        return self._one("SELECT 1 FROM embeddings WHERE model_id = %s LIMIT 1", model_id) is not None

    def count_after(self, model_id: int, seq: int) -> int:
        """How many embeddings of a model were stored after a sequence number."""
        with self._database.reading() as link:
            return _count_after(link, model_id, seq)

    def is_unchanged(self, model_id: int, generation: int, seq: int) -> bool:
        """Whether `generation` is still that, and `count_after` 0."""
        with self._database.reading() as link:
            return bool(
                _value(
                    link,
                    "SELECT EXISTS (SELECT 1 FROM models WHERE id = %s AND generation = %s) AND NOT EXISTS"
                    f" (SELECT 1 FROM embeddings WHERE {_of_model(seq)} AND seq > %s)",
                    model_id,
                    generation,
                    model_id,
                    seq,
                )
            )

    def generation(self, model_id: int) -> int:
        """How often embeddings of the model were deleted; -1 for a model that the library does not hold."""
        row = self._one("SELECT generation FROM models WHERE id = %s", model_id)
        return -1 if row is None else int(row[0])

    def image_ids_of(self, model_id: int, *, through: int) -> IdArray:
        """Image ids, ascending, whose vector under the model was stored up to the sequence number `through`."""
        # As one text: a million rows, each of them a Python object, take four times as long.
        row = self._one(
            "SELECT string_agg(image_id::text, ',') FROM embeddings WHERE model_id = %s AND seq <= %s",
            model_id,
            through,
        )
        return np.sort(np.fromstring((row and row[0]) or "", dtype=np.int64, sep=","))

    def snapshot(self, model_id: int) -> SnapshotRow | None:
        """What is recorded of a model's index file on this machine; None before the first one. For who may only read
        also what lies beside the file, if the database is still the one that it was made from.
        """
        with self._database.reading() as link:
            recorded = snapshot_of(link, model_id, self._database.cache)
            own = None if self._database.writable else derived.kept(self._database.folder, model_id)
            if own is None or (recorded is not None and recorded.watermark >= own.snapshot.watermark):
                return recorded
            return own.snapshot if history_of(link, model_id, own.snapshot.watermark) == own.history else recorded

    def derived(self, model_id: int, kind: str, key: str) -> Any:
        """What was computed before under a key of at most 64 characters; None if it was not."""
        query = "SELECT body FROM derived WHERE model_id = %s AND kind = %s AND key = %s"
        with self._database.reading() as link:
            row = link.execute(query, (model_id, kind, key)).fetchone()
            sealed = _seals(link, Kind.DERIVED, f"{model_id}/{kind}")
        whole = row is not None and sealed.get(key) == seal((model_id, kind, key, *row))
        return json.loads(row[0]) if row is not None and whole else None

    # --- label sets ---------------------------------------------------------------------------------------------------

    def label_sets(self) -> list[SavedLabelSet]:
        """The newest version of each label set, by name."""
        newest = "SELECT max(id) FROM label_sets GROUP BY name"
        sealed: dict[str, tuple[int, int]] = {}
        with self._database.reading() as link:
            rows = link.execute(f"{_LABEL_SETS} WHERE id IN ({newest}) ORDER BY name").fetchall()
            for name, version, checksum in link.execute(
                "SELECT part, key::int8, checksum FROM seals WHERE kind = 'label_set' ORDER BY 1, 2"
            ).fetchall():
                sealed[name] = version, checksum
        whole = [row for row in rows if sealed.get(row[0]) == (row[1], seal(row))]
        damaged = {str(row[0]) for row in rows if row not in whole} | sealed.keys() - {row[0] for row in rows}
        if damaged:
            warn_of_rows([f"label set {name}" for name in sorted(damaged)])
        return [_label_set(row) for row in whole]

    def label_set_versions(self, name: str) -> list[SavedLabelSet]:
        """All versions of a label set, oldest first; empty where there is none of that name."""
        with self._database.reading() as link:
            rows = link.execute(f"{_LABEL_SETS} WHERE name = %s ORDER BY version", (name,)).fetchall()
            sealed = _seals(link, Kind.LABEL_SET, name)
        if {str(row[1]): seal(row) for row in rows} != sealed:
            raise LibraryDamaged(self._place, f"label set {name} is not what was saved")
        return [_label_set(row) for row in rows]

    def template_sets(self) -> dict[str, tuple[str, ...]]:
        """Template sets by name."""
        with self._database.reading() as link:
            rows = dict(link.execute("SELECT name, body FROM template_sets ORDER BY name").fetchall())
            sealed = _seals(link, Kind.TEMPLATE_SET)
        whole = {name: body for name, body in rows.items() if sealed.get(name) == seal((name, body))}
        if damaged := sorted(map(str, (rows.keys() | sealed.keys()) - whole.keys())):
            warn_of_rows([f"template set {name}" for name in damaged])
        return {name: tuple(json.loads(body)) for name, body in whole.items()}


def snapshot_of(link: Link, model_id: int, cache: str | None) -> SnapshotRow | None:
    """What is recorded of a model's index file on the machine whose folder has a name."""
    row = link.execute(
        f"SELECT {', '.join(SNAPSHOT_COLUMNS)} FROM snapshots WHERE model_id = %s AND cache = %s", (model_id, cache)
    ).fetchone()
    return None if row is None else SnapshotRow(*row)


def history_of(link: Link, model_id: int, watermark: int) -> str:
    """The fingerprint of a model's embeddings up to a watermark; see `derived`."""
    row = link.execute(derived.HISTORY, (model_id, watermark)).fetchone()
    return "" if row is None else str(row[0])


# --- the bound of cached prompts --------------------------------------------------------------------------------------

# So much of the bound is left when something goes: otherwise each question after it would look for the oldest.
_LEFT = 0.9
_MOST_LOOKED_UP = 100_000


def _use_day(link: Link) -> uses.Day:
    """The day as a library counts them."""
    last = _setting(link, uses.KEY)
    if last is None:  # none was recorded since the last upgrade, as of which the clock was right
        newest = link.execute("SELECT day FROM prompt_uses ORDER BY turn DESC LIMIT 1").fetchone()
        day = uses.today() if newest is None else int(newest[0])
        return uses.Day(day, day).until(uses.today())
    return uses.Day.from_text(last).until(uses.today())


def _record_uses(link: Link, asked: Sequence[int]) -> tuple[int, int]:
    """Record uses of prompts, by their ids. Returns the turn in which they were used, the last of all, and the day."""
    turn = _value(link, "SELECT coalesce(max(turn), 0) + 1 FROM prompt_uses")
    day = _use_day(link)
    link.execute(
        "INSERT INTO settings (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (uses.KEY, day.text),
    )
    if asked:
        link.execute(
            "UPDATE prompt_uses SET turn = %s, day = %s WHERE prompt_id = ANY(%b::int8[])", (turn, day.library, asked)
        )
    return turn, day.library


def _make_room(link: Link, most_bytes: int, most: int) -> int:
    """Remove the prompts beyond so many bytes, and so many, that were not asked for for the longest, but for those of
    saved label sets. Returns how many.
    """
    # Nothing in that table is compressed: where twice of it is less, as mostly, nothing has to be counted.
    room = _value(link, "SELECT 2 * pg_catalog.pg_total_relation_size('prompts')")
    if room <= min(most_bytes, most * uses.BESIDE_TEXT):
        return 0
    size = f"length(vector) + {uses.BESIDE_TEXT} + 2 * octet_length(text)"
    count = _value(link, "SELECT count(*) FROM prompt_uses")
    together = 0 if room <= most_bytes else _value(link, f"SELECT coalesce(sum({size}), 0)::int8 FROM prompts")
    if together <= most_bytes and count <= most:
        return 0
    kept = prompts_in(json.loads(body) for (body,) in link.execute("SELECT body FROM label_sets").fetchall())
    too_large = together - int(_LEFT * most_bytes) if together > most_bytes else 0
    too_many = count - int(_LEFT * most) if count > most else 0
    gone: list[int] = []
    with link.cursor("prompts", binary=True) as cursor:
        query = f"SELECT id, text, {size} FROM prompt_uses JOIN prompts ON id = prompt_id ORDER BY turn, prompt_id"
        for ident, text, length in cursor.execute(query):
            if too_large <= 0 and too_many <= 0:
                break
            if text not in kept:
                gone.append(ident)
                too_large -= length
                too_many -= 1
    link.execute("DELETE FROM prompts WHERE id = ANY(%b::int8[])", (gone,))
    return len(gone)


# --- pieces of queries ------------------------------------------------------------------------------------------------


def _value(link: Link, query: str, *parameters: Any) -> int:
    row = link.execute(query, parameters).fetchone()
    return 0 if row is None else int(row[0])


def _hash(text: str) -> bytes:
    """As `PostgresDialect` has it, which is imported with SQLAlchemy."""
    return hashlib.sha256(text.encode()).digest()


def _prompts(link: Link, texts: Collection[str], model_id: int) -> list[tuple[int, str, bytes, bool, int]]:
    hashes = [_hash(text) for text in texts]
    return link.execute(
        f"{_PROMPTS} WHERE model_id = %s AND hash = ANY(%b::bytea[]) ORDER BY id", (model_id, hashes), binary=True
    ).fetchall()


def _setting(link: Link, key: str) -> str | None:
    row = link.execute("SELECT value FROM settings WHERE key = %s", (key,)).fetchone()
    return None if row is None else str(row[0])


def _files_revision(link: Link) -> int:
    return number(_setting(link, "files_revision") or "0")


def _seals(link: Link, kind: Kind, part: str = "", *, of: Sequence[str] | None = None) -> dict[str, int]:
    """Seals of a kind by key; of some keys only, or of all."""
    query = "SELECT key, checksum FROM seals WHERE kind = %s AND part = %s"
    if of is None:
        return dict(link.execute(query, (str(kind), part)).fetchall())
    return dict(link.execute(f"{query} AND key = ANY(%s::text[])", (str(kind), part, list(of))).fetchall())


def _models(link: Link, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Rows of models, without damaged ones."""
    rows, sealed = link.execute(query, parameters).fetchall(), _seals(link, Kind.MODEL)
    whole = [row for row in rows if sealed.get(str(row[0])) == seal(row[:-1])]
    if len(whole) < len(rows):
        warn_of_rows([f"the record of model {row[2]!s}" for row in rows if row not in whole])
    return whole


def _label_set(row: Sequence[Any]) -> SavedLabelSet:
    name, version, body, saved_at = row
    return SavedLabelSet(name, version, json.loads(body), saved_at)


def _of_model(seq: int) -> str:
    # For all rows the index by model is the better way: it has no vectors in it.
    return "model_id = %s" if seq == 0 else _OF_MODEL_BY_SEQ


def _count_after(link: Link, model_id: int, seq: int) -> int:
    return _value(link, f"SELECT count(*) FROM embeddings WHERE {_of_model(seq)} AND seq > %s", model_id, seq)


def _by_folder(
    link: Link, prefixes: Sequence[str] | None, query: str, grouping: str = ""
) -> tuple[dict[int, tuple[str, set[str] | None]], list[tuple[Any, ...]]]:
    """The folders that a selection touches, and what a query over `files` finds in them.

    Returns:
        Path and names by id, in path order, None for all names; and the rows, in no particular order.
    """
    ids: dict[str, int] = dict(link.execute("SELECT path, id FROM folders ORDER BY path").fetchall())
    touched = {ids[path]: (path, names) for path, names in selected(ids, prefixes).items()}
    if prefixes is None:
        return touched, link.execute(f"{query} {grouping}").fetchall()
    which = "AND folder_id = ANY(%b::int8[])"
    return touched, link.execute(f"{query} {which} {grouping}", (list(touched),)).fetchall()
