"""Of ``/v1/session``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints

from zsindex.web.schemas.fields import Body


class SessionRequest(Body):
    """Start a browser session."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Session(BaseModel):
    """What this client may do."""

    right: Literal["read", "write"]
