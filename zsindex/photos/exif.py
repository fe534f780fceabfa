"""EXIF: blocks of it to checked values. Pillow reads the directories; what they say is believed if it can be true."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import IO

from PIL import ExifTags
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from zsindex.photos import dates

_EXIF, _GPS = int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)
_Base, _Gps = ExifTags.Base, ExifTags.GPS

_XMP = 700
# No value that is asked for is longer; Pillow would make a Python number of each that a file claims to have.
_MOST_VALUE = 1 << 16
_TIFF_MARKS = {b"II": b"II*\0", b"MM": b"MM\0*"}
_BIG = (b"II+\0", b"MM\0+")


class Directories:
    """The main directory of a block, and what it leads to. One that is damaged has no values; none raises.

    Nothing is followed but the two pointers to the directories of EXIF and GPS, each once: directories that point at
    one another lead nowhere.
    """

    def __init__(self, block: bytes, exif: bytes = b"", gps: bytes = b"") -> None:
        """Args:
        block: from its byte order on: the whole file for a TIFF, and for camera RAW that is like one.
        exif, gps: blocks of their own, as Canon's have them.
        """
        self.main = _directory(block)
        self.exif = _directory(exif) if exif else _directory(block, self.main, _EXIF)
        self.gps = _directory(gps, group=_GPS) if gps else _directory(block, self.main, _GPS)

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands there."""
        return not (self.main or self.exif or self.gps)


class Directory:
    """The values of a directory, by tag."""

    def __init__(self, ifd: ImageFileDirectory_v2 | None) -> None:
        self._ifd = ifd

    def __bool__(self) -> bool:
        return bool(self._ifd)

    def load(self, file: IO[bytes], start: int) -> None:
        """Read what stands there, as far as it can be read."""
        if self._ifd is not None:
            with suppress(Exception):  # OSError, struct.error, MemoryError, …: what is not there has no values
                file.seek(start)
                self._ifd.load(file)

    def _value(self, tag: int) -> object:
        if self._ifd is None or tag not in self._ifd or len(self._ifd._tagdata.get(tag, b"")) > _MOST_VALUE:
            return None
        with suppress(Exception):  # as above, of values that are not what their type says
            value: object = self._ifd[tag]
            return value
        return None

    def text(self, tag: int) -> str:
        """Empty for none, and for what is no text."""
        value = self._value(tag)
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        if isinstance(value, bytes):
            return decoded(value)
        return decoded(value.encode("latin-1", "replace")) if isinstance(value, str) else ""

    def wide_text(self, tag: int) -> str:
        """Of the tags that Windows writes, which are bytes of UTF-16."""
        value = self._value(tag)
        if isinstance(value, tuple) and all(isinstance(number, int) and 0 <= number < 256 for number in value):
            value = bytes(value)
        return value.decode("utf-16-le", "replace").rstrip("\0").strip() if isinstance(value, bytes) else ""

    def packet(self) -> bytes:
        """A packet of XMP, as TIFFs have it; empty for none."""
        if self._ifd is None:
            return b""
        packet: bytes = self._ifd._tagdata.get(_XMP, b"")
        return packet

    def numbers(self, tag: int) -> list[float]:
        """Those that are finite; of text, none."""
        value = self._value(tag)
        return list(_numbers(value if isinstance(value, (tuple, bytes)) else (value,)))

    def number(self, tag: int) -> float | None:
        """The first one."""
        return next(iter(self.numbers(tag)), None)


def _numbers(values: tuple[object, ...] | bytes) -> Iterator[float]:
    for value in values:
        if isinstance(value, (int, float, IFDRational)):
            with suppress(ArithmeticError, ValueError, TypeError):
                if math.isfinite(number := float(value)):
                    yield number


def decoded(text: bytes) -> str:
    """A text as far as the first zero: UTF-8, which most write, else Latin-1, which has a letter for every byte."""
    text = text.partition(b"\0")[0].strip()
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _directory(block: bytes, main: Directory | None = None, group: int | None = None) -> Directory:
    """The first directory of a block; with `main`, that which it points to."""
    head, start = _head(block)
    if main is not None and group is not None:
        pointer = main.number(group)
        start = None if pointer is None or not 0 < pointer < 1 << 63 else int(pointer)
    if start is None or not head:
        return Directory(None)
    found = Directory(ImageFileDirectory_v2(head, group=group))
    found.load(io.BytesIO(block), start)
    return found


def _head(block: bytes) -> tuple[bytes, int | None]:
    """The header as Pillow takes it, and where the first directory is. Some camera RAW has another number in it."""
    if block.startswith(_BIG) and len(block) >= 16:
        return block[:16], struct.unpack("<Q" if block.startswith(b"II") else ">Q", block[8:16])[0]
    mark = _TIFF_MARKS.get(block[:2])
    if mark is None or len(block) < 8:
        return b"", None
    return mark + block[4:8], struct.unpack("<I" if mark == b"II*\0" else ">I", block[4:8])[0]


# --- what they say ----------------------------------------------------------------------------------------------------

_TIMES = (
    (int(_Base.DateTimeOriginal), int(_Base.SubsecTimeOriginal), int(_Base.OffsetTimeOriginal)),
    (int(_Base.DateTimeDigitized), int(_Base.SubsecTimeDigitized), int(_Base.OffsetTimeDigitized)),
)


def taken(found: Directories) -> tuple[datetime, int | None] | None:
    """When it was taken, as `dates.written` gives it."""
    return _time_of(found, *_TIMES[0])


def digitized(found: Directories) -> tuple[datetime, int | None] | None:
    """When it became a file, by a camera's own account: of a scan, that is later than when it was taken."""
    if (at := _time_of(found, *_TIMES[1])) is not None:
        return at
    # Of a file that a camera wrote this is the same; programs put there when they changed it.
    if found.main.text(int(_Base.Make)) and not found.main.text(int(_Base.Software)):
        return dates.written(found.main.text(int(_Base.DateTime)))
    return None


def _time_of(found: Directories, tag: int, subseconds: int, offset: int) -> tuple[datetime, int | None] | None:
    exif = found.exif
    return dates.written(exif.text(tag), exif.text(subseconds), exif.text(offset) or exif.text(int(_Base.OffsetTime)))


def exposure_s(found: Directories) -> float | None:
    """In seconds."""
    if (seconds := found.exif.number(int(_Base.ExposureTime))) is not None:
        return within(seconds, 1e-9, 1e7)
    apex = within(found.exif.number(int(_Base.ShutterSpeedValue)), -20.0, 30.0)
    return None if apex is None else math.exp2(-apex)


def aperture(found: Directories) -> float | None:
    """The f-number."""
    if (number := found.exif.number(int(_Base.FNumber))) is not None:
        return within(number, 0.1, 1000.0)
    apex = within(found.exif.number(int(_Base.ApertureValue)), -4.0, 20.0)
    return None if apex is None else math.exp2(apex / 2)


def iso(found: Directories) -> int | None:
    """Cameras that go further than two bytes do say 65535 there, and the number elsewhere."""
    for tag in (_Base.ISOSpeedRatings, _Base.RecommendedExposureIndex, _Base.ISOSpeed):
        number = within(found.exif.number(int(tag)), 1, 1e8)
        if number is not None and (number != 65535 or tag is not _Base.ISOSpeedRatings):
            return int(number)
    return None


def place(found: Directories) -> tuple[float, float, float | None] | None:
    """Latitude and longitude in degrees, altitude in metres. None without hemispheres, outside the globe, and where
    both are zero, as receivers say that have found nothing.
    """
    gps = found.gps
    latitude = _degrees(gps.numbers(int(_Gps.GPSLatitude)), gps.text(int(_Gps.GPSLatitudeRef)), "NS")
    longitude = _degrees(gps.numbers(int(_Gps.GPSLongitude)), gps.text(int(_Gps.GPSLongitudeRef)), "EW")
    altitude = gps.number(int(_Gps.GPSAltitude))
    if altitude is not None and gps.numbers(int(_Gps.GPSAltitudeRef))[:1] in ([1.0], [3.0]):
        altitude = -altitude
    return checked_place(latitude, longitude, altitude)


def _degrees(numbers: list[float], hemisphere: str, hemispheres: str) -> float | None:
    """From degrees, minutes and seconds, of which the last may be missing."""
    half = hemisphere[:1].upper()
    if not 1 <= len(numbers) <= 3 or not half or half not in hemispheres:
        return None
    if min(numbers) < 0 or max(numbers[1:], default=0.0) > 60:
        return None
    degrees = degrees_of(numbers)
    return -degrees if half == hemispheres[1] else degrees


def degrees_of(parts: Sequence[float]) -> float:
    """From degrees, minutes and seconds."""
    return math.fsum(part / one for part, one in zip(parts, (1.0, 60.0, 3600.0), strict=False))


# Deeper than any sea and higher than any balloon is no altitude.
_LOWEST_M, _HIGHEST_M = -11_000.0, 60_000.0


def checked_place(
    latitude: float | None, longitude: float | None, altitude: float | None
) -> tuple[float, float, float | None] | None:
    """A place if it can be one; see `place`."""
    latitude, longitude = within(latitude, -90.0, 90.0), within(longitude, -180.0, 180.0)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    return latitude, longitude, within(altitude, _LOWEST_M, _HIGHEST_M)


def within(number: float | None, least: float, most: float) -> float | None:
    """A number that can be true; None for any other."""
    return number if number is not None and least <= number <= most else None
