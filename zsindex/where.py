"""Which photos a question is about: filters on what is known of them, put together with ``&``, ``|`` and ``~``.

    from zsindex.where import camera, near, taken

    where = (taken >= "2019-06") & ~camera.contains("iPhone") & near(48.1, 11.6, km=20)
    library.classify(["beach", "dog"], where=where)

A filter is a name and a value, and each name has one way to read and to write its value. The command line's options,
the parameters of URLs, the JSON of requests and recorded runs, and what Python compares are all read by it.

A photo of which something is not known does not fit a filter on that, and so fits its opposite: ``~camera.contains(…)``
includes photos whose camera is not known. ``camera.known & ~camera.contains(…)`` leaves them out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NoReturn, TypeAlias

from zsindex.arguments import filters
from zsindex.arguments.filters import KINDS, Kind, Unreadable, plain
from zsindex.config import absolute
from zsindex.errors import BadFilter

__all__ = [
    "Filter",
    "Where",
    "WhereLike",
    "answered",
    "box",
    "camera",
    "corrected",
    "file_format",
    "hour",
    "keyword",
    "lens",
    "month",
    "near",
    "orientation",
    "path",
    "place",
    "rating",
    "size",
    "taken",
    "year",
]

# Of one expression. A request may bring one, and whoever has more to say can say it in Python.
_MOST_FILTERS, _MOST_DEPTH = 100, 50


# --- expressions ------------------------------------------------------------------------------------------------------


class Where:
    """Which photos: a filter, or several put together with ``&``, ``|`` and ``~``. Two are equal that say the same,
    in whatever order.
    """

    __slots__ = ()

    def __and__(self, other: Where) -> Where:
        return _joined(_All, self, other)

    def __or__(self, other: Where) -> Where:
        return _joined(_Any, self, other)

    def __invert__(self) -> Where:
        return _Not(self)

    def __rand__(self, other: object) -> NoReturn:
        _unjoinable(other)

    def __ror__(self, other: object) -> NoReturn:
        _unjoinable(other)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "filters are put together with & for and, | for or, ~ for not, each comparison in parentheses: "
            '(taken >= "2019") & (taken <= "2020"). Python\'s own and, or, not, and chains as 2019 <= year <= 2020 do '
            "not work on them"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Where) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __iter__(self) -> Iterator[Filter]:
        """The filters in it, in order."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """The same text for all that say the same: JSON, with what is put together in order."""
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":"))

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON, from which `from_json` makes an equal one."""
        raise NotImplementedError

    @staticmethod
    def from_json(said: object) -> Where:
        """From plain data: ``{"camera": "iPhone"}``, where several names mean that all fit; ``{"and": […]}``,
        ``{"or": […]}`` and ``{"not": {…}}``.

        Raises:
            BadFilter: names the place.
        """
        return _from_json(said, "where", [_MOST_FILTERS], _MOST_DEPTH)

    @staticmethod
    def from_json_text(text: str) -> Where:
        """From the text of such data.

        Raises:
            BadFilter
        """
        try:
            said = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadFilter("where", f"it is not JSON: {error}", '{"camera": "iPhone"}') from error
        return Where.from_json(said)

    @staticmethod
    def of(given: WhereLike | None) -> Where | None:
        """What callers pass as ``where``.

        Raises:
            BadFilter
            TypeError: it is neither a filter nor JSON.
        """
        if given is None or isinstance(given, Where):
            return given
        if isinstance(given, Mapping):
            return Where.from_json(given)
        raise TypeError(
            f"where is made of filters, such as taken >= '2019-06' of zsindex.where, or of their JSON; not {given!r}"
        )


# What stands for photos wherever callers say which: filters, or their JSON.
WhereLike: TypeAlias = "Where | Mapping[str, Any]"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Filter(Where):
    """One filter.

    Attributes:
        name: of its kind, one of `KINDS`.
        value: as its kind writes it.
    """

    name: str
    value: str

    def __iter__(self) -> Iterator[Filter]:
        yield self

    def __repr__(self) -> str:
        return KINDS[self.name].shown(self.value)

    def to_json(self) -> dict[str, Any]:
        """See `Where.to_json`."""
        return {self.name: self.value}

    @classmethod
    def parse(cls, name: str, text: str, at: str | None = None) -> Filter:
        """A filter from its name and a text.

        Args:
            at: what stands for the place in the message. Default: the name.

        Raises:
            BadFilter
        """
        kind = _kind(name, at or name)
        try:
            return cls(name, kind.canonical(text))
        except Unreadable as error:
            raise BadFilter(at or name, str(error), kind.example) from error


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class _Not(Where):
    of_what: Where

    def __invert__(self) -> Where:
        return self.of_what

    def __iter__(self) -> Iterator[Filter]:
        return iter(self.of_what)

    def __repr__(self) -> str:
        inner = repr(self.of_what)
        return f"~{inner}" if _is_one_term(self.of_what) else f"~({inner})"

    def to_json(self) -> dict[str, Any]:
        return {"not": self.of_what.to_json()}


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class _Several(Where):
    parts: tuple[Where, ...]

    def __iter__(self) -> Iterator[Filter]:
        for part in self.parts:
            yield from part

    def __repr__(self) -> str:
        sign = " & " if isinstance(self, _All) else " | "
        return sign.join(repr(part) if _is_one_term(part) else f"({part!r})" for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        texts = {json.dumps(said, ensure_ascii=False): said for said in (part.to_json() for part in self.parts)}
        parts = [said for _, said in sorted(texts.items())]
        return parts[0] if len(parts) == 1 else {"and" if isinstance(self, _All) else "or": parts}


class _All(_Several):
    __slots__ = ()


class _Any(_Several):
    __slots__ = ()


def _is_one_term(part: Where) -> bool:
    """Whether it needs no parentheses beside ``&``."""
    return isinstance(part, _Not) or (isinstance(part, Filter) and " " not in repr(part).partition("(")[0])


def _joined(kind: type[_Several], one: Where, other: object) -> Where:
    if not isinstance(other, Where):
        _unjoinable(other)
    parts = [part for side in (one, other) for part in (side.parts if isinstance(side, kind) else (side,))]
    return kind(tuple(parts))


def _unjoinable(other: object) -> NoReturn:
    raise TypeError(
        f"{other!r} is no filter: put each comparison in parentheses, as in "
        '(taken >= "2019") & (rating >= 4), since & and | bind more tightly than comparisons'
    )


def _from_json(said: object, at: str, left: list[int], depth: int) -> Where:
    example = '{"and": [{"since": "2019-06"}, {"not": {"camera": "iPhone"}}]}'
    if not isinstance(said, Mapping) or not said:
        raise BadFilter(at, f"expected an object with filters, not {_short(said)}", example)
    if not depth:
        raise BadFilter(at, f"it lies more than {_MOST_DEPTH} levels deep", example)
    found: list[Where] = []
    for name, value in said.items():
        inner = f"{at}.{name}"
        if name == "not":
            found.append(~_from_json(value, inner, left, depth - 1))
        elif name in ("and", "or"):
            if not isinstance(value, (list, tuple)) or not value:
                raise BadFilter(inner, f"expected a list of filters, not {_short(value)}", example)
            parts = [_from_json(part, f"{inner}[{n}]", left, depth - 1) for n, part in enumerate(value)]
            kind = _All if name == "and" else _Any
            whole: Where = parts[0]
            for part in parts[1:]:
                whole = _joined(kind, whole, part)
            found.append(whole)
        else:
            left[0] -= 1
            if left[0] < 0:
                raise BadFilter(inner, f"there are more than {_MOST_FILTERS:,} filters", example)
            found.append(Filter.parse(str(name), _text_of(value, _kind(str(name), inner), inner), inner))
    whole = found[0]
    for part in found[1:]:
        whole = _joined(_All, whole, part)
    return whole


def _kind(name: str, at: str) -> Kind:
    kind = KINDS.get(name)
    if kind is None:
        raise BadFilter(at, f"there is no filter {name!r}; there are {', '.join(KINDS)}", '{"camera": "iPhone"}')
    return kind


def _text_of(value: object, kind: Kind, at: str) -> str:
    """The text of a value in JSON: numbers may stand for themselves, and several in a list."""
    numbers = value if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, str):
        return value
    if numbers and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers):
        return ",".join(map(str, numbers))
    raise BadFilter(at, f"expected a text, not {_short(value)}", kind.example)


def _short(said: object) -> str:
    text = repr(said)
    return text if len(text) <= 80 else f"{text[:79]}…"


# --- what Python says -------------------------------------------------------------------------------------------------


class _Fact:
    """Something that can be known of a photo."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self._name} is compared with something, as in {self._example}")

    @property
    def _example(self) -> str:
        return next(
            (repr(Filter.parse(n, k.example)) for n, k in KINDS.items() if n == self._name), f"{self._name}.known"
        )

    @property
    def known(self) -> Where:
        """Photos of which it is known."""
        return Filter.parse("has", self._name)


class _Time(_Fact):
    """When a photo was taken, by the clock there. A text or a date stands for all of its year, month, day or minute."""

    def __ge__(self, other: str | date) -> Where:
        return _since(_period(other)[0])

    def __gt__(self, other: str | date) -> Where:
        return _since(_period(other)[1] + 1)

    def __le__(self, other: str | date) -> Where:
        return _until(_period(other)[1])

    def __lt__(self, other: str | date) -> Where:
        return _until(_period(other)[0] - 1)

    # `object` promises a bool of ==, and only Any is both that and a filter.
    def __eq__(self, other: object) -> Any:
        if not isinstance(other, (str, date)):
            raise TypeError(f"taken is compared with a text such as '2019-06' or a date, not with {other!r}")
        return (self >= other) & (self <= other)

    def __ne__(self, other: object) -> Any:
        return ~(self == other)

    __hash__ = object.__hash__

    def between(self, first: str | date, last: str | date) -> Where:
        """From the beginning of the first to the end of the last."""
        return (self >= first) & (self <= last)


def _period(given: str | date) -> tuple[int, int]:
    """The first and the last microsecond of what the time is compared with."""
    if isinstance(given, datetime) and given.tzinfo is not None:
        why = f"{given!r} has a time zone; times are those of the clock where the photo was taken"
        raise BadFilter("taken", why, KINDS["since"].example)
    if isinstance(given, datetime):  # all of it is said, so that it stands for itself alone
        text = given.isoformat(timespec="microseconds")
    else:
        text = given if isinstance(given, str) else given.isoformat()
    try:
        return filters.period(text)
    except Unreadable as error:
        raise BadFilter("taken", str(error), KINDS["since"].example) from error


def _since(us: int) -> Where:
    try:
        return Filter("since", filters.first_text(us))
    except Unreadable as error:
        raise BadFilter("taken", str(error), KINDS["since"].example) from error


def _until(us: int) -> Where:
    try:
        return Filter("until", filters.last_text(us))
    except Unreadable as error:
        raise BadFilter("taken", str(error), KINDS["until"].example) from error


class _Number(_Fact):
    """A number. Between two of a month or an hour may lie the turn of the year or of the day."""

    def __init__(self, name: str, *, whole: bool) -> None:
        super().__init__(name)
        self._whole = whole

    def __ge__(self, other: float) -> Where:
        return Filter.parse(self._name, f"{self._number(other)}..")

    def __le__(self, other: float) -> Where:
        return Filter.parse(self._name, f"..{self._number(other)}")

    def __gt__(self, other: float) -> Where:
        number = self._number(other)
        return self >= (int(number) + 1 if self._whole else math.nextafter(float(number), math.inf))

    def __lt__(self, other: float) -> Where:
        number = self._number(other)
        return self <= (int(number) - 1 if self._whole else math.nextafter(float(number), -math.inf))

    def __eq__(self, other: object) -> Any:
        return Filter.parse(self._name, self._number(other))

    def __ne__(self, other: object) -> Any:
        return ~(self == other)

    __hash__ = object.__hash__

    def between(self, first: float, last: float) -> Where:
        """Both of them, and what lies between."""
        return Filter.parse(self._name, f"{self._number(first)}..{self._number(last)}")

    def among(self, text: str) -> Where:
        """Several, as the command line has them: ``2015,2017..2019``."""
        return Filter.parse(self._name, text)

    def _number(self, given: object) -> str:
        if isinstance(given, (str, bool)) or not hasattr(given, "__float__"):
            raise TypeError(f"{self._name} is compared with a number, not with {given!r}")
        return plain(float(given)) if math.isfinite(float(given)) else str(given)


class _Name(_Fact):
    """A name, whatever its case."""

    def contains(self, text: str) -> Where:
        """Photos with a name that contains a text."""
        if text.strip().startswith("="):
            raise BadFilter(self._name, "a text to look for cannot begin with =", KINDS[self._name].example)
        return Filter.parse(self._name, text)

    def __eq__(self, other: object) -> Any:
        return Filter.parse(self._name, f"={_text(self._name, other)}")

    def __ne__(self, other: object) -> Any:
        return ~(self == other)

    __hash__ = object.__hash__


class _Choice(_Fact):
    """One of some names. For a keyword: that, or one below it in a hierarchy."""

    def __eq__(self, other: object) -> Any:
        return Filter.parse(self._name, _text(self._name, other))

    def __ne__(self, other: object) -> Any:
        return ~(self == other)

    __hash__ = object.__hash__


class _Size(_Fact):
    """How large a photo is: ``"1920x1080"``, lying or standing, or ``"12MP"``."""

    @property
    def _example(self) -> str:
        return "size >= '12MP'"

    def __ge__(self, other: str) -> Where:
        return Filter.parse("min_size", _text(self._name, other))

    def __lt__(self, other: str) -> Where:
        return ~(self >= other)


class _Path(_Fact):
    """Where a file lies."""

    @property
    def _example(self) -> str:
        return "path.under('/photos/2019')"

    def under(self, folder: str) -> Where:
        """Photos at or below a file or folder, which may be relative to the working folder.

        Raises:
            BadPath
        """
        return Filter.parse("path", absolute(folder))


def _text(name: str, given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{name} is compared with a text, not with {given!r}")
    return given


taken: Final = _Time("taken")
year: Final = _Number("year", whole=True)
month: Final = _Number("month", whole=True)
hour: Final = _Number("hour", whole=True)
camera: Final = _Name("camera")
lens: Final = _Name("lens")
place: Final = _Fact("place")
rating: Final = _Number("rating", whole=False)
keyword: Final = _Choice("keyword")
file_format: Final = _Choice("file_format")
orientation: Final = _Choice("orientation")
size: Final = _Size("size")
path: Final = _Path("path")


def near(latitude: float, longitude: float, *, km: float) -> Where:
    """Photos taken within so many kilometres of a place, in degrees north and east."""
    return Filter.parse("near", f"{latitude},{longitude},{km}")


def box(south: float, west: float, north: float, east: float) -> Where:
    """Photos taken between these degrees. Where `west` is the larger one, the box reaches over the 180th meridian."""
    return Filter.parse("box", f"{south},{west},{north},{east}")


def answered(label_set: str, label: str, *, min_score: float = 0.0) -> Where:
    """Photos whose best answer from a saved label set is a label, with at least a score."""
    if "=" in label_set:
        raise BadFilter("answer", f"{label_set!r} has a = in it, which no filter can name", KINDS["answer"].example)
    return Filter.parse("answer", f"{label_set}={label}:{float(min_score)!r}")


def corrected(label_set: str) -> Where:
    """Photos that somebody has corrected under a label set."""
    return Filter.parse("corrected", label_set)
