"""Parameters of URLs that several endpoints have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Path, Query

from zsindex.web.schemas.fields import Id, Name

LabelSetName: TypeAlias = Annotated[Name, Query(description="Of a saved label set.", examples=["animals"])]
SetName: TypeAlias = Annotated[
    Name, Path(description="Its name; NAME@2 reads the second version.", examples=["animals"])
]
ImageId: TypeAlias = Annotated[Id, Path(description="`image_id` of a result.", examples=[1])]
