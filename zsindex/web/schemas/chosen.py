"""Of ``/v1/images/export`` and ``/v1/images/tags``: photos that were chosen one by one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zsindex.web.schemas.fields import ListLimit, Name, RequestBody, SeveralIds, examples


class ChosenPhotos(RequestBody):
    """Photos, by the ids of their content."""

    image_ids: SeveralIds = Field(min_length=1)

    model_config = examples({"image_ids": [7, 8]})


class ChosenExport(ChosenPhotos):
    """Photos to take along, in this order."""

    format: Literal["zip", "csv", "paths"] = Field(
        default="csv",
        description="`zip`: the files themselves. `csv`: what is known of them. `paths`: one a line.",
    )
    key: str | None = Field(
        default=None,
        max_length=100_000,
        description="Of an answer of `/v1/groups`: a CSV then has its labels and scores.",
    )

    model_config = examples({"image_ids": [7, 8], "format": "zip"})


class ChosenTags(ChosenPhotos):
    """A keyword for the XMP sidecars of photos, beside whatever they have."""

    keyword: Name = Field(description="Hierarchies as `Animals|Owl`.")
    style: Literal["photo.jpg.xmp", "photo.xmp"] = "photo.jpg.xmp"
    apply: bool = Field(
        default=False, description="Write it, which needs the right to write; otherwise this is a dry run."
    )
    limit: ListLimit = 100

    model_config = examples({"image_ids": [7, 8], "keyword": "holiday"})
