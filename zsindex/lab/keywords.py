"""Keywords that people gave photos, as labels and as truth. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from zsindex.classification.prompts import normalise

LEVELS = "|"


def levels(keyword: str) -> list[str]:
    """The levels of a hierarchy from the top, ``Animals|Birds``; of a plain keyword itself."""
    return [level for part in keyword.split(LEVELS) if (level := normalise(part))]


def names_of(keyword: str) -> list[str]:
    """What a keyword says that a photo shows: each of its levels, and all of them as one label."""
    parts = levels(keyword)
    return [*parts, together(parts)] if len(parts) > 1 else parts


def together(parts: Sequence[str]) -> str:
    """The levels of a hierarchy as one label, from the leaf up: ``owl, Birds``."""
    return ", ".join(reversed(parts))


@dataclass(frozen=True, slots=True)
class Keyword:
    """A label from keywords.

    Attributes:
        label: as it is to be asked for.
        photos: that have it.
        spellings: keywords that it stands for.
    """

    label: str
    photos: int
    spellings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"label": self.label, "photos": self.photos, "spellings": list(self.spellings)}


def as_labels(
    keywords: Mapping[str, Iterable[str]],
    *,
    min_photos: int = 1,
    whole: bool = False,
    exclude: Collection[str] = (),
) -> list[Keyword]:
    """Labels from keywords, those of the most photos first.

    Spellings that differ only in case are one label, in the most frequent spelling. The leaf of a hierarchy stands for
    it: where a program writes ``Birds|Owl`` and ``owl`` beside it, that is one label.

    Args:
        keywords: of photos, by path.
        min_photos: labels of fewer are left out.
        whole: keep a hierarchy as its levels with a comma between them, from the leaf up, ``owl, Birds``, rather than
            as its leaf.
        exclude: patterns (``*``, ``?``, ``[…]``) of keywords, of whole hierarchies, or of one of their levels; without
            regard to case.
    """
    patterns = [pattern.casefold() for pattern in exclude]
    by_label: dict[str, set[str]] = {}
    texts: dict[str, Counter[str]] = {}
    spellings: dict[str, set[str]] = {}
    for path, of_photo in keywords.items():
        for keyword in of_photo:
            parts = levels(keyword)
            names = [keyword.casefold(), *(part.casefold() for part in parts)]
            if not parts or any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
                continue
            text = together(parts) if whole else parts[-1]
            key = text.casefold()
            by_label.setdefault(key, set()).add(path)
            texts.setdefault(key, Counter())[text] += 1
            spellings.setdefault(key, set()).add(keyword)
    found = [
        Keyword(max(texts[key].items(), key=lambda item: (item[1], item[0]))[0], len(paths), (*sorted(spellings[key]),))
        for key, paths in by_label.items()
        if len(paths) >= min_photos
    ]
    return sorted(found, key=lambda one: (-one.photos, one.label))
