"""Of ``/healthz`` and ``/readyz``."""

from __future__ import annotations

from pydantic import BaseModel


class Health(BaseModel):
    """Whether the service is there."""

    status: str
