"""How facts lie in their tables, those of images and those of sidecars: a row each, with the CRC-32 of its values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zsindex.photos import plain
from zsindex.records import Candidate, Facts
from zsindex.storage.seals import seal

# Without what stands in `images`: width, height and format.
VALUES = (
    *("taken_us", "offset_s", "taken_from", "make", "camera", "lens", "focal_length_mm", "aperture", "exposure_s"),
    *("iso", "latitude", "longitude", "altitude_m", "orientation", "animated", "rating", "keywords", "caption"),
)
_OWN = ("checksum", "revision")
OF_IMAGE = ("image_id", *VALUES, *_OWN)
OF_SIDECAR = ("folder_id", "name", "size", "mtime_ns", *VALUES, *_OWN)
# The size of a sidecar that is not there any more.
GONE = -1


def row_of_image(image_id: int, facts: Facts, revision: int) -> tuple[Any, ...]:
    """A row, in the order of `OF_IMAGE`."""
    return _row((image_id,), facts, revision)


def row_of_sidecar(folder_id: int, file: Candidate, facts: Facts | None, revision: int) -> tuple[Any, ...]:
    """A row, in the order of `OF_SIDECAR`.

    Args:
        facts: None for one that is gone.
    """
    size = GONE if facts is None else file.size
    return _row((folder_id, file.name, size, file.mtime_ns), facts or Facts(), revision)


def _row(head: tuple[Any, ...], facts: Facts, revision: int) -> tuple[Any, ...]:
    said = plain.to_plain(facts)
    said["animated"] = None if facts.animated is None else int(facts.animated)
    said["keywords"] = json.dumps(facts.keywords, ensure_ascii=False)
    row = *head, *(said[name] for name in VALUES)
    return *row, seal(row), revision


def is_whole(row: Sequence[Any]) -> bool:
    """Whether a row is as it was stored. What lies on the disk may also be of another type by now."""
    try:
        return seal(row[: -len(_OWN)]) == int(row[-len(_OWN)])
    except (TypeError, ValueError, AssertionError):
        return False


def from_row(row: Sequence[Any], *, width: int = 0, height: int = 0, container: str = "") -> Facts:
    """The facts of a row that is whole.

    Args:
        width, height, container: of the image; 0 and empty where they are not known.
    """
    said = dict(zip(VALUES, row[-len(VALUES) - len(_OWN) : -len(_OWN)], strict=True))
    said["keywords"] = json.loads(said["keywords"])
    said["animated"] = None if said["animated"] is None else bool(said["animated"])
    said |= {"width": width or None, "height": height or None, "format": container or None}
    return plain.from_plain(said)
