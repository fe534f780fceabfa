"""Of ``/v1/embed``."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Base64, RequestBody, Several, SeveralIds, Text, examples

MOST_EMBEDDED = 1000
# Numbers, or the bytes of little-endian float32 in base64.
Vector: TypeAlias = list[float] | str


class EmbedRequest(RequestBody):
    """What to get vectors of; at least one thing."""

    texts: Several[Text] = Field(default_factory=list, max_length=MOST_EMBEDDED, description="As they are.")
    images: Several[Base64] = Field(default_factory=list, description="In base64; not stored.")
    image_ids: SeveralIds = Field(default_factory=list, max_length=MOST_EMBEDDED, description="Photos of the library.")
    truncate: bool = Field(default=False, description="Cut off texts that are too long, instead of refusing them.")
    encoding: Literal["float", "base64"] = Field(
        default="float", description="`base64`: the bytes of little-endian float32, a quarter of the size."
    )

    model_config = examples({"texts": ["This is a photo of an owl."], "image_ids": [1]})


class Embedded(BaseModel):
    """Unit vectors, in the order of what was asked for. `fingerprint` is the model's: vectors of two never mix."""

    model: str
    fingerprint: str
    dim: int
    texts: list[Vector]
    images: list[Vector]
    image_ids: list[Vector]
