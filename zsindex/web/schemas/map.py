"""Of ``/v1/map``."""

from __future__ import annotations

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import RequestBody, examples


class MapRequest(RequestBody):
    """Lay out the map anew."""

    model_config = examples({})


class MapLayout(BaseModel):
    """Where n images are. `laid_out` of them were laid out together, `added` came since; `new` are in the library and
    not on the map, `gone` were on it. `outdated`: so much has changed that a new one is worth its time.
    """

    ids: str = Field(description="Base64 of n little-endian uint32: ids of images.")
    points: str = Field(description="Base64 of n times x and y, little-endian float32.")
    bounds: tuple[float, float, float, float] = Field(description="The least x and y, the largest x and y.")
    laid_out: int
    added: int
    new: int
    gone: int
    outdated: bool


class MapPage(BaseModel):
    """The map of the library, if there is one. `seconds`: about how long making it takes; `installed`: whether this
    service could.
    """

    images: int
    seconds: float
    installed: bool
    layout: MapLayout | None


class MapGroups(BaseModel):
    """What images belong to. `of` goes with `ids`: the index of a group; 65535 where there is none."""

    names: list[str]
    ids: str = Field(description="Base64 of little-endian uint32: ids of images.")
    of: str = Field(description="Base64 of little-endian uint16.")
