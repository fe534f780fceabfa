"""The facts of a file: those of its content, of its sidecar, of its name and of its time made one. Light enough for
whoever only puts together what was read before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from zsindex.photos import dates
from zsindex.records import Facts, Taken, TakenFrom

# What is kept of a keyword, and of all of them, in letters.
MOST_KEYWORD = 200
MOST_KEYWORDS = 20_000

NOTHING = Facts()


def together(content: Facts, sidecar: Facts | None, name: str, mtime_ns: int | None) -> Facts:
    """The facts of a file: of its content, of its sidecar, of its name and of its time.

    When it was taken is what EXIF says; else XMP, in the sidecar and then in the photo; else a date in the name; else
    the file's time. Ratings and captions are the sidecar's where it has them, as programs that write sidecars do not
    write into photos; keywords are those of both.

    Args:
        mtime_ns: None for a file that nobody has seen.
    """
    facts = content
    if sidecar is not None:
        facts = replace(
            facts,
            rating=sidecar.rating if sidecar.rating is not None else facts.rating,
            caption=sidecar.caption or facts.caption,
            keywords=kept_keywords([*facts.keywords, *sidecar.keywords]),
            taken=facts.taken if facts.taken and facts.taken.source is TakenFrom.EXIF else sidecar.taken or facts.taken,
            place=sidecar.place or facts.place,
        )
        # A RAW converter's sidecar says how to turn the photo for its own sake; pixels are turned by what is in them.
        facts = filled(facts, replace(sidecar, orientation=None))
    if facts.taken is None:
        facts = replace(facts, taken=_besides(name, mtime_ns))
    return facts


def _besides(name: str, mtime_ns: int | None) -> Taken | None:
    if (at := dates.named(name)) is not None:
        return Taken(at, None, TakenFrom.NAME)
    of_file = None if mtime_ns is None else dates.of_file(mtime_ns)
    return None if of_file is None else Taken(*of_file, TakenFrom.FILE)


def filled(facts: Facts, more: Facts) -> Facts:
    """Facts with what they lack from others."""
    lacking = {
        name: value
        for name in Facts.__dataclass_fields__
        if getattr(facts, name) in (None, ()) and (value := getattr(more, name)) not in (None, ())
    }
    return replace(facts, **lacking) if lacking else facts


def kept_keywords(texts: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order, as many as are kept."""
    kept: dict[str, None] = {}
    room = MOST_KEYWORDS
    for text in texts:
        keyword = clean(text, MOST_KEYWORD)
        if keyword and keyword not in kept:
            room -= len(keyword)
            if room < 0:
                break
            kept[keyword] = None
    return tuple(kept)


def clean(text: str, most: int) -> str:
    """One line that can be printed, and stored in UTF-8."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 2 * most]).split())[:most]
