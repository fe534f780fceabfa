"""Texts that say when a photo was taken: of EXIF, of XMP, and of names that cameras, phones and programs give."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

# The oldest photo that is there is of 1826. Clocks that were never set say 0000, and texts that are none say anything.
_YEARS = range(1826, 2200)
_LARGEST_OFFSET_S = 18 * 3600

_OFFSET = re.compile(r"(?P<sign>[+\-−])(?P<hours>\d{1,2}):?(?P<minutes>\d\d)")
_WRITTEN = re.compile(
    r"\s*(?P<year>\d{4})[:\-/.](?P<month>\d{1,2})[:\-/.](?P<day>\d{1,2})"
    r"(?:[T\s]+(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:[.,](?P<fraction>\d+))?)?"
    r"\s*(?P<offset>Z|[+\-−]\d{1,2}:?\d\d)?)?[\s\0]*$"
)


def written(text: str, subseconds: str = "", offset: str = "") -> tuple[datetime, int | None] | None:
    """Read a time as EXIF and XMP write it: ``2019:07:14 15:30:12``, ``2019-07-14T15:30:12.5+02:00``.

    Args:
        subseconds: digits behind the point, where they stand elsewhere.
        offset: from UTC, where it stands elsewhere.

    Returns:
        The local time, and its offset from UTC in seconds where one is given. None for what is no time: zeros, blanks,
        a 31st of June, years before photography.
    """
    found = _WRITTEN.match(text)
    if found is None:
        return None
    fraction = found["fraction"] or (subseconds.strip() if re.fullmatch(r"\s*\d+\s*", subseconds, re.ASCII) else "")
    numbers = (found[part] for part in ("year", "month", "day", "hour", "minute", "second"))
    at = _time(*(int(number or 0) for number in numbers), fraction=fraction)
    return None if at is None else (at, offset_s(found["offset"] or offset))


def offset_s(text: str) -> int | None:
    """An offset from UTC, such as ``+02:00`` or ``Z``, in seconds."""
    text = text.strip("\0 ")
    if text == "Z":
        return 0
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    seconds = int(found["hours"]) * 3600 + int(found["minutes"]) * 60
    if seconds > _LARGEST_OFFSET_S:
        return None
    return seconds if found["sign"] == "+" else -seconds


def _time(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, *, fraction: str = ""
) -> datetime | None:
    if year not in _YEARS:
        return None
    try:
        return datetime(year, month, day, hour, minute, second, int(fraction[:6].ljust(6, "0")))
    except ValueError:
        return None


# --- names ------------------------------------------------------------------------------------------------------------

# 20190714 or 2019-07-14, not within a longer number; then perhaps a time of day, behind a mark or a word or two, "at",
# "um", "à", "a las", "alle", "kl.". Milliseconds follow the seconds in names of Pixels and of some screenshots.
_NAMED = re.compile(
    r"(?<!\d)(?P<year>(?:18|19|20)\d\d)(?P<between>[-_.]?)(?P<month>0[1-9]|1[0-2])(?P=between)"
    r"(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:"
    r"(?:[-_.T\s]|,?\s[^\W\d_]{1,8}\.?(?:\s[^\W\d_]{1,4})?\s)?"
    r"(?P<hour>[01]?\d|2[0-3])(?P<colon>[-_.:꞉]?)(?P<minute>[0-5]\d)(?P=colon)(?P<second>[0-5]\d)"
    r"(?:[-_.]?(?P<fraction>\d{3}))?(?!\d)(?:\s?(?P<half>[AaPp])\.?\s?[Mm]\b)?"
    r"|(?!\d))"
)


def named(name: str) -> datetime | None:
    """The time that a file's name gives: ``IMG_20190714_153012.jpg``, ``WhatsApp Image 2019-07-14 at 15.30.12.jpeg``.

    Of a name with a date alone it is the beginning of that day. Only dates that begin with the year are read: which of
    ``03-04-2019`` is the month, a name does not tell.
    """
    for found in _NAMED.finditer(name):
        hour = int(found["hour"] or 0)
        if half := (found["half"] or "").lower():
            if not 1 <= hour <= 12:
                continue
            hour = hour % 12 + (12 if half == "p" else 0)
        at = _time(
            int(found["year"]),
            int(found["month"]),
            int(found["day"]),
            hour,
            int(found["minute"] or 0),
            int(found["second"] or 0),
            fraction=found["fraction"] or "",
        )
        if at is not None:
            return at
    return None


# --- as numbers -------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Microseconds of a local time since the beginning of 1970 by the same clock."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(number: int) -> datetime:
    """What `microseconds` counted.

    Raises:
        OverflowError: no calendar goes so far.
    """
    return _EPOCH + number * _MICROSECOND


def of_file(mtime_ns: int) -> tuple[datetime, int] | None:
    """The time of a file by this machine's clock, with its offset from UTC in seconds; None beyond all calendars."""
    try:
        at = datetime.fromtimestamp(mtime_ns // 10**9, UTC).astimezone()
    except (OverflowError, OSError, ValueError):
        return None
    offset = at.utcoffset() or timedelta(0)
    return at.replace(tzinfo=None, microsecond=mtime_ns // 1000 % 10**6), int(offset.total_seconds())
