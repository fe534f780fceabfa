"""Of ``/v1/events``."""

from __future__ import annotations

from pydantic import BaseModel


class TimedPhoto(BaseModel):
    """A photo, and when it was taken by the clock on the wall."""

    image_id: int | None
    path: str
    taken: str


class BurstShown(BaseModel):
    """Photos of nearly the same picture, taken one right after another; or a single one."""

    best: str
    photos: list[TimedPhoto]


class EventShown(BaseModel):
    """Photos that belong together in time. `cover` is the one most like all of them."""

    name: str | None
    start: str
    end: str
    photos: int
    cover: str
    bursts: list[BurstShown]


class EventsPage(BaseModel):
    """A page of events. `from_files` and `untimed` count photos that are in none, as nobody knows when they were taken;
    `unread` those whose metadata the next sync reads.
    """

    photos: int
    from_files: int
    untimed: int
    unread: int
    total: int
    events: list[EventShown]
    next: str | None
