"""Decisions about duplicates: which photos are different for all their likeness, and which are to be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Literal

from zsindex.storage.rows import DecisionEntry


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision in effect.

    Attributes:
        kind: ``different``: the two photos are not the same picture; ``keep``: the photo is to be kept.
        path: of a file with its bytes; where it lay then, if the library has none now.
        digest: hex SHA-256 of its bytes, which the decision is about.
        gone: whether the library has no such file now, of this photo or the other one.
        other_path, other_digest: the same of the other photo; None unless they are different.
        decided_at: ISO date and time.
    """

    kind: Literal["different", "keep"]
    path: str
    digest: str
    gone: bool
    other_path: str | None
    other_digest: str | None
    decided_at: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Folded:
    """The decisions in effect after all entries of a log.

    Attributes:
        different: by the two digests, the smaller one first.
        keep: by digest.
    """

    different: Mapping[tuple[bytes, bytes], DecisionEntry]
    keep: Mapping[bytes, DecisionEntry]

    @property
    def digests(self) -> set[bytes]:
        """Of all images that something was decided about."""
        return {*self.keep, *(digest for pair in self.different for digest in pair)}


@dataclass(frozen=True, slots=True)
class Decided:
    """The same for images that a library holds.

    Attributes:
        different: ids of two images, the smaller one first.
        keep: the path to keep by the id of the image.
    """

    different: frozenset[tuple[int, int]] = frozenset()
    keep: Mapping[int, str] = field(default_factory=dict)


def fold(entries: Iterable[DecisionEntry]) -> Folded:
    """What holds after all entries of a log: later ones come in place of earlier ones that say the same.

    Args:
        entries: oldest first.
    """
    different: dict[tuple[bytes, bytes], DecisionEntry] = {}
    keep: dict[bytes, DecisionEntry] = {}
    for entry in entries:
        match entry.kind, entry.other:
            case "different", bytes() as other:
                different[_pair(entry.digest, other)] = entry
            case "keep", _:
                keep[entry.digest] = entry
            case _:
                keep.pop(entry.digest, None)
                different = {pair: one for pair, one in different.items() if entry.digest not in pair}
    return Folded(different, keep)


def decided(folded: Folded, ids: Mapping[bytes, int]) -> Decided:
    """What holds for images.

    Args:
        ids: of those that there are, by digest.
    """
    different = set()
    for one, other in folded.different:
        if one in ids and other in ids:
            a, b = sorted((ids[one], ids[other]))
            different.add((a, b))
    keep = {ids[digest]: entry.path for digest, entry in folded.keep.items() if digest in ids}
    return Decided(frozenset(different), keep)


def decisions(folded: Folded, paths: Mapping[bytes, list[str]]) -> list[Decision]:
    """All decisions in effect, by time.

    Args:
        paths: of the files that show an image now, by digest.
    """

    def now(digest: bytes, then: str) -> str:
        there = paths.get(digest, [])
        return there[0] if there and then not in there else then

    found = []
    for entry in (*folded.different.values(), *folded.keep.values()):
        digests = [entry.digest] if entry.other is None else [entry.digest, entry.other]
        found.append(
            Decision(
                kind="keep" if entry.other is None else "different",
                path=now(entry.digest, entry.path),
                digest=entry.digest.hex(),
                gone=not all(map(paths.get, digests)),
                other_path=None if entry.other is None else now(entry.other, entry.other_path or ""),
                other_digest=None if entry.other is None else entry.other.hex(),
                decided_at=entry.decided_at,
            )
        )
    return sorted(found, key=lambda one: one.decided_at)


def all_different(photos: Iterable[tuple[str, bytes]]) -> list[DecisionEntry]:
    """Entries that say of some photos, each a path and a digest, that no two of them are the same picture."""
    return [
        DecisionEntry("different", digest, path, other, other_path)
        for (path, digest), (other_path, other) in combinations(photos, 2)
    ]


def _pair(one: bytes, other: bytes) -> tuple[bytes, bytes]:
    return (one, other) if one <= other else (other, one)
