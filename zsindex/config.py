"""Settings from the environment, and where a library lies when nobody says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zsindex.errors import BadPath, ZsindexError

if TYPE_CHECKING:
    from zsindex.records import DecodeLimits

LIBRARY_VARIABLE = "ZSINDEX_LIBRARY"
MAX_PIXELS_VARIABLE = "ZSINDEX_MAX_PIXELS"
CACHE_VARIABLE = "ZSINDEX_CACHE"
SEARCH_VARIABLE = "ZSINDEX_SEARCH"
LIMITS_VARIABLE = "ZSINDEX_DECODE_LIMITS"
SECONDS_VARIABLE = "ZSINDEX_DECODE_SECONDS"
MEMORY_VARIABLE = "ZSINDEX_DECODE_MB"
MB = 1 << 20
# As libpq has them.
_SERVER_SCHEMES = ("postgresql://", "postgres://")
DEFAULT_MODEL = "nano"
DEFAULT_BATCH_SIZE = 32  # photos that are stored in one transaction
DEFAULT_MAX_PIXELS = 89_478_485  # Pillow's own: a quarter of a gigabyte of RGB
DEFAULT_DECODE_SECONDS = 60
# 42 bytes for each of so many pixels. A transparent WebP takes 36 until it is shown on a background.
DEFAULT_DECODE_MB = 3584
STRONGER_MODEL = "ViT-B-32-256/datacomp_s34b_b86k"


class Limit:
    """A limit that a variable of the environment sets. No dataclass, as it is made whenever anything is."""

    def __init__(self, variable: str, default: int, unit: str) -> None:
        self.variable, self.default, self.unit = variable, default, unit

    @property
    def value(self) -> int:
        """What it is now.

        Raises:
            ZsindexError: it is no positive whole number.
        """
        return _positive(self.variable, self.default, self.unit)

    @property
    def bytes(self) -> int:
        """The same of one in MB, in bytes."""
        return self.value * MB


def absolute(path: str | bytes | os.PathLike[str]) -> str:
    """An absolute path, with ``~`` expanded.

    Raises:
        BadPath: it is empty, which does not stand for the current folder; relative where there is none; or holds what
            the name of a file cannot hold.
    """
    # Not Path.expanduser, which raises for "~name" where no user has that name. It may well be a file.
    full = os.path.expanduser(os.fsdecode(path))
    if not full:
        raise BadPath("", "a path is empty; the current folder is .")
    try:
        possible = "\0" not in full and os.fsencode(full)
    except UnicodeEncodeError:  # half of a surrogate pair, and not one that stands for a byte
        possible = False
    if not possible:
        raise BadPath(full, f"{full!a} cannot be the name of a file")
    try:
        return os.path.abspath(full)
    except FileNotFoundError as error:
        raise BadPath(
            full, f"the working folder is gone, and {full} is relative to it: go to another one, or give a full path"
        ) from error


def require_utf8_names() -> None:
    """Refuse to go on where Python does not read the names of files as UTF-8, in which a library has them.

    One and the same photo would have two names.

    Raises:
        ZsindexError
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise ZsindexError(
            f"Python reads the names of files as {encoding} here, a library has them in UTF-8: start Python with "
            f"-X utf8, or set PYTHONUTF8=1"
        )


def is_url(place: object) -> bool:
    """Whether a library of that name is on a server."""
    return isinstance(place, str) and place.startswith(_SERVER_SCHEMES)


def is_cluster(on: str) -> bool:
    """Whether that names a Ray cluster: ``ray``, or the address of a head, ``ray://HOST:PORT``."""
    import re

    return on == "ray" or re.fullmatch(r"ray://[^/@\s]+:\d+", on) is not None


def library_place(given: str | os.PathLike[str] | None = None) -> Path | str:
    """The library's folder, or its URL: the argument, ``ZSINDEX_LIBRARY``, or a folder in the platform's user-data
    folder.
    """
    chosen = given if given is not None else os.environ.get(LIBRARY_VARIABLE) or None
    if chosen is not None:
        return chosen if isinstance(chosen, str) and is_url(chosen) else Path(absolute(chosen))
    import platformdirs

    return Path(platformdirs.user_data_dir("zsindex", appauthor=False)) / "library"


def searches_on_server(given: str | None = None) -> bool:
    """Whether this machine has a server search for it, rather than keep all vectors: the argument, ``here`` or
    ``server``, else ``ZSINDEX_SEARCH``. A library in a folder is searched here in any case.

    Raises:
        ZsindexError: it is neither.
    """
    chosen = given or os.environ.get(SEARCH_VARIABLE) or "here"
    if chosen not in ("here", "server"):
        raise ZsindexError(f"{'search' if given else SEARCH_VARIABLE} must be here or server, not {chosen!r}")
    return chosen == "server"


def models_folder() -> Path | None:
    """Where exported models are kept: below ``ZSINDEX_CACHE``, else below the platform's user-cache folder.

    None if the variable is ``off``.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen == "off":
        return None
    if chosen:
        return Path(absolute(chosen)) / "models"
    import platformdirs

    return Path(platformdirs.user_cache_dir("zsindex", appauthor=False)) / "models"


def derived_folder(identity: str) -> Path:
    """Where this machine keeps what is derived from a library on a server: below ``ZSINDEX_CACHE``, else below the
    platform's user-cache folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen and chosen != "off":
        return Path(absolute(chosen)) / "libraries" / identity
    import platformdirs

    return Path(platformdirs.user_cache_dir("zsindex", appauthor=False)) / "libraries" / identity


def temporary_folder() -> Path:
    """Where the system keeps temporary files.

    Raises:
        ZsindexError: none of the folders for them can be written to.
    """
    import tempfile  # takes milliseconds, of which a cached question has few

    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ZsindexError(
            "no folder for temporary files can be written to: set TMPDIR to one that can, and that has room"
        ) from error


def thumbnails_folder() -> Path:
    """Where a service keeps thumbnails: beside exported models, or where these are switched off, in a temporary folder
    of the user's own.
    """
    models = models_folder()
    if models is not None:
        return models.with_name("thumbnails")
    return temporary_folder() / f"zsindex-thumbnails-{os.getuid() if hasattr(os, 'getuid') else 0}"


# What of a library, and of the user's cache, may grow how far. docs/storage.md has a table of them.
PROMPTS_MB = Limit("ZSINDEX_PROMPTS_MB", 1024, "MB")  # half a million prompts of 512 dimensions
PROMPTS = Limit("ZSINDEX_PROMPTS", 1_000_000, "prompts")
PROMPTS_DAYS = Limit("ZSINDEX_PROMPTS_DAYS", 365, "days")
UPLOADS_MB = Limit("ZSINDEX_UPLOADS_MB", 1024, "MB")
RUNS = Limit("ZSINDEX_RUNS", 200, "runs")
RUNS_MB = Limit("ZSINDEX_RUNS_MB", 512, "MB")
EXPORTS_MB = Limit("ZSINDEX_EXPORTS_MB", 20_480, "MB")
THUMBNAILS_MB = 1024  # zsindex serve --thumbnail-cache sets another


def max_pixels(default: int) -> int:
    """The pixel limit of one photo: ``ZSINDEX_MAX_PIXELS``, else the default."""
    return _positive(MAX_PIXELS_VARIABLE, default, "pixels")


def decode_limits() -> DecodeLimits | None:
    """How much decoding one photo may take; None: as much as it likes, if ``ZSINDEX_DECODE_LIMITS`` is ``off``.

    ``ZSINDEX_DECODE_SECONDS``, else a minute; ``ZSINDEX_DECODE_MB``, else what 42 bytes for each pixel of the largest
    picture that is read come to, and no less than for the default of that.
    """
    from zsindex.records import DecodeLimits  # which imports numpy

    chosen = os.environ.get(LIMITS_VARIABLE) or "on"
    if chosen not in ("on", "off"):
        raise ZsindexError(f"{LIMITS_VARIABLE} must be on or off, not {chosen!r}")
    seconds = _positive(SECONDS_VARIABLE, DEFAULT_DECODE_SECONDS, "seconds")
    share = max(1.0, max_pixels(DEFAULT_MAX_PIXELS) / DEFAULT_MAX_PIXELS)
    megabytes = _positive(MEMORY_VARIABLE, int(DEFAULT_DECODE_MB * share), "MB")
    return None if chosen == "off" else DecodeLimits(seconds, megabytes << 20, from_environment=True)


def _positive(variable: str, default: int, unit: str) -> int:
    given = os.environ.get(variable)
    if not given:
        return default
    try:
        limit = int(given)
    except ValueError:
        limit = 0
    if limit <= 0:
        raise ZsindexError(f"{variable} must be a positive whole number of {unit}, not {given!r}")
    return limit
