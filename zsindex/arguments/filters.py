"""The kinds of filters that `zsindex.where` puts together: of each its name, and its one way to read and to write a
value, which the command line, URLs, JSON and Python share.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from zsindex.config import absolute
from zsindex.errors import BadPath


class Unreadable(ValueError):
    """What is wrong with a text, for `BadFilter`."""


class Kind(NamedTuple):
    """A kind of filter: its one way to read a value, and to write it.

    Attributes:
        metavar, help, example: for people.
        canonical: the text that all texts with the same meaning become.
        shown: a canonical text as Python would say it.
        needs: whether it is about what stands in photos' metadata, which a sync reads.
    """

    metavar: str
    help: str
    example: str
    canonical: Callable[[str], str]
    shown: Callable[[str], str]
    needs: bool = True


# --- times

_DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1)
_US: Final = timedelta(microseconds=1)
_TIME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?", re.ASCII)


def period(text: str) -> tuple[int, int]:
    """The first and the last microsecond since 1970, by the clock on the wall, of a year, a month, a day, an hour, a
    minute, a second, or a part of one, as ISO 8601 writes them.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        if re.search(r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)\s*$", text) and _TIME.match(text.strip()):
            raise Unreadable(f"{text!r} has a time zone; times are those of the clock where the photo was taken")
        raise Unreadable(f"{text!r} is neither YYYY, YYYY-MM, YYYY-MM-DD nor YYYY-MM-DDTHH:MM")
    y, m, d, hh, mm, ss, fraction = found.groups()
    try:
        first = datetime(
            int(y),
            int(m or 1),
            int(d or 1),
            int(hh or 0),
            int(mm or 0),
            int(ss or 0),
            int((fraction or "").ljust(6, "0")),
        )
    except ValueError as error:
        raise Unreadable(f"{text!r} is no time: {error}") from error
    start = (first - _EPOCH) // _US
    if fraction is not None:
        return start, start + 10 ** (6 - len(fraction)) - 1
    if d is not None:
        length = next(n for part, n in ((ss, 10**6), (mm, 60 * 10**6), (hh, 3600 * 10**6), (d, _DAY_US)) if part)
    elif m is not None and first.month < 12:
        length = (first.replace(month=first.month + 1) - first) // _US
    else:  # to the end of December
        length = (first.replace(month=12, day=31) - first) // _US + _DAY_US
    return start, start + length - 1


def _clock(us: int) -> datetime:
    try:
        return _EPOCH + us * _US
    except OverflowError as error:
        raise Unreadable("no clock shows such a time") from error


def first_text(us: int) -> str:
    """The shortest text of a period that begins with a microsecond."""
    at = _clock(us)
    texts = [f"{at.year:04}", f"{at.year:04}-{at.month:02}", f"{at.year:04}-{at.month:02}-{at.day:02}"]
    whole = at.isoformat(timespec="microseconds")
    texts += [whole[:13], whole[:16], whole[:19], whole]
    return next(text for text in texts if period(text)[0] == us)


def last_text(us: int) -> str:
    """The shortest text of a period that ends with a microsecond."""
    whole = _clock(us).isoformat(timespec="microseconds")
    return next(text for n in (4, 7, 10, 13, 16, 19, 26) if period(text := whole[:n])[1] == us)


# --- numbers

Ranges: TypeAlias = tuple[tuple[float, float], ...]


def plain(number: float) -> str:
    """A number without what says nothing."""
    return str(int(number)) if number == int(number) else repr(number)


def _ranges(least: float, most: float, *, whole: bool, what: str, cyclic: bool) -> Callable[[str], Ranges]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (whole and number != int(number)) or not re.fullmatch(r"[-+.\deE]+", text):
            raise Unreadable(f"{text!r} is not a {'whole ' if whole else ''}number")
        if not least <= number <= most:
            raise Unreadable(f"{text} is not {what}, which go from {least:g} to {most:g}")
        return number

    def parse(text: str) -> Ranges:
        found = []
        for part in text.split(","):
            first, dots, last = part.strip().partition("..")
            if not (first or last):
                if not dots:
                    raise Unreadable(f"in {text!r} a number is missing")
                raise Unreadable(f"{part!r} has neither a beginning nor an end")
            low = read(first.strip()) if first else least
            high = (read(last.strip()) if last else most) if dots else low
            if low > high and not cyclic:
                raise Unreadable(f"in {part.strip()!r} the first number is the larger one")
            found.append((low, high))
        return tuple(sorted(set(found)))

    return parse


def _range_text(parse: Callable[[str], Ranges], least: float, most: float) -> Callable[[str], str]:
    def text(given: str) -> str:
        parts = []
        for low, high in parse(given):
            if low == high:
                parts.append(plain(low))
            elif (low, high) == (least, most):
                parts.append(f"{plain(low)}..")
            else:
                parts.append(f"{'' if low == least else plain(low)}..{'' if high == most else plain(high)}")
        return ",".join(parts)

    return text


YEARS: Final = (1.0, 9999.0)
MONTHS: Final = (1.0, 12.0)
HOURS: Final = (0.0, 23.0)
RATINGS: Final = (-1.0, 5.0)
years = _ranges(*YEARS, whole=True, what="a year", cyclic=False)
months = _ranges(*MONTHS, whole=True, what="a month", cyclic=True)
hours = _ranges(*HOURS, whole=True, what="an hour", cyclic=True)
ratings = _ranges(*RATINGS, whole=False, what="a rating: stars, with -1 for rejected", cyclic=False)


def _range_shown(name: str, parse: Callable[[str], Ranges], least: float, most: float) -> Callable[[str], str]:
    def one(low: float, high: float) -> str:
        if low == high:
            return f"{name} == {plain(low)}"
        if high == most and low <= high:
            return f"{name} >= {plain(low)}"
        if low == least:
            return f"{name} <= {plain(high)}"
        return f"{name}.between({plain(low)}, {plain(high)})"

    def shown(text: str) -> str:
        parts = parse(text)
        if len(parts) == 1:
            return one(*parts[0])
        return f"{name}.among({text!r})"

    return shown


# --- texts


def folded(text: str) -> str:
    """What stands for a text where upper and lower case, and ways to write the same letters, make no difference."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _clean(text: str, what: str) -> str:
    made = unicodedata.normalize("NFC", text.strip())
    if not made:
        raise Unreadable(f"{what} is empty")
    if "\0" in made or any("\ud800" <= letter <= "\udfff" for letter in made):
        raise Unreadable(f"{text!a} is no text")
    return made


def _name(text: str) -> str:
    made = _clean(text, "the text to look for")
    return f"={_clean(made[1:], 'the name')}" if made.startswith("=") else made


def _name_shown(name: str) -> Callable[[str], str]:
    return lambda text: f"{name} == {text[1:]!r}" if text.startswith("=") else f"{name}.contains({text!r})"


def levels_of(keyword: str) -> tuple[str, ...]:
    """The levels of a keyword, ``Animals|Birds``, folded."""
    return tuple(level for level in (folded(part.strip()) for part in keyword.split("|")) if level)


def _keyword(text: str) -> str:
    parts = [_clean(part, "a level of the keyword") for part in _clean(text, "the keyword").split("|")]
    return "|".join(parts)


# --- places


def _degrees(text: str, names: str) -> list[float]:
    """Numbers between commas; in the last place of `names` not degrees if that is KM."""
    wanted = names.split(",")
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != len(wanted):
        raise Unreadable(f"expected {names}, {len(wanted)} numbers between commas, not {text!r}")
    found = []
    for part, name in zip(parts, wanted, strict=True):
        try:
            number = float(part)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise Unreadable(f"{part!r}, for {name} in {text!r}, is not a number")
        found.append(number)
        most = {"KM": math.inf, "LAT": 90, "SOUTH": 90, "NORTH": 90}.get(name, 180)
        if abs(number) > most:
            raise Unreadable(f"{part}, for {name} in {text!r}, is not from -{most} to {most} degrees")
    return found


def near_of(text: str) -> tuple[float, float, float]:
    """Latitude, longitude, and kilometres."""
    latitude, longitude, km = _degrees(text, "LAT,LON,KM")
    if km < 0:
        raise Unreadable(f"{plain(km)} km, in {text!r}, is less than none")
    return latitude, longitude, km


def box_of(text: str) -> tuple[float, float, float, float]:
    """South, west, north, east. West may be east of east: then it reaches over the 180th meridian."""
    south, west, north, east = _degrees(text, "SOUTH,WEST,NORTH,EAST")
    if south > north:
        raise Unreadable(f"in {text!r} the south, {plain(south)}, lies north of the north, {plain(north)}")
    return south, west, north, east


def _numbers_text(parse: Callable[[str], tuple[float, ...]]) -> Callable[[str], str]:
    return lambda text: ",".join(plain(number + 0.0) for number in parse(text))


def _near_shown(text: str) -> str:
    latitude, longitude, km = map(plain, near_of(text))
    return f"near({latitude}, {longitude}, km={km})"


# --- what else

FORMATS: Final = {"JPG": "JPEG", "JPE": "JPEG", "TIF": "TIFF", "HEIC": "HEIF", "HIF": "HEIF", "JP2": "JPEG2000"}
ORIENTATIONS: Final = ("landscape", "portrait", "square")
KNOWABLE: Final = ("camera", "keyword", "lens", "place", "rating", "taken")


def _format(text: str) -> str:
    made = _clean(text, "the format").upper().lstrip(".")
    if not re.fullmatch(r"[A-Z0-9_+-]+", made):
        raise Unreadable(f"{text!r} is not the name of a format")
    return FORMATS.get(made, made)


def _one_of(choices: tuple[str, ...], what: str) -> Callable[[str], str]:
    def canonical(text: str) -> str:
        made = text.strip().casefold()
        if made not in choices:
            raise Unreadable(f"{text!r} is not {what}: {', '.join(choices)}")
        return made

    return canonical


def size_of(text: str) -> tuple[int, int, int]:
    """Pixels of the longer side, of the shorter side, and in all, of each at least."""
    made = text.strip().lower().replace("×", "x")
    if found := re.fullmatch(r"(\d{1,9})x(\d{1,9})", made, re.ASCII):
        one, other = int(found[1]), int(found[2])
        if not (one and other):
            raise Unreadable(f"{text!r} has a side of no pixels")
        return max(one, other), min(one, other), 0
    if found := re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) ?mp", made, re.ASCII):
        if pixels := round(float(found[1]) * 10**6):
            return 0, 0, pixels
        raise Unreadable(f"{text!r} is no pixels")
    raise Unreadable(f"{text!r} is neither WIDTHxHEIGHT in pixels nor megapixels with MP behind them")


def _size(text: str) -> str:
    longer, shorter, pixels = size_of(text)
    return f"{longer}x{shorter}" if longer else f"{plain(pixels / 10**6)}MP"


def _path(text: str) -> str:
    # What another one is relative to is known to whoever types it, see `_Path.under`, and not to a service.
    if not os.path.isabs(text):
        raise Unreadable(f"{text!r} is not an absolute path")
    try:
        return absolute(text)
    except BadPath as error:
        raise Unreadable(str(error)) from error


def answer_of(text: str) -> tuple[str, str, float]:
    """Name of a label set, answer, and the lowest score."""
    label_set, equals, rest = text.partition("=")
    if not equals:
        raise Unreadable(f"{text!r} has no = between the name of the label set and the label")
    label_set, label, least = _clean(label_set, "the name of the label set"), rest, 0.0
    if found := re.fullmatch(r"(.+):(\d*\.?\d+(?:e-?\d+)?)", rest, re.ASCII | re.DOTALL):
        label, least = found[1], float(found[2])
        if least > 1:
            raise Unreadable(f"the score {found[2]}, in {text!r}, is not from 0 to 1")
    return label_set, _clean(label, "the label"), least


def _answer(text: str) -> str:
    label_set, label, least = answer_of(text)
    ambiguous = re.search(r":\d*\.?\d+(?:e-?\d+)?$", label, re.ASCII)
    return f"{label_set}={label}" + (f":{plain(least)}" if least or ambiguous else "")


def _answer_shown(text: str) -> str:
    label_set, label, least = answer_of(text)
    return f"answered({label_set!r}, {label!r}" + (f", min_score={plain(least)})" if least else ")")


# The order of help.
KINDS: Final[dict[str, Kind]] = {
    "since": Kind(
        "TIME",
        "Taken at TIME or later, by the clock where the photo was taken: YYYY, YYYY-MM, YYYY-MM-DD, YYYY-MM-DDTHH:MM.",
        "2019-06",
        lambda text: first_text(period(text)[0]),
        lambda text: f"taken >= {text!r}",
    ),
    "until": Kind(
        "TIME",
        "Taken before the end of TIME: 2019-08 includes all of August.",
        "2019-08",
        lambda text: last_text(period(text)[1]),
        lambda text: f"taken <= {text!r}",
    ),
    "year": Kind(
        "YEARS",
        "Taken in these years: 2019, 2017..2019, 2019.., or several with commas.",
        "2017..2019",
        _range_text(years, *YEARS),
        _range_shown("year", years, *YEARS),
    ),
    "month": Kind(
        "MONTHS",
        "Taken in these months of any year: 7, 6..8, or 11..2 over the new year.",
        "6..8",
        _range_text(months, *MONTHS),
        _range_shown("month", months, *MONTHS),
    ),
    "hour": Kind(
        "HOURS",
        "Taken in these hours of the day: 6..9 until 9:59, or 22..4 over midnight.",
        "22..4",
        _range_text(hours, *HOURS),
        _range_shown("hour", hours, *HOURS),
    ),
    "camera": Kind(
        "TEXT",
        "The camera's make and model contain TEXT; with = before it the model is TEXT.",
        "iPhone",
        _name,
        _name_shown("camera"),
    ),
    "lens": Kind("TEXT", "The same for the lens.", "50mm", _name, _name_shown("lens")),
    "near": Kind(
        "LAT,LON,KM",
        "Taken within so many kilometres of a place.",
        "48.1,11.6,20",
        _numbers_text(near_of),
        _near_shown,
    ),
    "box": Kind(
        "S,W,N,E",
        "Taken between these degrees south, west, north and east.",
        "47.2,10.8,48.6,12.9",
        _numbers_text(box_of),
        lambda text: f"box({', '.join(text.split(','))})",
    ),
    "rating": Kind(
        "STARS",
        "Rated so: 4.., 5, ..2; -1 is rejected. Photos without a rating fit none.",
        "4..",
        _range_text(ratings, *RATINGS),
        _range_shown("rating", ratings, *RATINGS),
    ),
    "keyword": Kind(
        "WORD",
        "Has the keyword, or one below it: Animals finds Animals|Birds.",
        "Animals|Birds",
        _keyword,
        lambda text: f"keyword == {text!r}",
    ),
    "file_format": Kind(
        "NAME",
        "Of this format: JPEG, PNG, HEIF, …",
        "JPEG",
        _format,
        lambda text: f"file_format == {text!r}",
        needs=False,
    ),
    "orientation": Kind(
        "|".join(ORIENTATIONS),
        "How it lies when upright.",
        "portrait",
        _one_of(ORIENTATIONS, "an orientation"),
        lambda text: f"orientation == {text!r}",
        needs=False,
    ),
    "min_size": Kind(
        "WxH|MP",
        "At least as large: 1920x1080, lying or standing, or 12MP.",
        "1920x1080",
        _size,
        lambda text: f"size >= {text!r}",
        needs=False,
    ),
    "path": Kind("PATH", "At or below PATH.", "/photos/2019", _path, lambda text: f"path.under({text!r})", needs=False),
    "has": Kind(
        "|".join(KNOWABLE),
        "Of which this is known.",
        "place",
        _one_of(KNOWABLE, "something that can be known"),
        lambda text: f"{text}.known",
    ),
    "answer": Kind(
        "SET=LABEL[:SCORE]",
        "Whose best answer from the label set SET is LABEL, with at least SCORE.",
        "animals=owl:0.5",
        _answer,
        _answer_shown,
        needs=False,
    ),
    "corrected": Kind(
        "SET",
        "That somebody has corrected under the label set SET.",
        "animals",
        lambda text: _clean(text, "the name of the label set"),
        lambda text: f"corrected({text!r})",
        needs=False,
    ),
}
