"""Of ``/healthz`` and ``/readyz``."""

from __future__ import annotations

from pydantic import BaseModel


class Health(BaseModel):
    """The state of the service."""

    status: str
