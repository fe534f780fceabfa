"""Paths as callers give them, and as the library knows them: absolute, with ``~`` expanded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

from zsindex.arguments.several import several
from zsindex.config import absolute
from zsindex.errors import BadPath

# One path need not be wrapped in a list, see `zsindex.arguments.several`.
PathsLike: TypeAlias = "str | bytes | os.PathLike[str] | Iterable[str | os.PathLike[str]]"


def guessed(text: str) -> str:
    """`absolute` of what may be a path; itself where it can be none."""
    try:
        return absolute(text)
    except BadPath:
        return text


def absolute_all(paths: PathsLike) -> list[str]:
    """`absolute` of one path, or of several.

    Raises:
        BadPath: one is empty, or relative to a working folder that is gone.
    """
    return [absolute(path) for path in several(paths)]


def is_under(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies below it."""
    return path == folder or path.startswith(os.path.join(folder, ""))
