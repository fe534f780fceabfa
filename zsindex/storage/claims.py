"""Who encodes what, where several do at once: of an image that has no vector yet, one claims it, and the others find it
known when they come back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Protocol


class Claim(Enum):
    """What came of claiming an image.

    Attributes:
        MINE: it has no vector, and nobody else encodes it.
        KNOWN: it has one.
        ELSEWHERE: somebody else encodes it, or is about to store its vector.
    """

    MINE = auto()
    KNOWN = auto()
    ELSEWHERE = auto()


class Claims(Protocol):
    """Claims of images under one model. They end with the process, or when it loses its library."""

    def take(self, digest: bytes) -> Claim:
        """Claim an image; from any thread, but not what this object holds already."""
        ...

    def release(self, digests: Iterable[bytes]) -> None:
        """Let go of images: their vectors are stored, or they have none."""
        ...


class LoneClaims:
    """Those of somebody who is alone, by the sync lock."""

    def __init__(self, is_known: Callable[[bytes], bool]) -> None:
        """Args:
        is_known: whether the image with a digest has a vector.
        """
        self._is_known = is_known

    def take(self, digest: bytes) -> Claim:
        """See `Claims.take`."""
        return Claim.KNOWN if self._is_known(digest) else Claim.MINE

    def release(self, digests: Iterable[bytes]) -> None:
        """Nobody waits for it."""
