"""Events and bursts: photos grouped by when, where and of what they were taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from zsindex.records import FloatArray, IdArray

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

_US = 1e6
_EARTH_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Rule:
    """How photos are grouped. docs/lab.md says how the values were chosen.

    Attributes:
        factor: a gap begins an event if it is so many times as long as those around it (their geometric mean).
        around: gaps on each side that count as around it.
        shortest_s: gaps count as at least so long: within a burst they say nothing about how long an event is.
        longest_s: a gap of so many seconds or more begins an event in any case.
        near_km: a gap counts double for each such distance between its two photos, if their places are known.
        burst_s: seconds between two photos of a burst, at most.
        burst_cosine: of the vectors of two photos of a burst that follow one another, at least. It suits nano.
    """

    factor: float = 25.0
    around: int = 10
    shortest_s: float = 60.0
    longest_s: float = 8 * 3600.0
    near_km: float = 5.0
    burst_s: float = 15.0
    burst_cosine: float = 0.7


@dataclass(frozen=True, slots=True)
class Burst:
    """Photos of the same thing, one right after another; or a single photo.

    Attributes:
        best: the one with the most pixels; among equals the sharpest, then the largest file.
        photos: in the order in which they were taken.
        taken: when, by the clock on the wall.
    """

    best: str
    photos: tuple[str, ...]
    taken: tuple[datetime, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "best": self.best,
            "photos": [
                {"path": path, "taken": taken.isoformat()} for path, taken in zip(self.photos, self.taken, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True)
class Event:
    """Photos that belong together in time.

    Attributes:
        name: the word of the vocabulary that fits it best; None without a vocabulary.
        cover: the best photo of a burst that is most like the whole event.
        bursts: in the order of their first photos.
        place: mean latitude and longitude of its photos, in degrees; None if none says where it was taken.
    """

    name: str | None
    cover: str
    bursts: tuple[Burst, ...]
    place: tuple[float, float] | None

    @property
    def start(self) -> datetime:
        """When its first photo was taken."""
        return min(burst.taken[0] for burst in self.bursts)

    @property
    def end(self) -> datetime:
        """When its last photo was taken."""
        return max(burst.taken[-1] for burst in self.bursts)

    @property
    def photos(self) -> tuple[str, ...]:
        """All of them, in the order in which they were taken."""
        both = (pair for burst in self.bursts for pair in zip(burst.taken, burst.photos, strict=True))
        return tuple(path for _, path in sorted(both, key=lambda pair: pair[0]))

    def to_dict(self, *, with_place: bool = False) -> dict[str, Any]:
        """Plain data for JSON; with the place only if asked for."""
        place = None if self.place is None else {"latitude": self.place[0], "longitude": self.place[1]}
        return {
            "name": self.name,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "photos": sum(len(burst.photos) for burst in self.bursts),
            "cover": self.cover,
            **({"place": place} if with_place else {}),
            "bursts": [burst.to_dict() for burst in self.bursts],
        }


@dataclass(frozen=True, slots=True)
class Events:
    """What `Library.events` found.

    Attributes:
        photos: number of photos grouped.
        events: by their start.
        from_files: number of photos left out because only the file's time is known: that of a copy or an edit, maybe.
        untimed: number of photos left out because no time is known.
        unread: number of photos whose metadata was not read yet: a sync does so.
    """

    photos: int
    events: tuple[Event, ...]
    from_files: int
    untimed: int
    unread: int

    def to_dict(self, *, with_place: bool = False) -> dict[str, Any]:
        """Plain data for JSON; with places only if asked for."""
        return {
            "photos": self.photos,
            "from_files": self.from_files,
            "untimed": self.untimed,
            "unread": self.unread,
            "events": [event.to_dict(with_place=with_place) for event in self.events],
        }


def event_starts(taken_us: IdArray, latitude: Numbers, longitude: Numbers, rule: Rule) -> Flags:
    """Which photos begin an event: bool (n,).

    As in Platt, Czerwinski and Field, "PhotoTOC: automatic clustering for browsing personal photographs", Pacific Rim
    Conference on Multimedia 2003: a gap's logarithm is compared with the mean of those around it. Whoever takes a photo
    a minute ends an event with a pause of half an hour, whoever takes one an hour does not. Added are a shortest and a
    longest gap, and the distance, which makes gaps longer: a pause in which somebody went elsewhere ends an event
    sooner, but not on a journey, where all gaps have a distance.

    Args:
        taken_us: int64 (n,), microseconds, ascending.
        latitude, longitude: float64 (n,), degrees; NaN where they are not known.
    """
    n = len(taken_us)
    starts = np.ones(n, dtype=bool)
    if n < 2:
        return starts
    gaps = np.diff(taken_us) / _US
    distance = np.nan_to_num(distances(latitude, longitude))
    lengths = np.log(np.maximum(gaps, rule.shortest_s) * (1 + distance / rule.near_km))
    until = np.concatenate(([0.0], np.cumsum(lengths)))
    numbers = np.arange(n - 1)
    first, last = np.maximum(numbers - rule.around, 0), np.minimum(numbers + rule.around + 1, n - 1)
    mean = (until[last] - until[first]) / (last - first)
    # The sums of a long row of gaps have errors, and a gap that is all there is equals its mean.
    starts[1:] = (lengths > mean + log(rule.factor) + 1e-9) | (gaps >= rule.longest_s)
    return starts


def distances(latitude: Numbers, longitude: Numbers) -> Numbers:
    """From each place to the next, in km along the surface: float64 (n - 1,); NaN where one is not known."""
    phi, theta = np.radians(latitude), np.radians(longitude)
    haversine = np.sin(np.diff(phi) / 2) ** 2 + np.cos(phi[:-1]) * np.cos(phi[1:]) * np.sin(np.diff(theta) / 2) ** 2
    found: Numbers = 2 * _EARTH_KM * np.arcsin(np.sqrt(np.clip(haversine, 0, 1)))
    return found


def bursts(
    taken_us: IdArray,
    events: IdArray,
    cameras: IdArray,
    cosines: Callable[[IdArray, IdArray], Numbers],
    rule: Rule,
) -> IdArray:
    """The burst of each photo: int64 (n,), numbered by their first photos.

    A photo belongs to the burst of the one before it by the same camera in the same event if little time is between
    them and they look alike.

    Args:
        taken_us: int64 (n,), microseconds, ascending.
        events: int64 (n,), the number of each photo's event.
        cameras: int64 (n,), a number for each camera; all that are not known are one.
        cosines: of the vectors of photos and others, by their numbers: float64 (m,) of int64 (m,) and int64 (m,).
    """
    order = np.lexsort((np.arange(len(taken_us)), cameras))
    before, after = order[:-1], order[1:]
    soon = (taken_us[after] - taken_us[before]) / _US <= rule.burst_s
    joined = soon & (cameras[before] == cameras[after]) & (events[before] == events[after])
    joined[joined] = cosines(before[joined], after[joined]) >= rule.burst_cosine
    groups = np.zeros(len(order), dtype=np.int64)
    groups[order[1:]] = np.cumsum(~joined)
    return numbered(groups)


def numbered(groups: IdArray) -> IdArray:
    """The same groups, numbered from 0 in the order of their first members."""
    _, first, back = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[back]


def members(groups: IdArray) -> list[list[int]]:
    """The members of each group, in order.

    Args:
        groups: int64 (n,), numbered from 0.
    """
    found: list[list[int]] = [[] for _ in range(int(groups.max()) + 1 if len(groups) else 0)]
    for member, group in enumerate(groups.tolist()):
        found[group].append(member)
    return found


def most_typical(vectors: FloatArray) -> int:
    """The number of the vector that is nearest to the mean of all.

    Args:
        vectors: float32 (n, dim), at least one.
    """
    return int((vectors @ vectors.mean(axis=0)).argmax())
