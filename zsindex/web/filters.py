"""Filters in URLs, for endpoints whose parameters are declared one by one."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Query

from zsindex.web.schemas.fields import Text
from zsindex.web.schemas.filters import FilterQuery
from zsindex.where import Where


# A coroutine for the reason that `service._service` is one.
async def _where(**given: Any) -> Where | None:
    return Where.of(FilterQuery(**given).wanted())


_Texts: TypeAlias = list[Text] | None
_JsonText: TypeAlias = Text | None
# FastAPI reads parameters, and their documentation, from the signature.
_where.__signature__ = Signature(  # type: ignore[attr-defined]
    [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                _JsonText if field.annotation == _JsonText else _Texts,
                Query(alias=field.alias, description=field.description, examples=field.examples),
            ],
        )
        for name, field in FilterQuery.model_fields.items()
    ]
)

# The photos that a URL asks for; None for all.
WhereHere: TypeAlias = Annotated[Where | None, Depends(_where)]
