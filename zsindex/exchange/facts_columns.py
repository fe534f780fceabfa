"""Facts as columns of tables that others read: texts, numbers and lists, None for what is not known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from zsindex.photos.dates import from_microseconds
from zsindex.records import IdArray
from zsindex.storage.facts_table import NO_OFFSET, NO_TIME, TAKEN_FROM, FactsTable, Texts

_NUMBERS = ("focal_length_mm", "aperture", "exposure_s")
PLACE = ("latitude", "longitude", "altitude_m")
NAMES = (
    *("taken", "taken_from", "offset_s", "make", "camera", "lens", *_NUMBERS, "iso"),
    *("width", "height", "orientation", "rating", "keywords"),
)


def columns(table: FactsTable, rows: IdArray, *, place: bool) -> dict[str, list[Any]]:
    """Columns of some photos.

    Args:
        rows: int64 (n,), their places in the table; -1 for those that are not in it.
        place: also where they were taken.
    """
    there = rows >= 0
    chosen = table.take(np.maximum(rows, 0)) if len(table) else table
    if not len(table):
        return {name: [None] * len(rows) for name in (*NAMES, *(PLACE if place else ()))}
    found: dict[str, list[Any]] = {
        "taken": [None if at == NO_TIME else from_microseconds(at).isoformat() for at in chosen.taken_us.tolist()],
        "taken_from": [TAKEN_FROM[code] for code in chosen.taken_from.tolist()],
        "offset_s": [None if offset == NO_OFFSET else offset for offset in chosen.offset_s.tolist()],
        **{name: _texts(getattr(chosen, name)) for name in ("make", "camera", "lens")},
        **{name: _numbers(getattr(chosen, name)) for name in _NUMBERS},
        "iso": [None if iso is None else int(iso) for iso in _numbers(chosen.iso)],
        **{name: [size or None for size in getattr(chosen, name).tolist()] for name in ("width", "height")},
        "orientation": [turn or None for turn in chosen.orientation.tolist()],
        "rating": _numbers(chosen.rating),
        "keywords": [list(chosen.keywords.of(row)) for row in range(len(chosen))],
        **({name: _numbers(getattr(chosen, name)) for name in PLACE} if place else {}),
    }
    if not there.all():
        found = {
            name: [value if is_there else None for value, is_there in zip(values, there.tolist(), strict=True)]
            for name, values in found.items()
        }
    return found


def _texts(column: Texts) -> list[str | None]:
    return [None if code < 0 else column.texts[code] for code in column.codes.tolist()]


def _numbers(column: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]
