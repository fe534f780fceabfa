"""Cursors: where a next page begins, as text. They are no secrets, and what comes back is not trusted."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zsindex.records import FloatArray
from zsindex.services.photos import Mark
from zsindex.services.search import Place
from zsindex.services.stopping import Bound, Stop
from zsindex.web.problems import Problem
from zsindex.where import Where

# A cursor holds some numbers and paths.
_MOST_BYTES = 1 << 20
# Two of them fit into the first line of a request, of which proxies take 8 kB.
MOST_IN_NAME = 3000
MOST_LISTED = 1000


@dataclass(frozen=True)
class KeptStop:
    """What is left of the photos of a search, as the first page found it; see `zsindex.services.stopping.Stop`.

    Attributes:
        at: of the query's bound; None without one.
        auto: whether that is what a text has to exceed, or a cosine similarity.
        without: vectors of what is left out, with the same two.
    """

    at: float | None
    auto: bool
    without: tuple[tuple[FloatArray, float, bool], ...]

    @classmethod
    def of(cls, stop: Stop) -> KeptStop:
        """What there is to keep of one."""
        own = stop.bound
        without = tuple((one.vector, one.at, one.usual is not None) for one in stop.without)
        return cls(None if own is None else own.at, own is not None and own.usual is not None, without)

    def stop(self, vector: FloatArray, bound: Callable[..., Bound]) -> Stop:
        """The stop again.

        Args:
            vector: of the query.
            bound: `zsindex.services.stopping.Stopping.bound_again`.
        """
        own = None if self.at is None else bound(vector, self.at, auto=self.auto)
        return Stop(own, tuple(bound(one, at, auto=auto) for one, at, auto in self.without))

    def to_json(self) -> list[Any]:
        """As plain data."""
        return [self.at, self.auto, [[_text_of(one), at, auto] for one, at, auto in self.without]]

    @classmethod
    def from_json(cls, found: Any, *, dim: int) -> KeptStop:
        """From plain data.

        Raises:
            TypeError, ValueError: it is none.
        """
        at, auto, without = found
        kept = tuple((_unit_vector(one, dim), _bound_of(at), _flag(auto)) for one, at, auto in without)
        return cls(None if at is None else _bound_of(at), _flag(auto), kept)


@dataclass(frozen=True)
class SearchCursor:
    """A search, and where its next page begins. It holds the query's vector, bit for bit: asked again in words, a
    query that is not cached might be encoded to other last bits, and change the order.
    """

    fingerprint: str
    vector: FloatArray
    place: Place
    paths: tuple[str, ...] | None
    leave_out: int | None
    top: int
    where: Where | None = None
    kept: KeptStop | None = None

    def to_text(self) -> str:
        """For a client."""
        place = self.place
        return _pack(
            {
                "m": self.fingerprint,
                "v": _text_of(self.vector),
                "p": [place.watermark, place.generation, place.score, place.image_id],
                "in": self.paths,
                "where": None if self.where is None else self.where.to_json(),
                "out": self.leave_out,
                "top": self.top,
                **({} if self.kept is None else {"stop": self.kept.to_json()}),
            }
        )

    @classmethod
    def from_text(cls, text: str, *, fingerprint: str, dim: int) -> SearchCursor:
        """From a client.

        Raises:
            Problem: it is not a cursor, or belongs to another model.
        """
        found = _unpack(text)
        try:
            if found["m"] != fingerprint:
                raise Problem(
                    "cursor-expired", 410, "the cursor belongs to another model; start again from the first page"
                )
            vector = _unit_vector(found["v"], dim)
            watermark, generation, score, image_id = found["p"]
            numbers = [*map(_whole, (watermark, generation, image_id))]
            paths, leave_out = found["in"], found["out"]
            if paths is not None and not all(isinstance(path, str) and path and "\0" not in path for path in paths):
                raise ValueError("not paths")
            if not isinstance(score, float) or not abs(score) < 2 or not 1 <= _whole(found["top"]) <= 1000:
                raise ValueError("not a score")
            return cls(
                fingerprint,
                vector,
                Place(numbers[0], numbers[1], score, numbers[2]),
                None if paths is None else tuple(path.encode().decode() for path in paths),
                None if leave_out is None else _whole(leave_out),
                found["top"],
                Where.of(found["where"]),
                KeptStop.from_json(found["stop"], dim=dim) if "stop" in found else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad() from error


@dataclass(frozen=True)
class ListCursor:
    """A list of photos, and where its next page begins."""

    by: str
    oldest_first: bool
    paths: tuple[str, ...] | None
    where: Where | None
    limit: int
    after: Mark | None

    def to_text(self) -> str:
        """For a client."""
        where = None if self.where is None else self.where.to_json()
        asked = {"by": self.by, "old": self.oldest_first, "in": self.paths, "where": where, "limit": self.limit}
        after = None if self.after is None else [self.after.taken_us, self.after.path]
        return _pack({**asked, "at": after})

    @classmethod
    def from_text(cls, text: str) -> ListCursor:
        """From a client.

        Raises:
            Problem: it is not a cursor.
        """
        found = _unpack(text)
        try:
            paths, (taken_us, path) = found["in"], found["at"]
            for one in (path, *(paths or ())):
                if not isinstance(one, str) or not one or "\0" in one:
                    raise ValueError("not a path")
            if found["by"] not in ("date", "path") or type(taken_us) is not int or abs(taken_us) > 2**63:
                raise ValueError("not a place in a list")
            if not 1 <= _whole(found["limit"]) <= MOST_LISTED:
                raise ValueError("not a limit")
            return cls(
                found["by"],
                _flag(found["old"]),
                None if paths is None else tuple(one.encode().decode() for one in paths),
                Where.of(found["where"]),
                found["limit"],
                Mark(taken_us, path),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad() from error


@dataclass(frozen=True)
class Moment:
    """A state of the library that a client saw. Any service over the library can have it again, as long as only photos
    came since.

    Attributes:
        snapshot: as `View.snapshot` has it.
        photos: stands for the photos that it was about; see `Plan.photos`.
    """

    snapshot: tuple[int, int, int]
    photos: str

    def to_json(self) -> list[Any]:
        """As plain data."""
        return [*self.snapshot, self.photos]

    @classmethod
    def from_json(cls, found: Any) -> Moment:
        """From plain data.

        Raises:
            TypeError, ValueError: it is none.
        """
        *numbers, photos = found
        watermark, generation, revision = map(_whole, numbers)
        if not isinstance(photos, str):
            raise ValueError("not a digest")
        return cls((watermark, generation, revision), photos)


@dataclass(frozen=True)
class OffsetCursor:
    """A place in an answer: the answer's key, what else was asked, how many entries came before, and of which moment it
    is, where that is known.
    """

    key: str
    asked: str
    offset: int
    moment: Moment | None = None

    def to_text(self) -> str:
        """For a client."""
        moment = None if self.moment is None else self.moment.to_json()
        return _pack({"k": self.key, "q": self.asked, "n": self.offset, "at": moment})

    @classmethod
    def from_text(cls, text: str, *, asked: str) -> OffsetCursor:
        """From a client.

        Raises:
            Problem: it is not a cursor, or belongs to another question.
        """
        found = _unpack(text)
        try:
            if found["q"] != asked:
                raise Problem("cursor", 422, "the cursor belongs to another question")
            if not isinstance(found["k"], str):
                raise ValueError("not a key")
            moment = None if found["at"] is None else Moment.from_json(found["at"])
            return cls(found["k"], asked, _whole(found["n"]), moment)
        except (KeyError, TypeError, ValueError) as error:
            raise _bad() from error

    def page(self, *, limit: int, total: int) -> tuple[slice, OffsetCursor | None]:
        """Which part of an answer the page here shows, and where the next one begins; None after the last."""
        end = min(total, self.offset + limit)
        return slice(self.offset, end), replace(self, offset=end) if limit and end < total else None


@dataclass(frozen=True)
class AnswerName:
    """What names an answer: its run's key, and with it the question and its moment, unless that would be long. So any
    service over the library can answer it.
    """

    key: str
    question: dict[str, Any] | None = None
    moment: Moment | None = None

    def to_text(self) -> str:
        """For a client."""
        if self.question is None or self.moment is None:
            return self.key
        packed = _pack({"q": self.question, "at": self.moment.to_json()})
        return f"{self.key}-{packed}" if len(packed) <= MOST_IN_NAME else self.key

    @classmethod
    def from_text(cls, text: str) -> AnswerName:
        """From a client.

        Raises:
            Problem: it is none.
        """
        key, _, packed = text.partition("-")
        if not packed:
            return cls(key)
        found = _unpack(packed)
        try:
            if not isinstance(found["q"], dict):
                raise ValueError("not a question")
            return cls(key, found["q"], Moment.from_json(found["at"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _bad() from error


def expired() -> Problem:
    """The refusal of a cursor into an answer that is gone, and would be another one now."""
    detail = "the library has changed since the first page; start again from the first page"
    return Problem("cursor-expired", 410, detail)


def _text_of(vector: FloatArray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _unit_vector(text: Any, dim: int) -> FloatArray:
    vector = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
    if vector.shape != (dim,) or not abs(float(np.linalg.norm(vector.astype(np.float64))) - 1) < 1e-3:
        raise ValueError("not a unit vector")
    return vector


def _bound_of(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 100:
        raise ValueError("not a bound")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("not a whole number")
    return value


def _pack(content: dict[str, Any]) -> str:
    return (
        base64.urlsafe_b64encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9))
        .decode()
        .rstrip("=")
    )


def _unpack(text: str) -> dict[str, Any]:
    try:
        packed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        content = zlib.decompressobj().decompress(packed, _MOST_BYTES)
        found = json.loads(content)
    except (ValueError, binascii.Error, zlib.error, RecursionError) as error:
        raise _bad() from error
    if not isinstance(found, dict):
        raise _bad()
    return found


def _bad() -> Problem:
    return Problem("cursor", 422, "this is not a valid cursor")
