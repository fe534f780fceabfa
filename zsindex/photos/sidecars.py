"""Which files are sidecars of which photos, and what these say: ``photo.jpg.xmp`` and ``photo.xmp``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from zsindex.errors import ImageError
from zsindex.photos.together import NOTHING, filled, kept_keywords
from zsindex.records import Facts

EXTENSION = ".xmp"


def is_named_like_one(name: str) -> bool:
    """Whether a file's name is that of a sidecar, of whatever photo."""
    return name[-len(EXTENSION) :].lower() == EXTENSION


def key_of(sidecar: str) -> str:
    """What a sidecar's name says of its photo's: its whole name, or that without the extension."""
    return sidecar[: -len(EXTENSION)]


def keys_of(photo: str) -> tuple[str, ...]:
    """The keys of a photo's sidecars by its name, that which counts first in front."""
    stem = photo.rpartition(".")[0]
    return (photo, stem) if stem else (photo,)


def that_of(photo: str, told: Mapping[str, Facts]) -> Facts | None:
    """What a photo's sidecars say together; None if it has none that says anything.

    Args:
        photo: its name.
        told: what the sidecars of its folder say, by key.
    """
    return _both(told.get(key) for key in keys_of(photo))


def _both(told: Iterable[Facts | None]) -> Facts | None:
    """Where both say something it is the first that counts, but keywords are those of both: where one program writes
    beside the whole name and another beside the stem, neither's work is lost.
    """
    found = None
    for facts in told:
        if facts is not None and facts != NOTHING:
            keywords = facts.keywords if found is None else kept_keywords([*found.keywords, *facts.keywords])
            found = replace(facts if found is None else filled(found, facts), keywords=keywords)
    return found


def keys_of_all(photos: Iterable[str]) -> set[str]:
    """The keys of all sidecars that some photos of a folder may have, by their names."""
    return {key for photo in photos for key in keys_of(photo)}


def said_by(data: bytes) -> Facts:
    """What a sidecar says, from its bytes: nothing where it is no XMP. Nothing raises."""
    from zsindex.photos import facts, packets

    with suppress(packets.NotXmp):
        return facts.of_packet(data)
    return NOTHING


def read_of(photo: str) -> Facts | None:
    """What the sidecars beside a photo say, by the photo's path; None if there is none that says anything."""
    from zsindex.photos import decode, packets

    folder, name = os.path.split(photo)
    told = []
    for key in keys_of(name):
        with suppress(ImageError):
            file = os.path.join(folder, key + EXTENSION)
            told.append(said_by(decode.read_file(file, max_bytes=packets.MAX_BYTES).data))
    return _both(told)
