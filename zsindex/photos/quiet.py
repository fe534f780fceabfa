"""Codecs that say nothing while a photo is decoded: what is wrong with it is said once, with its name, as its reason.

Pillow warns through `warnings`, which ends in front of the user or, where warnings are errors, loses the photo; it
logs, which Python prints where nobody has set up logging; and libtiff writes to the process's stderr, past Python.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import PIL

# Loggers that have a handler are not printed by Python's handler of last resort. Who sets logging up still sees all.
for _name in ("PIL", "pillow_heif", "tifffile"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class _ThreadsThatDecode(threading.local):
    """Which threads are inside `quiet`, in the place of a pattern for the names of modules in a filter of warnings.

    `warnings.catch_warnings` changes the filters of all threads, and mixes them up where two threads leave it in the
    order in which they entered it. A filter that answers for each thread can stay where it is.
    """

    depth = 0

    def match(self, _module: str) -> bool:
        """Whether this thread is one."""
        return self.depth > 0


_here = _ThreadsThatDecode()
_FILTER = ("ignore", None, Warning, _here, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop Python's warnings in this thread, and libtiff's messages in all."""
    filters = warnings.filters
    assert isinstance(filters, list)  # the tuple that its type speaks of could not be changed
    if not filters or filters[0] is not _FILTER:  # somebody has put others in front, as tests do
        with suppress(ValueError):
            filters.remove(_FILTER)
        filters.insert(0, _FILTER)
    _here.depth += 1
    try:
        with _libtiff.silenced():
            yield
    finally:
        _here.depth -= 1


class _LibTiff:
    """The libtiff that Pillow has loaded. Its two handlers of messages belong to the whole process.

    Pillow offers no way to it, and to send the process's stderr elsewhere would also take what other threads write. So
    its own functions are called: the handlers are gone while any photo is decoded, and put back after the last one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._own: list[Any] = []

    @contextmanager
    def silenced(self) -> Iterator[None]:
        setters = _handler_setters()
        if not setters:
            yield
            return
        with self._lock:
            if self._inside == 0:
                self._own = [setter(None) for setter in setters]
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    for setter, own in zip(setters, self._own, strict=True):
                        setter(own)


_libtiff = _LibTiff()


@cache
def _handler_setters() -> tuple[Any, ...]:
    """TIFFSetErrorHandler and TIFFSetWarningHandler; none where the library is part of Pillow or not to be found."""
    for path in _libtiff_paths():
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(path)  # it is loaded already: this only counts one user more
            setters = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
            for setter in setters:
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            return setters
    return ()


def _libtiff_paths() -> list[str]:
    from PIL import Image

    Image.preinit()
    package = Path(PIL.__file__).parent
    if sys.platform == "darwin":
        return [str(path) for path in package.glob(".dylibs/libtiff*")]
    with suppress(OSError):
        maps = os.fsdecode(Path("/proc/self/maps").read_bytes())  # whatever else is mapped, under any name
        loaded = [line.split(maxsplit=5)[-1].strip() for line in maps.splitlines()]
        found = sorted({path for path in loaded if Path(path).name.startswith("libtiff")})
        # Pillow's wheels bring their own; the system's may be there beside it, for somebody else.
        return [path for path in found if "pillow" in path.lower()] or found
    return []
