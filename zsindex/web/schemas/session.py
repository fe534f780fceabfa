"""Of ``/v1/session``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints

from zsindex.web.schemas.fields import RequestBody


class SessionRequest(RequestBody):
    """Start a browser session."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class SessionRight(BaseModel):
    """What this client may do."""

    right: Literal["read", "write"]
