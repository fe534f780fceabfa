"""Of ``/v1/runs``."""

from __future__ import annotations

from pydantic import BaseModel, Field

from zsindex.lab.runs import ChangedAnswer
from zsindex.web.schemas.fields import ListLimit, RequestBody, examples


class RunLine(BaseModel):
    """A recorded run in brief."""

    key: str
    recorded_at: str
    model: str
    label_set: str | None
    label_set_version: int | None
    labels: int
    photos: int
    stored: bool


class RepeatRequest(RequestBody):
    """Repeat a recorded run."""

    record: bool = Field(default=False, description="Record the new run, too; needs the right to write.")
    limit: ListLimit = 100

    model_config = examples({"record": False})


class RepeatedRun(BaseModel):
    """What has changed. `compared` is null where the earlier answer is no longer stored."""

    before: str
    now: str
    same: bool
    compared: int | None
    flipped: int | None
    largest_change: float
    added: int
    gone: int
    flips: list[ChangedAnswer]
