"""Of ``/v1/library``, ``/v1/models`` and ``/v1/skipped``."""

from __future__ import annotations

from pydantic import BaseModel

from zsindex.records import SkippedFile


class SkippedPage(BaseModel):
    """A page of photos that cannot be used."""

    total: int
    skipped: list[SkippedFile]
    next: str | None
