"""The facts of all files from their tables, for SQL that is no database's own: all of them, or what has changed."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, select

from zsindex.photos import sidecars
from zsindex.photos.together import NOTHING, together
from zsindex.records import Facts
from zsindex.storage.adding import FACTS_REVISION, revisions_of, set_setting
from zsindex.storage.database import Dialect
from zsindex.storage.facts import GONE, OF_IMAGE, OF_SIDECAR, from_row, is_whole
from zsindex.storage.facts_table import FactsTable
from zsindex.storage.rows import NEVER_SEEN
from zsindex.storage.seals import is_of_content, warn_of_rows
from zsindex.storage.tables import files, folders, image_facts, images, sidecar_facts

# So many files at a time.
_PART = 4096

_IMAGE = (images.c.id, images.c.digest, images.c.width, images.c.height, images.c.format, images.c.checksum)


class _File(NamedTuple):
    folder_id: int
    folder: str
    name: str
    image_id: int
    mtime_ns: int


def touch(connection: Connection, before: int) -> int:
    """Count a change of facts, in the transaction that makes it; which one it is.

    By the clock: a library that was restored, or made anew in the same folder, does not come to a number again under
    which something else was kept.
    """
    revision = max(before + 1, time.time_ns())
    set_setting(connection, FACTS_REVISION, str(revision))
    return revision


def table(connection: Connection, dialect: Dialect, known: FactsTable | None) -> FactsTable:
    """The facts of all files that are there, as `zsindex.storage.protocol.PhotoStorage.facts_table` promises."""
    now = revisions_of(connection)
    if known is not None and known.state == now:
        return known
    query = (
        select(files.c.folder_id, folders.c.path, files.c.name, files.c.image_id, files.c.mtime_ns)
        .select_from(files.join(folders))
        .where(files.c.missing_since.is_(None), files.c.image_id.is_not(None))
        .order_by(folders.c.path, files.c.name)
    )
    cursor = connection.execute(query).cursor
    assert cursor is not None
    there = [_File(*row) for row in cursor.fetchall()]
    paths = [os.path.join(file.folder, file.name) for file in there]
    if known is None or now[1] < known.state[1]:  # another library's, or one that was restored
        return _made(connection, dialect, now, there, paths, None)
    old = _unchanged(connection, known, there, paths)
    new = np.flatnonzero(old < 0)
    fresh = _made(connection, dialect, now, [there[i] for i in new], [paths[i] for i in new], known)
    order = np.empty(len(there), np.int64)
    kept = np.flatnonzero(old >= 0)
    order[kept] = np.arange(len(kept))
    order[new] = len(kept) + np.arange(len(new))
    return known.merged(old[kept], fresh, order)


def of_files(connection: Connection, dialect: Dialect, image_ids: Collection[int]) -> dict[str, Facts]:
    """The facts of the files that are there and show one of the images, by path."""
    query = (
        select(files.c.folder_id, folders.c.path, files.c.name, files.c.image_id, files.c.mtime_ns)
        .select_from(files.join(folders))
        .where(files.c.missing_since.is_(None), files.c.image_id.in_(dialect.any_of("ids", int)))
        .order_by(folders.c.path, files.c.name)
    )
    cursor = connection.execute(query, {"ids": dialect.many(image_ids)}).cursor
    assert cursor is not None
    there = [_File(*row) for row in cursor.fetchall()]
    said = _effective(connection, dialect, there)
    return {os.path.join(file.folder, file.name): facts for file, (_, facts) in zip(there, said, strict=True)}


def _unchanged(
    connection: Connection, known: FactsTable, there: Sequence[_File], paths: Sequence[str]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Where files stand in an earlier table, int64 (n,); -1 where it does not hold any more what that says."""
    rows = known.rows_of_paths(paths)
    if len(known):
        image_ids = np.array([file.image_id for file in there], np.int64)
        mtimes_ns = np.array([file.mtime_ns for file in there], np.int64)
        rows[(known.image_ids[rows] != image_ids) | (known.mtimes_ns[rows] != mtimes_ns)] = -1
    since = known.state[1]
    told = {*connection.execute(select(image_facts.c.image_id).where(image_facts.c.revision > since)).scalars()}
    beside: defaultdict[int, set[str]] = defaultdict(set)
    of_sidecars = select(sidecar_facts.c.folder_id, sidecar_facts.c.name).where(sidecar_facts.c.revision > since)
    for folder_id, name in connection.execute(of_sidecars):
        beside[folder_id].add(sidecars.key_of(name))
    for i, file in enumerate(there):
        keys = beside.get(file.folder_id)
        if file.image_id in told or (keys and not keys.isdisjoint(sidecars.keys_of(file.name))):
            rows[i] = -1
    return rows


def _made(
    connection: Connection,
    dialect: Dialect,
    now: tuple[int, int],
    there: Sequence[_File],
    paths: Sequence[str],
    beside: FactsTable | None,
) -> FactsTable:
    rows = [(path, file.image_id, file.mtime_ns) for path, file in zip(paths, there, strict=True)]
    return FactsTable.of(now, rows, _effective(connection, dialect, there), beside=beside)


def _effective(connection: Connection, dialect: Dialect, there: Sequence[_File]) -> Iterator[tuple[bool, Facts]]:
    """Whether the metadata of each file's image was read, and the facts of the file; some thousand at a time."""
    damaged: list[str] = []
    query = select(sidecar_facts.c.folder_id).where(sidecar_facts.c.size != GONE).distinct()
    with_sidecars = {*connection.execute(query).scalars()} if there else set()
    for folder_id, group in groupby(there, attrgetter("folder_id")):
        of_folder = list(group)
        told: dict[str, Facts] = {}
        if folder_id in with_sidecars:
            wanted = sidecars.keys_of_all(file.name for file in of_folder)
            told = _of_sidecars(connection, folder_id, of_folder[0].folder, wanted, damaged)
        for start in range(0, len(of_folder), _PART):
            part = of_folder[start : start + _PART]
            content = of_images(connection, dialect, {file.image_id for file in part}, damaged)
            for file in part:
                is_read, facts = content.get(file.image_id, (False, NOTHING))
                sidecar = sidecars.that_of(file.name, told) if told else None
                mtime_ns = None if file.mtime_ns == NEVER_SEEN else file.mtime_ns
                yield is_read, together(facts, sidecar, file.name, mtime_ns)
    if damaged:
        warn_of_rows(damaged)


def of_images(
    connection: Connection, dialect: Dialect, image_ids: Collection[int], damaged: list[str]
) -> dict[int, tuple[bool, Facts]]:
    """Whether the metadata of images was read, and what it says, with their size and format.

    Args:
        damaged: what is left out, in words, is put here.
    """
    query = (
        select(*_IMAGE, *(image_facts.c[name] for name in OF_IMAGE))
        .select_from(images.outerjoin(image_facts))
        .where(images.c.id.in_(dialect.any_of("ids", int)))
    )
    cursor = connection.execute(query, {"ids": dialect.many(image_ids)}).cursor
    assert cursor is not None
    found = {}
    for row in cursor.fetchall():
        (ident, *image), facts = row[: len(_IMAGE)], row[len(_IMAGE) :]
        if not is_of_content(*image):
            damaged.append(f"what is known of image {ident}")
            continue
        _, width, height, container, _ = image
        if facts[0] is None:
            found[ident] = False, Facts(width=width or None, height=height or None, format=container or None)
        elif is_whole(facts):
            found[ident] = True, from_row(facts, width=width, height=height, container=container)
        else:
            damaged.append(f"what the metadata of image {ident} says")
    return found


def of_sidecars(connection: Connection, dialect: Dialect, paths: Collection[str]) -> dict[str, Facts]:
    """What sidecars say, by their paths; those of which nothing is stored are left out."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for folder, name in map(os.path.split, paths):
        names[folder].append(name)
    query = (
        select(*(sidecar_facts.c[name] for name in OF_SIDECAR))
        .select_from(sidecar_facts.join(folders))
        .where(folders.c.path == sa.bindparam("folder"), sidecar_facts.c.size != GONE)
        .where(sidecar_facts.c.name.in_(dialect.any_of("names", str)))
    )
    found, damaged = {}, []
    for folder, of_folder in names.items():
        cursor = connection.execute(query, {"folder": folder, "names": dialect.many(of_folder)}).cursor
        assert cursor is not None
        for row in cursor.fetchall():
            path = os.path.join(folder, str(row[1]))
            if is_whole(row):
                found[path] = from_row(row)
            else:
                damaged.append(f"what {path} says")
    if damaged:
        warn_of_rows(damaged)
    return found


def _of_sidecars(
    connection: Connection, folder_id: int, folder: str, wanted: set[str], damaged: list[str]
) -> dict[str, Facts]:
    """What the sidecars of a folder say, by key."""
    query = (
        select(*(sidecar_facts.c[name] for name in OF_SIDECAR))
        .where(sidecar_facts.c.folder_id == folder_id, sidecar_facts.c.size != GONE)
        .order_by(sidecar_facts.c.name)
    )
    cursor = connection.execute(query).cursor
    assert cursor is not None
    found = {}
    for row in cursor.fetchall():
        key = sidecars.key_of(str(row[1]))
        if key in wanted:
            if is_whole(row):
                found[key] = from_row(row)
            else:
                damaged.append(f"what {os.path.join(folder, str(row[1]))} says")
    return found


def last_sidecars(connection: Connection, dialect: Dialect, folder_paths: Sequence[str]) -> dict[str, str]:
    """See `zsindex.storage.protocol.PhotoStorage.last_sidecars`."""
    text = (
        sidecar_facts.c.name
        + "/"
        + sa.cast(sidecar_facts.c.size, sa.Text)
        + "/"
        + sa.cast(sidecar_facts.c.mtime_ns, sa.Text)
    )
    query = (
        select(folders.c.path, dialect.joined(text, "/", sidecar_facts.c.name))
        .select_from(sidecar_facts.join(folders))
        .where(sidecar_facts.c.size != GONE, folders.c.path.in_(dialect.any_of("paths", str)))
        .group_by(folders.c.path)
    )
    return {row[0]: row[1] for row in connection.execute(query, {"paths": dialect.many(folder_paths)})}
