"""How facts of images lie in their table: one row each, with the CRC-32 of its values beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zsindex.photos import plain
from zsindex.records import Facts
from zsindex.storage.seals import seal

# Without what stands in `images`: width, height and format.
VALUES = (
    *(
        "taken_us",
        "offset_s",
        "taken_from",
        "make",
        "camera",
        "lens",
        "focal_length_mm",
        "aperture",
        "exposure_s",
        "iso",
    ),
    *("latitude", "longitude", "altitude_m", "orientation", "animated", "rating", "keywords", "caption"),
)
COLUMNS = ("image_id", *VALUES, "checksum")


def row_of(image_id: int, facts: Facts) -> tuple[Any, ...]:
    """A row, in the order of `COLUMNS`."""
    said = plain.to_plain(facts)
    said["animated"] = None if facts.animated is None else int(facts.animated)
    said["keywords"] = json.dumps(facts.keywords, ensure_ascii=False)
    values = [said[name] for name in VALUES]
    return image_id, *values, seal((image_id, *values))


def is_whole(row: Sequence[Any]) -> bool:
    """Whether a row is as it was stored. What lies on the disk may also be of another type by now."""
    try:
        return seal(row[:-1]) == int(row[-1])
    except (TypeError, ValueError, AssertionError):
        return False


def from_row(row: Sequence[Any], *, width: int, height: int, container: str) -> Facts:
    """The facts of a row that is whole.

    Args:
        width, height, container: of the image; 0 and empty where they are not known.
    """
    said = dict(zip(VALUES, row[1:-1], strict=True))
    said["keywords"] = json.loads(said["keywords"])
    said["animated"] = None if said["animated"] is None else bool(said["animated"])
    said |= {"width": width or None, "height": height or None, "format": container or None}
    return plain.from_plain(said)
