"""What photos really show, in ``/v1/eval`` and ``/v1/temperature``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field, StringConstraints

from zsindex.web.schemas.fields import Text

# Of images by their ids or of files by their paths. Never the name of a file with a truth.
Said: TypeAlias = dict[Text, Text | list[Text]]
Source: TypeAlias = Annotated[Text, StringConstraints(pattern=r"^(folders|keywords|corrections(:.{1,200})?)$")]
KnownContent: TypeAlias = Annotated[
    Said | Source,
    Field(
        description="What photos show: labels by image id or path; or `folders`, the names of their folders; or "
        "`corrections` of the label set, or `corrections:NAME`.",
        examples=[{"7": "owl", "/photos/fox.jpg": ["fox"]}, "folders"],
    ),
]
RenamedLabels: TypeAlias = Annotated[
    Said | None,
    Field(description="What labels of the truth are called in the label set, where that differs."),
]
