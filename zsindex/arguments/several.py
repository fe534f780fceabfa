"""The rule for arguments that take several: one counts as a list of one."""

from __future__ import annotations

from typing import Any


def several(given: Any) -> list[Any]:
    """What was given, as a list: a single text, path, image or number is a list of one.

    A text can be walked through as well, letter by letter, and bytes number by number: "zebra" would be five labels,
    and "/photos" would begin with the folder "/". Whatever takes several goes through here, so that nothing does that.
    """
    if isinstance(given, (str, bytes, bytearray, memoryview)):
        return [given]
    try:
        items = iter(given)
    except TypeError:  # a path object, a PIL image, a number
        return [given]
    return list(items)
