"""Of ``/v1/library``, ``/v1/models``, ``/v1/skipped`` and ``/v1/folders``."""

from __future__ import annotations

from pydantic import BaseModel, Field

from zsindex.records import SkippedFile
from zsindex.web.schemas.jobs import Job


class Elsewhere(BaseModel):
    """A sync that is no job, of the command line say, and how far it is."""

    who: str
    stage: str
    done: int
    total: int | None


class Now(BaseModel):
    """What a page that stays open asks for again and again."""

    version: str = Field(description="Of zsindex.")
    library: str = Field(description="Stands for the library: another one has another.")
    revision: str = Field(description="Another one with every change of photos or of their facts.")
    job: Job | None = Field(description="What is at work, or the next; null where there is nothing to do.")
    elsewhere: Elsewhere | None = Field(description="A sync that is no job; not told while a job syncs.")


class SkippedPage(BaseModel):
    """A page of photos that cannot be used."""

    total: int
    skipped: list[SkippedFile]
    next: str | None


class FolderHere(BaseModel):
    """A folder of the service's machine."""

    path: str
    name: str


class Folders(BaseModel):
    """What lies in a folder of the service's machine."""

    path: str | None
    parent: str | None = Field(description="Which may be listed, too.")
    photos: int = Field(description="Files in it, not below, that are called as photos are.")
    total: int
    folders: list[FolderHere]
    next: str | None
