"""Of ``/v1/sync`` and ``/v1/jobs``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Folder, RequestBody, Several
from zsindex.web.schemas.problem import ProblemDocument


class SyncRequest(RequestBody):
    """Bring the library up to date."""

    paths: Several[Folder] | None = Field(
        default=None,
        description="Folders synced before, folders below them, or those of `zsindex serve --photos`. Default: all.",
        examples=[["/home/me/Pictures"]],
    )
    retry_skipped: bool = Field(default=False, description="Try again to read photos that could not be read before.")


class JobStep(BaseModel):
    """How far a job has come."""

    stage: str
    done: int
    total: int | None


class JobChange(BaseModel):
    """When a job entered a state."""

    state: str
    at: str


class Job(BaseModel):
    """Work that outlasts a request."""

    id: str
    kind: str
    state: Literal["queued", "running", "waiting", "done", "failed", "cancelled", "interrupted"]
    paths: list[str] | None
    retry_skipped: bool
    history: list[JobChange]
    progress: JobStep | None
    report: dict[str, Any] | None
    problem: ProblemDocument | None
    waiting_for: str | None
    attempts: int
