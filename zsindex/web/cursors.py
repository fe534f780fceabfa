"""Cursors: where a next page begins, as text. They are no secrets, and what comes back is not trusted."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsindex.records import FloatArray
from zsindex.services.search import Place
from zsindex.web.problems import Problem

# A cursor holds some numbers and paths.
_MOST_BYTES = 1 << 20


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

    def to_text(self) -> str:
        """For a client."""
        place = self.place
        return _pack(
            {
                "m": self.fingerprint,
                "v": base64.b64encode(self.vector.astype("<f4").tobytes()).decode(),
                "p": [place.watermark, place.generation, place.score, place.image_id],
                "in": self.paths,
                "out": self.leave_out,
                "top": self.top,
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
            vector = np.frombuffer(base64.b64decode(found["v"], validate=True), dtype="<f4").astype(np.float32)
            if vector.shape != (dim,) or not abs(float(np.linalg.norm(vector.astype(np.float64))) - 1) < 1e-3:
                raise ValueError("not a unit vector")
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
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad() from error


def offset_to_text(key: str, asked: str, offset: int) -> str:
    """A cursor into a classification: its run's key, what else was asked, and how many photos came before."""
    return _pack({"k": key, "q": asked, "n": offset})


def offset_from_text(text: str, *, asked: str) -> tuple[str, int]:
    """The key and the offset.

    Raises:
        Problem: it is not a cursor, or belongs to another question.
    """
    found = _unpack(text)
    try:
        if found["q"] != asked:
            raise Problem("cursor", 422, "the cursor belongs to another question")
        if not isinstance(found["k"], str):
            raise ValueError("not a key")
        return found["k"], _whole(found["n"])
    except (KeyError, TypeError, ValueError) as error:
        raise _bad() from error


def page_of(key: str, asked: str, *, start: int, limit: int, total: int) -> tuple[slice, str | None]:
    """Which part of an answer a page shows, and the cursor of the next page; None after the last."""
    end = min(total, start + limit)
    return slice(start, end), offset_to_text(key, asked, end) if limit and end < total else None


def expired() -> Problem:
    """The refusal of a cursor into an answer that is gone, and would be another one now."""
    detail = "the library has changed since the first page; start again from the first page"
    return Problem("cursor-expired", 410, detail)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("not a whole number")
    return value


def _pack(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(content).encode())).decode().rstrip("=")


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
