"""What of a library grows without anybody storing photos, and what of that goes: prompts that nobody asks for any more,
and images that no file shows. All of it within the transactions of `zsindex.storage.photos`, in SQL that is no
database's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, delete, exists, func, select, update

from zsindex.storage import uses
from zsindex.storage.adding import set_setting, touch_files
from zsindex.storage.database import Dialect
from zsindex.storage.rows import NO_PROMPTS, Forgettable, prompts_in
from zsindex.storage.stored import VECTOR_DTYPE, number
from zsindex.storage.tables import (
    albums,
    corrections,
    decisions,
    derived,
    embeddings,
    files,
    image_facts,
    images,
    incomplete_images,
    jobs,
    label_sets,
    looks,
    models,
    prompt_uses,
    prompts,
    runs,
    settings,
    sidecars,
    surveys,
)

# How many images that no file shows have come since they were last counted: a setting.
UPLOADS = "uploads"
# So much of a bound is left when something goes, or the next sync would have to look again.
_LEFT = 0.9


def sizes(connection: Connection) -> dict[str, tuple[int, int]]:
    """What grows, with how many there are of it and how many bytes these take."""

    def size(count: sa.ColumnElement[int], *of_each: sa.ColumnElement[int]) -> tuple[int, int]:
        n, total = connection.execute(select(count, func.sum(*of_each))).one()
        return int(n or 0), int(total or 0)

    def of_images(these: sa.Select[Any]) -> tuple[int, int]:
        n = connection.execute(select(func.count()).select_from(these.subquery())).scalar_one()
        vectors = select(func.sum(func.length(embeddings.c.vector))).where(embeddings.c.image_id.in_(these))
        return int(n), int(connection.execute(vectors).scalar() or 0) if n else 0

    n_images = connection.execute(select(func.count()).select_from(images)).scalar_one()
    of_files = connection.execute(select(func.count(func.distinct(files.c.image_id)))).scalar_one()
    there = select(files.c.image_id).where(files.c.missing_since.is_(None), files.c.image_id.is_not(None))
    gone = select(files.c.image_id).where(files.c.missing_since.is_not(None), files.c.image_id.not_in(there)).distinct()
    return {
        "prompts": _prompt_sizes(connection),
        "uploads": of_images(_of_no_file()) if n_images > of_files else (0, 0),
        "vanished": of_images(gone),
        "label sets": size(func.count(label_sets.c.id), _octets(label_sets.c.body)),
        "runs": size(func.count(runs.c.key), _octets(runs.c.document)),
        "jobs": size(func.count(jobs.c.id), _octets(jobs.c.document)),
        "derived": size(func.count(derived.c.key), _octets(derived.c.body)),
        "corrections": size(func.count(corrections.c.id), func.length(corrections.c.digest)),
        "decisions": size(
            func.count(decisions.c.id), _octets(decisions.c.path) + func.coalesce(_octets(decisions.c.other_path), 0)
        ),
        "albums": size(func.count(albums.c.id), _octets(albums.c.body) + func.coalesce(func.length(albums.c.seen), 0)),
        "surveys": size(
            select(func.count(surveys.c.id)).scalar_subquery(), _octets(looks.c.path) + _octets(looks.c.drawn)
        ),
        "sidecars": size(func.count(sidecars.c.id), func.length(sidecars.c.original)),
    }


def _prompt_sizes(connection: Connection) -> tuple[int, int]:
    """Read from the index of their texts: the vectors are not looked at."""
    of_model = (
        select(prompts.c.model_id, func.count().label("n"), func.sum(_octets(prompts.c.text)).label("octets"))
        .group_by(prompts.c.model_id)
        .subquery()
    )
    each = VECTOR_DTYPE.itemsize * models.c.dim + uses.BESIDE_TEXT
    n, total = connection.execute(
        select(func.sum(of_model.c.n), func.sum(of_model.c.n * each + 2 * of_model.c.octets)).join_from(
            of_model, models, models.c.id == of_model.c.model_id
        )
    ).one()
    return int(n or 0), int(total or 0)


# --- prompts ----------------------------------------------------------------------------------------------------------


def prompt_bytes() -> sa.ColumnElement[int]:
    """How much a prompt takes; see `zsindex.storage.uses`."""
    return func.length(prompts.c.vector) + uses.BESIDE_TEXT + 2 * _octets(prompts.c.text)


def forgettable(connection: Connection, which: Forgettable, *, besides: Sequence[int] = ()) -> list[tuple[int, int]]:
    """Ids and bytes of such prompts, under other models than some; those first that were not asked for for the
    longest.
    """
    if which == NO_PROMPTS:
        return []
    of_others = prompts.c.model_id.not_in(besides)
    query = (
        select(prompts.c.id, prompts.c.text, prompt_bytes(), prompt_uses.c.day)
        .join(prompt_uses, prompt_uses.c.prompt_id == prompts.c.id)
        .where(of_others)
        .order_by(prompt_uses.c.turn, prompts.c.id)
    )
    before = None if which.unused_days is None else _use_day(connection) - which.unused_days
    too_many = 0
    if which.most is not None:
        too_many = connection.execute(select(func.count()).select_from(prompts).where(of_others)).scalar_one()
        too_many -= which.most
    elif before is not None and not which.every:
        query = query.where(prompt_uses.c.day < before)
    kept = prompts_in(map(json.loads, connection.execute(select(label_sets.c.body)).scalars()))
    found: list[tuple[int, int]] = []
    for ident, text, size, day in connection.execute(query):
        is_old = which.every or len(found) < too_many or (before is not None and day < before)
        if is_old and text not in kept:
            found.append((ident, size))
    return found


def delete_prompts(connection: Connection, dialect: Dialect, ids: Sequence[int]) -> None:
    """Forget prompts, by their ids, and when they were used."""
    these = {"ids": dialect.many(ids)}
    connection.execute(delete(prompts).where(prompts.c.id.in_(dialect.any_of("ids", int))), these)


# --- images that no file shows ----------------------------------------------------------------------------------------


def count_uploads(connection: Connection, n: int) -> None:
    """Note that some more images may be shown by no file."""
    counted = _counted_uploads(connection) if n else None
    if counted is not None:  # otherwise all are counted anyway
        set_setting(connection, UPLOADS, str(counted + n))


def may_be_too_many(connection: Connection, upload_bytes: int) -> bool:
    """Whether images that no file shows may take more than so many bytes, by how many came since the last count. To
    count them takes a look at every image.
    """
    n = _counted_uploads(connection)
    if n is None:
        n = connection.execute(select(func.count()).select_from(images)).scalar_one()
    dims = connection.execute(select(func.sum(models.c.dim))).scalar() or 0
    return int(n * dims * VECTOR_DTYPE.itemsize) > upload_bytes


def forget_uploads(connection: Connection, dialect: Dialect, upload_bytes: int) -> int:
    """Count images that no file shows, nor showed when it was last there; and forget those that came first, with their
    vectors, beyond so many bytes. Returns how many.
    """
    held = connection.execute(
        select(embeddings.c.image_id, func.sum(func.length(embeddings.c.vector)))
        .where(embeddings.c.image_id.in_(_of_no_file()))
        .group_by(embeddings.c.image_id)
        .order_by(embeddings.c.image_id)
    ).all()
    total = sum(size for _, size in held)
    too_large = total - _LEFT * upload_bytes if total > upload_bytes else 0
    # What people said of a photo teaches as long as its vector is there.
    said = select(images.c.id).where(images.c.digest.in_(select(corrections.c.digest)))
    teaching = set(connection.execute(said).scalars()) if too_large else set()
    old = []
    for ident, size in held:
        if too_large <= 0:
            break
        if ident not in teaching:
            old.append(ident)
            too_large -= size
    if old:
        these, one_of_them = {"ids": dialect.many(old)}, dialect.any_of("ids", int)
        shrunk = select(embeddings.c.model_id).where(embeddings.c.image_id.in_(one_of_them)).distinct()
        count_deletion(connection, list(connection.execute(shrunk, these).scalars()))
        for column in (embeddings.c.image_id, incomplete_images.c.image_id, image_facts.c.image_id, images.c.id):
            connection.execute(delete(column.table).where(column.in_(one_of_them)), these)
        touch_files(connection)
    set_setting(connection, UPLOADS, str(len(held) - len(old)))
    return len(old)


def count_deletion(connection: Connection, model_ids: Sequence[int]) -> None:
    """Give models that lose vectors another generation."""
    for model_id in model_ids:
        connection.execute(update(models).where(models.c.id == model_id).values(generation=models.c.generation + 1))


# --- pieces of queries ------------------------------------------------------------------------------------------------


def _octets(column: sa.Column[str]) -> sa.ColumnElement[int]:
    return func.length(sa.cast(column, sa.LargeBinary))


def _of_no_file() -> sa.Select[Any]:
    return select(images.c.id).where(~exists().where(files.c.image_id == images.c.id))


def _use_day(connection: Connection) -> int:
    """The day as a library counts them; see `zsindex.storage.uses`. Before any use was recorded, none is old."""
    last = connection.execute(select(settings.c.value).where(settings.c.key == uses.KEY)).scalar()
    return 0 if last is None else uses.Day.from_text(last).until(uses.today()).library


def _counted_uploads(connection: Connection) -> int | None:
    counted = connection.execute(select(settings.c.value).where(settings.c.key == UPLOADS)).scalar()
    return None if counted is None else number(counted)
