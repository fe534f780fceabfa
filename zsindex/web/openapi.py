"""The document that describes the service: what FastAPI makes of the endpoints, and what it cannot know."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from zsindex.web import problems
from zsindex.web.schemas.problem import ProblemDocument

DESCRIPTION = """Encode a photo library once, then ask it anything.

Failures are problem documents (RFC 9457), of the media type `application/problem+json`. Where the service needs a
token, it comes as `Authorization: Bearer TOKEN`, or as the cookie that `POST /v1/session` sets. Too much at once is
answered with 429 and `Retry-After`."""
_REFUSED = {
    "description": "Why the request was refused",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}
REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": _REFUSED, "5XX": _REFUSED}
# What a docstring of a record says of its attributes: names, and a text that may go on in further lines.
_ATTRIBUTES = "\n\nAttributes:\n"
_ATTRIBUTE = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {8}.+)*)", re.MULTILINE)


def completed(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The document with problems, with the ways to show a token, and with records described as clients see them."""

    def openapi() -> dict[str, Any]:
        document = make()
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas.setdefault("ProblemDocument", ProblemDocument.model_json_schema())
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for schema in schemas.values():
            _describe(schema)
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": "zsindex_session"},
        }
        document["security"] = [{}, {"token": []}, {"session": []}]
        return document

    return openapi


def _describe(schema: dict[str, Any]) -> None:
    """Give a record's properties what its docstring says of them."""
    text, _, attributes = schema.get("description", "").partition(_ATTRIBUTES)
    for names, meaning in _ATTRIBUTE.findall(attributes):
        for name in names.split(", "):
            schema["properties"][name].setdefault("description", _for_clients(" ".join(meaning.split())))
    if text:
        schema["description"] = _for_clients(text)


def _for_clients(text: str) -> str:
    return re.sub(r"\bNone\b", "null", text.replace("``", "`"))
