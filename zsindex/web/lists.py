"""Lists that are given by pages, all of them in one way.

A page has up to `limit` entries, from the number `start` on or, with a `cursor`, from where the page before ended. Its
`next` is the cursor of the page after it, and null on the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias, TypeVar

from fastapi import Query

from zsindex.web.conditional import etag_of
from zsindex.web.cursors import OffsetCursor, expired
from zsindex.web.schemas.fields import Cursor

Entry = TypeVar("Entry")

Start: TypeAlias = Annotated[
    int, Query(ge=0, le=2**31, description="Begin at this number of the list, counted from 0. A cursor says so itself.")
]
NextPage: TypeAlias = Annotated[Cursor | None, Query(description="`next` of the page before.")]


def page_of(
    entries: Sequence[Entry], *, asked: Sequence[object], state: object, start: int, limit: int, cursor: str | None
) -> tuple[Sequence[Entry], str | None]:
    """Some entries of a list, and the cursor of those after them.

    Args:
        asked: what the list is of.
        state: stands for what is in the list: a cursor belongs to one state of it.

    Raises:
        Problem: the cursor is none, belongs to another list, or to one that has changed.
    """
    name, key = etag_of(asked), etag_of(state)
    if cursor is None:
        at = OffsetCursor(key, name, start)
    else:
        at = OffsetCursor.from_text(cursor, asked=name)
        if at.key != key:
            raise expired()
    part, following = at.page(limit=limit, total=len(entries))
    return entries[part], None if following is None else following.to_text()
