"""Which rows other than vectors are not what was stored, and what can be done about them: `zsindex.storage.protocol`'s
`damaged_rows` and `mend`, in SQL that is no database's own.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, delete, insert, select, update

from zsindex.storage import room, uses
from zsindex.storage.adding import FACTS_REVISION, REVISION, revisions_of, set_setting, touch_files
from zsindex.storage.database import Dialect
from zsindex.storage.facts import OF_IMAGE, OF_SIDECAR, is_whole
from zsindex.storage.facts_of_files import touch as touch_facts
from zsindex.storage.rows import NEVER_SEEN, now
from zsindex.storage.sealing import part_of, put_seals, rows_of, seals_of, unseal
from zsindex.storage.seals import RULES, Damaged, Kind, is_of_content, is_of_file, listing_checksum, seal
from zsindex.storage.tables import (
    embeddings,
    files,
    folders,
    image_facts,
    images,
    incomplete_images,
    looks,
    metadata,
    models,
    roots,
    seals,
    settings,
    sidecar_facts,
    surveys,
)

# Settings that count something, without a seal.
_COUNTERS = {
    REVISION: "changes of the files",
    FACTS_REVISION: "changes of facts",
    uses.KEY: "days of use",
    room.UPLOADS: "images that no file shows",
}
_DEFAULT_MODEL = settings.c.key == "default_model"

# What is forgotten where it is damaged, each by its name.
_FORGOTTEN = frozenset({
    Kind.LABEL_SET, Kind.TEMPLATE_SET, Kind.CORRECTION, Kind.DECISION, Kind.ALBUM, Kind.SURVEY, Kind.LOOK,
    Kind.THRESHOLD, Kind.TEMPERATURE, Kind.RUN, Kind.SIDECAR, Kind.SNAPSHOT,
})  # fmt: skip


def find(connection: Connection, dialect: Dialect) -> Iterator[Damaged]:
    """All rows that are not what was stored, and all seals."""
    for kind in RULES:
        found, sealed = rows_of(connection, kind), seals_of(connection, kind)
        right = {which: seal(row) for which, row in found.items()}
        there, lost = {*right.values()}, {sealed[which] for which in sealed.keys() - found.keys()}
        for which in sorted(found.keys() | sealed.keys()):
            row, checksum = found.get(which), sealed.get(which)
            if row is None and checksum not in there:
                yield Damaged(kind, *which, _words(connection, kind, *which, row), gone=True)
            elif row is not None and checksum != right[which]:
                # Where the seal has another name it still fits; and no flipped bit of a text flips one of its CRC-32.
                whole = right[which] in lost if checksum is None else _differ_by_one_bit(right[which], checksum)
                yield Damaged(kind, *which, _words(connection, kind, *which, row), whole=whole)
    yield from _default_model(connection)
    yield from _counters(connection)
    yield from _photos(connection)
    yield from _folders(connection, dialect)


def _differ_by_one_bit(one: int, other: object) -> bool:
    return isinstance(other, int) and (one ^ other).bit_count() == 1


def _words(connection: Connection, kind: Kind, part: str, key: str, row: Sequence[Any] | None) -> str:
    if kind is Kind.MODEL:
        return f"the record of model {key if row is None else row[2]}"
    if kind is Kind.CORRECTION:
        return f"correction {key} of label set {part}{_said(connection, row)}"
    if kind is Kind.DECISION:
        return f"decision {key} about duplicates{_decided(row)}"
    return {
        Kind.ALBUM: f"the album {key}",
        Kind.SURVEY: f"survey {key}",
        Kind.LOOK: f"look {key} of survey {part}",
        Kind.ROOT: f"the synced folder {key}",
        Kind.SNAPSHOT: f"what is known of the index of model {key}",
        Kind.LABEL_SET: f"label set {part}, version {key}",
        Kind.TEMPLATE_SET: f"template set {key}",
        Kind.THRESHOLD: f"the threshold of {key} in label set {part}",
        Kind.TEMPERATURE: f"the temperature of model {key}",
        Kind.DERIVED: "a stored result",
        Kind.RUN: f"run {key}",
        Kind.SIDECAR: f"what zsindex wrote into {key}, the sidecar",
    }[kind]


def _said(connection: Connection, row: Sequence[Any] | None) -> str:
    """What a correction says, as far as it can be read, so that it can be made again."""
    if row is None:
        return ""
    _, _, _, digest, label, is_not = row
    shown = (
        select(folders.c.path, files.c.name)
        .select_from(files.join(folders).join(images))
        .where(images.c.digest == (digest if isinstance(digest, bytes) else b""))
        .order_by(files.c.id)
    )
    place = connection.execute(shown).first()
    of = "a photo that is not known" if place is None else os.path.join(*map(str, place))
    return f" ({of}: {'nothing' if label is None else label}{', not' if is_not else ''})"


def _decided(row: Sequence[Any] | None) -> str:
    """What a decision says, as far as it can be read."""
    if row is None:
        return ""
    _, _, kind, _, _, path, other, _ = row
    return f" ({kind}: {path}{'' if other is None else f', {other}'})"


def _default_model(connection: Connection) -> Iterator[Damaged]:
    chosen = connection.execute(select(settings.c.value).where(_DEFAULT_MODEL)).scalar()
    sealed = seals_of(connection, Kind.DEFAULT_MODEL).get(("", ""))
    if (chosen is not None or sealed is not None) and sealed != seal((chosen,)):
        yield Damaged(Kind.DEFAULT_MODEL, "", "", "which model is the default")


def _counters(connection: Connection) -> Iterator[Damaged]:
    found = connection.execute(select(settings.c.key, settings.c.value).where(settings.c.key.in_(_COUNTERS)))
    for key, value in found:
        if not re.fullmatch(r"[0-9]+( [0-9]+)?", str(value)):
            yield Damaged(Kind.COUNTER, "", key, f"{_COUNTERS[key]} ({key})")


def _photos(connection: Connection) -> Iterator[Damaged]:
    """Rows of files, and of images with the paths at which they were last seen."""
    query = select(
        folders.c.path, files.c.name, files.c.size, files.c.mtime_ns, files.c.image_id, files.c.checksum, files.c.id
    ).select_from(files.join(folders))
    damaged_images = {
        row[0]
        for row in _raw(connection, select(images.c.id, images.c.digest, images.c.width, images.c.height,
                                           images.c.format, images.c.checksum))
        if not is_of_content(*row[1:])
    }  # fmt: skip
    for *row, ident in _raw(connection, query):
        if not is_of_file(*row) or row[4] in damaged_images:
            path = os.path.join(str(row[0]), str(row[1]))
            yield Damaged(Kind.FILE, "unseen" if row[2] == NEVER_SEEN else "", str(ident), path)
    for image_id in sorted(damaged_images):
        yield Damaged(Kind.IMAGE, "", str(image_id), f"image {image_id}")
    for facts in _raw(connection, select(*(image_facts.c[name] for name in OF_IMAGE))):
        if not is_whole(facts):
            yield Damaged(Kind.FACTS, "", str(facts[0]), f"what the metadata of image {facts[0]} says")
    of_sidecars = select(folders.c.path, sidecar_facts.c.id, *(sidecar_facts.c[name] for name in OF_SIDECAR))
    for folder, ident, *row in _raw(connection, of_sidecars.select_from(sidecar_facts.join(folders))):
        if not is_whole(row):
            path = os.path.join(str(folder), str(row[1]))
            yield Damaged(Kind.SIDECAR_FACTS, "", str(ident), f"what {path}, the sidecar, says")


def _folders(connection: Connection, dialect: Dialect) -> Iterator[Damaged]:
    sealed = seals_of(connection, Kind.FOLDER)
    paths = {str(ident): path for ident, path in _raw(connection, select(folders.c.id, folders.c.path))}
    for ident, checksum in listings(connection, dialect, paths).items():
        if sealed.get(("", ident), checksum) != checksum:
            yield Damaged(Kind.FOLDER, "", ident, f"what is known of the photos in {paths[ident]}")
    for _, ident in sorted(sealed):
        if ident not in paths:
            yield Damaged(Kind.FOLDER, "", ident, "a folder with its photos", gone=True)


def listings(connection: Connection, dialect: Dialect, paths: dict[str, str]) -> dict[str, int]:
    """The checksum of what each folder holds, by its id as text.

    Args:
        paths: of all folders, or of some, by their ids.
    """
    query = select(files.c.folder_id, files.c.name, files.c.image_id).where(
        files.c.missing_since.is_(None), files.c.image_id.is_not(None)
    )
    held: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for part, parameters in dialect.in_folders(query, [(int(ident), None) for ident in paths], ordered=True):
        for ident, name, image_id in _raw(connection, part, parameters):
            held[str(ident)].append((str(name), str(image_id)))
    found = {}
    for ident, path in paths.items():
        names, image_ids = "\0".join([row[0] for row in held[ident]]), ",".join([row[1] for row in held[ident]])
        found[ident] = listing_checksum(path, names, image_ids)
    return found


def mend(connection: Connection, dialect: Dialect, damaged: Iterable[Damaged]) -> list[str]:
    """Do what can be done about damaged rows; returns what that was, and what cannot be had again, in words."""
    done: list[str] = []
    by_kind: defaultdict[Kind, list[Damaged]] = defaultdict(list)
    for one in damaged:
        by_kind[one.kind].append(one)
    for kind in (RULES.keys() & by_kind.keys()) - {Kind.MODEL, Kind.ROOT}:
        _forget(connection, dialect, kind, {(one.part, one.key) for one in by_kind[kind] if not one.whole})
    if whole := {("", one.key) for one in by_kind[Kind.MODEL] if one.whole}:
        found = rows_of(connection, Kind.MODEL)
        put_seals(connection, dialect, Kind.MODEL, {which: seal(found[which]) for which in whole})
    for kind in RULES:
        done += [_done(one) for one in by_kind[kind] if kind is not Kind.DERIVED and (one.whole or kind in _FORGOTTEN)]
    if by_kind[Kind.DERIVED]:
        done.append(f"forgot {len(by_kind[Kind.DERIVED])} stored results; they are calculated again when needed")
    if by_kind[Kind.ROOT]:
        done.append(_mend_roots(connection, dialect))
    if by_kind[Kind.DEFAULT_MODEL]:
        done.append(_mend_default_model(connection, dialect))
    if by_kind[Kind.COUNTER]:
        done.append(_mend_counters(connection, [one.key for one in by_kind[Kind.COUNTER]]))
    for kind, column, what in (
        (Kind.FACTS, image_facts.c.image_id, "the metadata of images says"),
        (Kind.SIDECAR_FACTS, sidecar_facts.c.id, "sidecars say"),
    ):
        if of_kind := by_kind[kind]:
            these = {"ids": dialect.many([int(one.key) for one in of_kind])}
            connection.execute(delete(column.table).where(column.in_(dialect.any_of("ids", int))), these)
            touch_facts(connection, revisions_of(connection)[1])
            done.append(f"forgot what {what} ({len(of_kind)}); the next zsindex sync reads it again")
    done += _mend_photos(connection, dialect, by_kind)
    return done


def _done(one: Damaged) -> str:
    if one.whole:
        return f"made the checksum of {one.what} anew: that was damaged, and nothing else"
    return f"forgot {one.what}{'; it is made again' if one.kind is Kind.SNAPSHOT else ': it cannot be had again'}"


def _forget(connection: Connection, dialect: Dialect, kind: Kind, damaged: Collection[tuple[str, str]]) -> None:
    """Forget damaged rows of a kind, and seal the others.

    Args:
        damaged: parts and keys.
    """
    rule = RULES[kind]
    table = metadata.tables[rule.table]
    place = dialect.arrival(table)  # as a damaged name may be no text
    rows = _raw(connection, select(place, part_of(rule), table.c[rule.key]))
    places = [row[0] for row in rows if (str(row[1]), str(row[2])) in damaged]
    connection.execute(delete(table).where(place.in_(dialect.any_of("places", int))), {"places": dialect.many(places)})
    _seal_all(connection, dialect, kind)
    if kind is Kind.SURVEY:  # nobody asks for its looks any more
        connection.execute(delete(looks).where(looks.c.survey_id.not_in(select(surveys.c.id))))
        left = select(sa.cast(surveys.c.id, sa.Text))
        connection.execute(delete(seals).where(seals.c.kind == str(Kind.LOOK), seals.c.part.not_in(left)))


def _seal_all(connection: Connection, dialect: Dialect, kind: Kind) -> None:
    connection.execute(delete(seals).where(seals.c.kind == str(kind)))
    put_seals(connection, dialect, kind, {which: seal(row) for which, row in rows_of(connection, kind).items()})


def _mend_roots(connection: Connection, dialect: Dialect) -> str:
    """Their seals say what they were, and prove it."""
    sealed = seals_of(connection, Kind.ROOT)
    named = {path for _, path in [*sealed, *rows_of(connection, Kind.ROOT)]}
    right = sorted(path for path in named if seal((path,)) in sealed.values())
    connection.execute(delete(roots))
    unseal(connection, dialect, Kind.ROOT)
    if right:
        connection.execute(insert(roots), [{"path": path, "synced_at": now()} for path in right])
    put_seals(connection, dialect, Kind.ROOT, {("", path): seal((path,)) for path in right})
    return "restored the list of synced folders"


def _mend_counters(connection: Connection, keys: Sequence[str]) -> str:
    connection.execute(delete(settings).where(settings.c.key.in_(keys)))
    for key in {REVISION, FACTS_REVISION}.intersection(keys):
        # It only has to be one that there never was.
        set_setting(connection, key, str(int(time.time())))
    return f"began to count anew: {', '.join(map(_COUNTERS.__getitem__, keys))}"


def _mend_default_model(connection: Connection, dialect: Dialect) -> str:
    there = [str(ident) for ident in connection.execute(select(models.c.id)).scalars()]
    sealed = seals_of(connection, Kind.DEFAULT_MODEL).get(("", ""))
    right = [ident for ident in there if seal((ident,)) == sealed] or (there if len(there) == 1 else [])
    connection.execute(delete(settings).where(_DEFAULT_MODEL))
    unseal(connection, dialect, Kind.DEFAULT_MODEL)
    if not right:
        return "forgot which model is the default: choose it with zsindex models use"
    connection.execute(insert(settings).values(key="default_model", value=right[0]))
    put_seals(connection, dialect, Kind.DEFAULT_MODEL, {("", ""): seal((right[0],))})
    return "restored which model is the default"


def _mend_photos(connection: Connection, dialect: Dialect, by_kind: dict[Kind, list[Damaged]]) -> list[str]:
    """Forget what is damaged of files and images, and what belongs to it: a sync reads them again."""
    gone_files = [int(one.key) for one in by_kind[Kind.FILE]]
    gone_images = [int(one.key) for one in by_kind[Kind.IMAGE]]
    if not (gone_files or gone_images or by_kind[Kind.FOLDER]):
        return []
    these = {"ids": dialect.many(gone_images)}
    any_of = dialect.any_of("ids", int)
    if gone_images:
        connection.execute(delete(files).where(files.c.image_id.in_(any_of)), these)
        for table in (incomplete_images, image_facts, embeddings):
            connection.execute(delete(table).where(table.c.image_id.in_(any_of)), these)
        connection.execute(delete(images).where(images.c.id.in_(any_of)), these)
        connection.execute(update(models).values(generation=models.c.generation + 1))
    connection.execute(delete(files).where(files.c.id.in_(any_of)), {"ids": dialect.many(gone_files)})
    connection.execute(delete(folders).where(~sa.exists().where(files.c.folder_id == folders.c.id)))
    connection.execute(delete(seals).where(seals.c.kind == str(Kind.FOLDER)))
    there = {str(ident): path for ident, path in _raw(connection, select(folders.c.id, folders.c.path))}
    checksums = {("", ident): checksum for ident, checksum in listings(connection, dialect, there).items()}
    put_seals(connection, dialect, Kind.FOLDER, checksums)
    touch_files(connection)
    unseen = sorted(one.what for one in by_kind[Kind.FILE] if one.part == "unseen")
    said = [f"forgot what was known of {len(gone_files) or 'some'} photos; the next zsindex sync reads them again"]
    if unseen:
        said.append(f"these were imported, and are to be imported again: {', '.join(unseen)}")
    return said


def _raw(
    connection: Connection, query: sa.Select[Any], parameters: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Rows as the driver gives them: SQLAlchemy would stumble over values of other types."""
    cursor = connection.execute(query, parameters).cursor
    assert cursor is not None
    return list(cursor.fetchall())
