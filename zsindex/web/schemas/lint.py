"""Of ``/v1/lint``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from zsindex.lab.findings import TemplateMeasures
from zsindex.web.schemas.fields import Cursor, ListLimit, OnlyPaths
from zsindex.web.schemas.questions import LabelChoice


class LintRequest(LabelChoice):
    """Look for problems with labels."""

    paths: OnlyPaths = None
    limit: ListLimit = Field(default=100, description="Findings per page.")
    cursor: Cursor | None = Field(
        default=None, description="`next` of the previous page; everything else must be the same."
    )


class LintFinding(BaseModel):
    """Something about the labels that deserves a look."""

    kind: str
    severity: Literal["warning", "info"]
    words: list[str]
    message: str
    advice: str
    photos: list[str]
    measures: dict[str, float]


class LintPage(BaseModel):
    """What was found, warnings first."""

    label_set: str
    model: str
    labels: int
    images: int
    warnings: int
    skewness: float
    total: int
    findings: list[LintFinding]
    templates: list[TemplateMeasures]
    next: str | None
