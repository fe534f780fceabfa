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
from zsindex.photos.formats import is_encodable
from zsindex.records import FloatArray, IdArray, ModelSpec, SkippedFile, SkipReason
from zsindex.storage.postgres.database import Link, PostgresDatabase, Rows
from zsindex.storage.rows import FileTable, ModelRow, SavedLabelSet, SnapshotRow, prompts_in, selected
from zsindex.storage.stored import (
    MODEL_COLUMNS,
    SNAPSHOT_COLUMNS,
    from_blob,
    from_blobs,
    is_of_image,
    is_of_prompt,
    model_row,
    prompt_checksum,
    to_blob,
    warn_of_damage,
    whole_rows,
)

_PART_ROWS = 4096

_MODELS = f"SELECT {', '.join(MODEL_COLUMNS)} FROM models"
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

    def models(self) -> list[ModelRow]:
        """All models of the library, oldest first."""
        return [model_row(row) for row in self._rows(f"{_MODELS} ORDER BY id")]

    def default_model(self) -> ModelRow | None:
        """The model that the library uses unless told otherwise; None before the first one was loaded."""
        chosen = "SELECT value::int8 FROM settings WHERE key = 'default_model'"
        row = self._one(f"{_MODELS} WHERE id = ({chosen})")
        return None if row is None else model_row(row)

    def find_model(self, spec: ModelSpec) -> ModelRow | None:
        """The newest model that was loaded as `spec`."""
        row = self._one(
            f"{_MODELS} WHERE name = %s AND pretrained IS NOT DISTINCT FROM %s AND precision = %s AND decode = %s"
            " AND icc = %s AND transparency = %s ORDER BY id DESC LIMIT 1",
            spec.name,
            spec.pretrained,
            spec.precision,
            str(spec.decode),
            str(spec.icc),
            str(spec.transparency),
        )
        return None if row is None else model_row(row)

    # --- files --------------------------------------------------------------------------------------------------------

    def digest_of(self, path: str) -> bytes | None:
        """Digest of the image that a path shows, or showed when it was last there; None if the path is not known."""
        self._database.require_open()
        if not is_encodable(path):
            return None
        row = self._one(
            "SELECT images.digest FROM files JOIN folders ON folders.id = files.folder_id"
            " JOIN images ON images.id = files.image_id WHERE folders.path = %s AND files.name = %s",
            *os.path.split(path),
        )
        return None if row is None else row[0]

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
        paths: list[str] = []
        images: list[str] = []
        of_folder = {folder: (names.split("/"), image_ids) for folder, names, image_ids in rows}
        for folder, (path, wanted) in folders.items():
            if folder not in of_folder:
                continue
            names, image_ids = of_folder[folder]
            if wanted is not None:
                pairs = [pair for pair in zip(names, image_ids.split(","), strict=True) if pair[0] in wanted]
                names, image_ids = [name for name, _ in pairs], ",".join(image_id for _, image_id in pairs)
            if names:
                base = os.path.join(path, "")
                paths += [base + name for name in names]
                images.append(image_ids)
        return FileTable(paths, np.fromstring(",".join(images), dtype=np.int64, sep=","), revision)

    def files_of(self, image_ids: Collection[int]) -> FileTable:
        """Files that are there and show one of the images, in the same order as `files`."""
        found = self._rows(
            "SELECT folders.path, files.name, files.image_id FROM files JOIN folders ON folders.id = files.folder_id"
            " WHERE files.missing_since IS NULL AND files.image_id = ANY(%b::int8[]) ORDER BY 1, 2",
            list(image_ids),
        )
        paths = [os.path.join(folder, name) for folder, name, _ in found]
        return FileTable(paths, np.array([image_id for _, _, image_id in found], dtype=np.int64))

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
            "SELECT images.digest, embeddings.vector, images.id, embeddings.checksum FROM images"
            " JOIN embeddings ON embeddings.image_id = images.id"
            " WHERE embeddings.model_id = %s AND images.digest = ANY(%b::bytea[])",
            model.id,
            list(digests),
        )
        return {
            digest: from_blob(blob, model, self._place)
            for digest, blob, image_id, checksum in rows
            if is_of_image(blob, model.id, image_id, checksum)
        }

    def prompt_vectors(self, texts: Collection[str], model: ModelRow, *, truncated: bool) -> dict[str, FloatArray]:
        """Cached vectors of prompts; those of cut texts only where the caller allows `truncated` ones, and no damaged
        ones.
        """
        with self._database.reading() as link:
            rows = _prompts(link, texts, model.id)
        return {
            text: from_blob(blob, model, self._place)
            for _, text, blob, cut, checksum in rows
            if (truncated or not cut) and is_of_prompt(blob, model.id, text, cut, checksum)
        }

    def save_prompts(
        self, texts: Sequence[str], vectors: FloatArray, model_id: int, *, truncated: Sequence[bool]
    ) -> None:
        """Store prompts; those that another process stored meanwhile are left as they are, unless they are damaged.

        Of more than `config.prompt_bytes` in all, the oldest go that belong to no saved label set.
        """
        most = config.prompt_bytes()
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
            _make_room(link, most)

    def embeddings_after(self, model: ModelRow, seq: int) -> tuple[int, IdArray, FloatArray]:
        """Embeddings stored after a sequence number.

        Returns:
            The last sequence number (`seq` if there is nothing), image ids (n,), vectors float32 (n, dim), in order.

        Warns:
            VectorsDamaged: some are left out.
        """
        with self.embeddings(model, after=seq) as (count, parts):
            ids = np.empty(count, dtype=np.int64)
            vectors = np.empty((count, model.info.dim), dtype=np.float32)
            last, n = seq, 0
            for through, part_ids, part in parts:
                last = through
                ids[n : n + len(part)], vectors[n : n + len(part)] = part_ids, part
                n += len(part)
        if n < count:
            warn_of_damage(count - n, model)
        return last, ids[:n], vectors[:n]

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
        """What is recorded of a model's index file on this machine; None before the first one."""
        with self._database.reading() as link:
            return snapshot_of(link, model_id, self._database.cache)

    def derived(self, model_id: int, kind: str, key: str) -> Any:
        """What was computed before under a key of at most 64 characters; None if it was not."""
        row = self._one("SELECT body FROM derived WHERE model_id = %s AND kind = %s AND key = %s", model_id, kind, key)
        return None if row is None else json.loads(row[0])

    # --- label sets ---------------------------------------------------------------------------------------------------

    def label_sets(self) -> list[SavedLabelSet]:
        """The newest version of each label set, by name."""
        newest = "SELECT max(id) FROM label_sets GROUP BY name"
        return [_label_set(row) for row in self._rows(f"{_LABEL_SETS} WHERE id IN ({newest}) ORDER BY name")]

    def label_set_versions(self, name: str) -> list[SavedLabelSet]:
        """All versions of a label set, oldest first; empty where there is none of that name."""
        return [_label_set(row) for row in self._rows(f"{_LABEL_SETS} WHERE name = %s ORDER BY version", name)]

    def template_sets(self) -> dict[str, tuple[str, ...]]:
        """Template sets by name."""
        rows = self._rows("SELECT name, body FROM template_sets ORDER BY name")
        return {name: tuple(json.loads(body)) for name, body in rows}


def snapshot_of(link: Link, model_id: int, cache: str | None) -> SnapshotRow | None:
    """What is recorded of a model's index file on the machine whose folder has a name."""
    row = link.execute(
        f"SELECT {', '.join(SNAPSHOT_COLUMNS)} FROM snapshots WHERE model_id = %s AND cache = %s", (model_id, cache)
    ).fetchone()
    return None if row is None else SnapshotRow(*row)


# --- the bound of cached prompts --------------------------------------------------------------------------------------

# Beside its vector a prompt takes its text twice, there and in the index, and about so many bytes.
_BESIDE_TEXT = 40
# So much of the bound is left when something goes: otherwise each question after it would look for the oldest.
_LEFT = 0.9


def _make_room(link: Link, most: int) -> None:
    """Remove the oldest prompts beyond so many bytes, but for those of saved label sets."""
    # Nothing in that table is compressed: where twice of it is less, as mostly, nothing has to be counted.
    if _value(link, "SELECT 2 * pg_catalog.pg_total_relation_size('prompts')") <= most:
        return
    size = f"length(vector) + {_BESIDE_TEXT} + 2 * octet_length(text)"
    together = _value(link, f"SELECT coalesce(sum({size}), 0)::int8 FROM prompts")
    if together <= most:
        return
    kept = prompts_in(json.loads(body) for (body,) in link.execute("SELECT body FROM label_sets").fetchall())
    too_much, old = together - int(_LEFT * most), []
    with link.cursor("prompts", binary=True) as cursor:
        for ident, text, length in cursor.execute(f"SELECT id, text, {size} FROM prompts ORDER BY id"):
            if too_much <= 0:
                break
            if text not in kept:
                old.append(ident)
                too_much -= length
    link.execute("DELETE FROM prompts WHERE id = ANY(%b::int8[])", (old,))


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


def _files_revision(link: Link) -> int:
    return _value(link, "SELECT coalesce(max(value), '0')::int8 FROM settings WHERE key = 'files_revision'")


def _label_set(row: Sequence[Any]) -> SavedLabelSet:
    name, version, body, saved_at = row
    return SavedLabelSet(name, version, json.loads(body), saved_at)


def _count_after(link: Link, model_id: int, seq: int) -> int:
    # For all rows the index by model is the better way: it has no vectors in it.
    of_model = "model_id = %s" if seq == 0 else _OF_MODEL_BY_SEQ
    return _value(link, f"SELECT count(*) FROM embeddings WHERE {of_model} AND seq > %s", model_id, seq)


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
