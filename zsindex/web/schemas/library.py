"""Of ``/v1/library``, ``/v1/models`` and ``/v1/skipped``."""

from __future__ import annotations

from pydantic import BaseModel

from zsindex.records import SkippedFile


class SkippedPage(BaseModel):
    """Some of them."""

    total: int
    skipped: list[SkippedFile]
