"""Filters of photos: in bodies as JSON, in URLs under the names that the command line's options have."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from zsindex.arguments.filters import KINDS
from zsindex.errors import BadFilter
from zsindex.web.schemas.fields import Several, Text
from zsindex.where import Filter, Where

# What is wrong in it is said by the library, with the place.
WhereField: TypeAlias = Annotated[
    dict[str, JsonValue] | None,
    Field(
        description="Only photos that fit: names of filters with their values, all of which must fit, and `and`, `or`"
        " and `not`.",
        examples=[{"and": [{"since": "2019-06"}, {"not": {"camera": "iPhone"}}, {"near": [48.1, 11.6, 20]}]}],
    ),
]


def _asked(name: str) -> Any:
    return Field(default=None, description=KINDS[name].help, examples=[[KINDS[name].example]])


class FilterQuery(BaseModel):
    """Filters in a URL. Photos fit all of them; a body can say more."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    since: Several[Text] | None = _asked("since")
    until: Several[Text] | None = _asked("until")
    year: Several[Text] | None = _asked("year")
    month: Several[Text] | None = _asked("month")
    hour: Several[Text] | None = _asked("hour")
    camera: Several[Text] | None = _asked("camera")
    lens: Several[Text] | None = _asked("lens")
    near: Several[Text] | None = _asked("near")
    box: Several[Text] | None = _asked("box")
    rating: Several[Text] | None = _asked("rating")
    keyword: Several[Text] | None = _asked("keyword")
    file_format: Several[Text] | None = _asked("file_format")
    orientation: Several[Text] | None = _asked("orientation")
    min_size: Several[Text] | None = _asked("min_size")
    has: Several[Text] | None = _asked("has")
    answer: Several[Text] | None = _asked("answer")
    corrected: Several[Text] | None = _asked("corrected")
    not_: Several[Text] | None = Field(
        default=None,
        alias="not",
        description="Photos that do not fit a filter, NAME:VALUE.",
        examples=[["camera:iPhone"]],
    )
    where: Text | None = Field(
        default=None, description="Filters as JSON, as in a body.", examples=['{"camera": "iPhone"}']
    )

    def wanted(self) -> dict[str, Any] | None:
        """The same as in a body; None where there are none.

        Raises:
            BadFilter
        """
        found: list[Where] = []
        for name in KINDS.keys() & FilterQuery.model_fields.keys():
            found += [Filter.parse(name, text) for text in getattr(self, name) or ()]
        for text in self.not_ or ():
            name, colon, value = text.partition(":")
            if not colon:
                raise BadFilter("not", f"{text!r} has no colon between the name and the value", "not=camera:iPhone")
            found.append(~Filter.parse(name, value, f"not.{name}"))
        if self.where is not None:
            found.append(Where.from_json_text(self.where))
        return {"and": [one.to_json() for one in found]} if found else None
