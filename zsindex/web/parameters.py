"""Parameters of URLs: those that several endpoints have, and the refusal of those that an endpoint does not have."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Annotated, TypeAlias

from fastapi import Depends, Path, Query, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from zsindex.web.problems import MOST_WRONG, Problem
from zsindex.web.schemas.fields import Id, Name

LabelSetName: TypeAlias = Annotated[Name, Query(description="Of a saved label set.", examples=["animals"])]
SetName: TypeAlias = Annotated[
    Name, Path(description="Its name; NAME@2 reads the second version.", examples=["animals"])
]
TemplateSetName: TypeAlias = Annotated[Name, Path(description="Its name.", examples=["mine"])]
ImageId: TypeAlias = Annotated[Id, Path(description="`image_id` of a result.", examples=[1])]

# Of a name that nobody here gave.
_LONGEST = 100
# By the functions that answer.
_read: dict[Callable[..., object], tuple[str, ...]] = {}


def _known(route: APIRoute) -> tuple[str, ...]:
    """What an endpoint reads of its URL; found out once for each."""
    found = _read.get(route.endpoint)
    if found is None:
        elsewhere = (params.Path, params.Header, params.Cookie)  # those of a model are of no kind
        fields = get_flat_params(route.dependant)
        found = tuple(sorted({one.alias for one in fields if not isinstance(one.field_info, elsewhere)}))
        _read[route.endpoint] = found
    return found


async def _require_known(request: Request) -> None:
    """Refuse a request whose URL has parameters that its endpoint does not read: a misspelt one would change the
    question unnoticed. Those that look after the service may be asked with anything.

    Raises:
        Problem
    """
    route = request.scope["route"]
    if not request.scope["query_string"] or not route.path.startswith("/v1/"):
        return
    known = _known(route)
    strangers = sorted(set(request.query_params) - set(known))
    if strangers:
        wrong = [{"at": f"query.{name[:_LONGEST]}", "message": _nearest(name, known)} for name in strangers]
        detail = f"the URL has parameters that are not known here: {wrong[0]['message']}"
        raise Problem("fields", 422, detail, errors=wrong[:MOST_WRONG], known=list(known))


def _nearest(name: str, known: tuple[str, ...]) -> str:
    told = f"{name[:_LONGEST]!r} is not a parameter of this endpoint"
    near = difflib.get_close_matches(name[:_LONGEST].lower(), known, n=1)
    if near:
        return f"{told}; did you mean {near[0]!r}?"
    return f"{told}; it has {', '.join(known)}" if known else f"{told}, which has none"


KNOWN_ONLY = Depends(_require_known)
