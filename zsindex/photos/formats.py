"""Files: which names promise a photo (the one list that scanning and decoding share), what of them can be stored."""

from __future__ import annotations

import os

# fmt: off
# Camera RAW. Many of these are TIFF inside, so that only the name tells them from a TIFF photo.
RAW_EXTENSIONS = frozenset({
    "3fr", "arw", "cap", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq", "kdc", "mef", "mos", "mrw",
    "nef", "nrw", "orf", "ori", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f",
})

PHOTO_EXTENSIONS = RAW_EXTENSIONS | {
    "apng", "avif", "avifs", "bmp", "dib", "gif", "heic", "heics", "heif", "heifs", "hif", "j2c", "j2k", "jfif", "jp2",
    "jpc", "jpe", "jpeg", "jpf", "jpg", "jpx", "mpo", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp",
}
# fmt: on


def extension(name: str) -> str:
    """Return what follows the last dot of a file name, lower-cased; empty for none, and for a bare ``.jpg``."""
    stem, _, last = name.rpartition(".")
    return last.lower() if stem else ""


def is_encodable(name: str) -> bool:
    """Tell whether a name can be stored and printed. Python smuggles bytes that are not UTF-8 through as surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


# What an integer column of a database holds: 64 bits with a sign.
MOST_STORED = (1 << 63) - 1


def storable(number: int) -> int:
    """Return a number of `os.stat` as it is stored: the nearest that a database holds.

    Nanoseconds since 1970 leave 64 bits before 1678 and after 2262; clocks and archives that are wrong do come to that.
    Whatever is compared with a stored number must have come through here, too.
    """
    return min(max(number, -MOST_STORED), MOST_STORED)


def printable(name: str) -> str:
    """Return a name with the bytes that are not UTF-8 written as ``\\xe9``."""
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no name that the system gave: a text with half of a surrogate pair
        return name.encode("utf-8", "backslashreplace").decode()
