"""The document that says why a request was refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ProblemDocument(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:zsindex:problem:labels",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "labels given more than once: owl",
                }
            ]
        },
    )
    type: str
    title: str
    status: int
    detail: str
