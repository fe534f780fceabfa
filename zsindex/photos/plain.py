"""Facts as numbers and texts, for tables and for lines of JSON: light enough for whoever only passes them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zsindex.photos import dates
from zsindex.records import Facts, Place, Taken, TakenFrom

# Facts that are numbers or texts themselves.
_PLAIN = (
    *("make", "camera", "lens", "focal_length_mm", "aperture", "exposure_s", "iso"),
    *("width", "height", "orientation", "format", "animated", "rating", "caption"),
)


def to_plain(facts: Facts) -> dict[str, object]:
    """Numbers, texts and a list of texts, as JSON and tables hold them. Times are microseconds since 1970, by the clock
    that was on the wall.
    """
    taken, place = facts.taken, facts.place
    return {
        "taken_us": None if taken is None else dates.microseconds(taken.at),
        "offset_s": None if taken is None else taken.offset_s,
        "taken_from": None if taken is None else str(taken.source),
        **{name: getattr(facts, name) for name in _PLAIN},
        "latitude": None if place is None else place.latitude,
        "longitude": None if place is None else place.longitude,
        "altitude_m": None if place is None else place.altitude_m,
        "keywords": list(facts.keywords),
    }


def from_plain(plain: Mapping[str, Any]) -> Facts:
    """What `to_plain` made; what is not there is missing.

    Raises:
        ValueError, KeyError, OverflowError: it is no such thing.
    """
    taken_us, latitude, longitude = plain.get("taken_us"), plain.get("latitude"), plain.get("longitude")
    return Facts(
        taken=None
        if taken_us is None
        else Taken(dates.from_microseconds(taken_us), plain.get("offset_s"), TakenFrom(plain["taken_from"])),
        place=None if latitude is None or longitude is None else Place(latitude, longitude, plain.get("altitude_m")),
        keywords=tuple(plain.get("keywords") or ()),
        **{name: plain.get(name) for name in _PLAIN},
    )
