"""What the operating system said when SQLite failed.

SQLite keeps it, but Python's module does not hand it out. It can be asked through ctypes, for which one must know where
a connection keeps the pointer that SQLite calls it by: right behind what all objects of Python begin with. Whether that
is so is looked at before it is relied on; where it is not, nothing is known, and who wants to know tries for himself
what the system says.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from functools import cache

_NOTED = "zsindex_errno"
# Of other errors SQLite does not keep it.
_KEPT = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
# From sqlite3.h.
_LAST_ERRNO, _FILE_POINTER, _JOURNAL_POINTER = 4, 7, 28
_FILE_CONTROL_AT = 10  # among the pointers that a file's methods are, the number of their version first


def code_of(error: BaseException) -> int:
    """SQLite's extended code of an error; 0 of those that Python finds by itself, as of a text that is none."""
    return int(getattr(error, "sqlite_errorcode", 0))


def note(error: BaseException, connection: sqlite3.Connection) -> None:
    """Keep with an error of a connection what the system said. It has to be asked before the connection does anything
    else.
    """
    if code_of(error) & 0xFF not in _KEPT or noted(error):
        return
    if (ask := _asking()) is not None:
        setattr(error, _NOTED, ask(connection))


def noted(error: BaseException) -> int:
    """The number of the system's error that was noted; 0 if none was."""
    return int(getattr(error, _NOTED, 0))


@cache
def _asking() -> Callable[[sqlite3.Connection], int] | None:
    if sys.implementation.name != "cpython":  # whose ids are addresses
        return None
    import _sqlite3
    import ctypes  # takes milliseconds, of which a cached question has few

    def pointer(connection: sqlite3.Connection) -> int | None:
        return ctypes.c_void_p.from_address(id(connection) + object.__basicsize__).value

    one, other = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    try:
        # What is there while a connection is open, is its own, and goes when it is closed, is what SQLite calls it by.
        before = pointer(one), pointer(other)
        one.close()
        if not all(before) or before[0] == before[1] or pointer(one) is not None or pointer(other) != before[1]:
            return None
        library = ctypes.CDLL(_sqlite3.__file__)
        system_errno, file_control = library.sqlite3_system_errno, library.sqlite3_file_control
    except (AttributeError, OSError):  # SQLite is inside of Python, say, or not to be found through its module
        return None
    finally:
        other.close()
    system_errno.argtypes, system_errno.restype = (ctypes.c_void_p,), ctypes.c_int
    file_control.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)
    control_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)

    def of_file(database: int, which: int) -> int:
        file, found = ctypes.c_void_p(), ctypes.c_int()
        if file_control(database, None, which, ctypes.byref(file)) or file.value is None:
            return 0
        methods = ctypes.c_void_p.from_address(file.value).value
        if methods is None:  # it is not open
            return 0
        at = methods + _FILE_CONTROL_AT * ctypes.sizeof(ctypes.c_void_p)
        control = ctypes.c_void_p.from_address(at).value
        if control is None or control_type(control)(file.value, _LAST_ERRNO, ctypes.byref(found)):
            return 0
        return found.value

    def ask(connection: sqlite3.Connection) -> int:
        database = pointer(connection)
        if database is None:
            return 0
        # What failed at a COMMIT only the file knows, at least in SQLite 3.40.
        return of_file(database, _JOURNAL_POINTER) or of_file(database, _FILE_POINTER) or int(system_errno(database))

    return ask
