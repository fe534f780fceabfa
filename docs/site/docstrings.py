"""Reads zsindex's docstrings to griffe, which takes one name for each entry of a section.

Here several names may share an entry: parameters that mean the same, and errors. An error may stand by its name alone,
since its own docstring says what it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

SECTION = re.compile(r"(Args|Attributes|Keys|Raises):")
ENTRY = re.compile(r"( +)(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?::(?: (.*))?)?")


class OneNameEach(griffe.Extension):
    """Gives each name an entry of its own, with what is said of all of them."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        if pkg.path == "zsindex":
            _rewrite(pkg, {name: _summary(error) for name, error in pkg["errors"].classes.items()})


def _summary(error: griffe.Class) -> str:
    """The first paragraph of an error's docstring, in one line."""
    return "" if error.docstring is None else " ".join(error.docstring.value.split("\n\n")[0].split())


def _rewrite(thing: griffe.Object, errors: dict[str, str]) -> None:
    for member in thing.members.values():
        if isinstance(member, griffe.Object):  # an alias leads to what stands elsewhere
            _rewrite(member, errors)
    if thing.docstring is not None:
        thing.docstring.value = "\n".join(_lines(thing.docstring.value.split("\n"), errors))


def _lines(lines: list[str], errors: dict[str, str]) -> Iterator[str]:
    section, waiting = "", list(lines)
    while waiting:
        line = waiting.pop(0)
        found = SECTION.fullmatch(line)
        if line == "Keys:":  # of a dictionary, which is what its class declares as attributes
            line = "Attributes:"
        if found or (line and not line.startswith(" ")):
            section = found[1] if found else ""
        entry = ENTRY.fullmatch(line) if section else None
        if entry is None:
            yield line
            continue
        indent, names, text = entry.groups()
        more = []
        while waiting and waiting[0].startswith(f"{indent} "):
            more.append(waiting.pop(0))
        for name in names.split(", "):
            yield f"{indent}{name}: {text or ('' if more else errors.get(name, '…'))}"
            yield from more
