"""Of ``/v1/session``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints

from zsindex.web.schemas.fields import Body


class SessionRequest(Body):
    """Begin a session of a browser."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Session(BaseModel):
    """What a session, or a request, may do."""

    right: Literal["read", "write"]
