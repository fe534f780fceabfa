"""Of ``/v1/sync`` and ``/v1/jobs``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Body, Folder, Several
from zsindex.web.schemas.problem import Problem


class SyncRequest(Body):
    """Bring the library up to date."""

    paths: Several[Folder] | None = Field(
        default=None,
        description="Folders that were synced before, or are below one, or that the service was given. Default: all.",
        examples=[["/home/me/Pictures"]],
    )
    retry_skipped: bool = Field(default=False, description="Read again what could not be read before.")


class Step(BaseModel):
    """How far a job is."""

    stage: str
    done: int
    total: int | None


class Change(BaseModel):
    """When a job came into a state."""

    state: str
    at: str


class Job(BaseModel):
    """Work that outlasts a request."""

    id: str
    kind: str
    state: Literal["queued", "running", "waiting", "done", "failed", "cancelled", "interrupted"]
    paths: list[str] | None
    retry_skipped: bool
    history: list[Change]
    progress: Step | None
    report: dict[str, Any] | None
    problem: Problem | None
    waiting_for: str | None
    attempts: int
