"""Which photos fit a filter: expressions of `zsindex.where`, evaluated on columns of facts, all photos at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.arguments import filters as says
from zsindex.storage.facts_table import NO_TIME, FactsTable, Texts
from zsindex.where import Filter, Where

Fits: TypeAlias = npt.NDArray[np.bool_]

EARTH_KM = 6371.0088
_MOST_PAIRS = 2**20
_HOUR_US, _DAY_US = 3_600_000_000, 86_400_000_000
# Several pictures in one file of JPEG, as many cameras write them.
_ALSO = {"JPEG": {"JPEG", "MPO"}}


def fits(where: Where, table: FactsTable, answers: Callable[[Filter], Fits]) -> Fits:
    """Which files fit: bool (n,).

    Args:
        table: the facts of n files.
        answers: for a filter of the kinds ``answer`` and ``corrected``, which of the files fit it.
    """

    def of(said: Mapping[str, Any]) -> Fits:
        [(name, value)] = said.items()
        if name == "not":
            return ~of(value)
        if name in ("and", "or"):
            join = np.logical_and if name == "and" else np.logical_or
            found = of(value[0])
            for part in value[1:]:
                found = join(found, of(part))
            return found
        if name in _FITS:
            return _FITS[name](value, table)
        return answers(Filter(name, value))

    return of(where.to_json())


# --- times ------------------------------------------------------------------------------------------------------------


def _since(value: str, table: FactsTable) -> Fits:
    return _known(table) & np.asarray(table.taken_us >= says.period(value)[0])


def _until(value: str, table: FactsTable) -> Fits:
    return _known(table) & np.asarray(table.taken_us <= says.period(value)[1])


def _known(table: FactsTable) -> Fits:
    return np.asarray(table.taken_us != NO_TIME)


def _year(value: str, table: FactsTable) -> Fits:
    found = np.zeros(len(table), dtype=bool)
    for low, high in says.years(value):
        first, last = says.period(f"{int(low):04}")[0], says.period(f"{int(high):04}")[1]
        found |= (table.taken_us >= first) & (table.taken_us <= last)
    return found


def _month(value: str, table: FactsTable) -> Fits:
    months = table.taken_us.view("<M8[us]").astype("<M8[M]").astype(np.int64) % 12 + 1
    return _known(table) & _within(months, says.months(value))


def _hour(value: str, table: FactsTable) -> Fits:
    return _known(table) & _within(table.taken_us % _DAY_US // _HOUR_US, says.hours(value))


def _within(numbers: npt.NDArray[Any], ranges: says.Ranges) -> Fits:
    """Which numbers lie in one of some ranges; one that ends before it begins goes over the turn."""
    found = np.zeros(len(numbers), dtype=bool)
    for low, high in ranges:
        over = np.logical_and if low <= high else np.logical_or
        found |= over(numbers >= low, numbers <= high)
    return found


# --- texts ------------------------------------------------------------------------------------------------------------


def _having(texts: Texts, wanted: Callable[[str], bool]) -> Fits:
    """Which photos have a text that is wanted. Each text is looked at once."""
    of_text = np.array([*map(wanted, texts.texts), False], dtype=bool)  # the last one is that of -1
    return of_text[texts.codes]


def _is_named(value: str) -> Callable[[str], bool]:
    if value.startswith("="):
        name = says.folded(value[1:])
        return lambda text: says.folded(text) == name
    part = says.folded(value)
    return lambda text: part in says.folded(text)


def _camera(value: str, table: FactsTable) -> Fits:
    wanted, make, model = _is_named(value), table.make, table.camera
    pair_of = (make.codes.astype(np.int64) + 1) * (len(model.texts) + 1) + model.codes + 1
    n_pairs = (len(make.texts) + 1) * (len(model.texts) + 1)
    if n_pairs <= _MOST_PAIRS:  # counting them takes a tenth of the time of sorting them
        pairs, back = np.flatnonzero(np.bincount(pair_of, minlength=n_pairs)), None
    else:
        pairs, back = np.unique(pair_of, return_inverse=True)
    of_pair = []
    for of_make, of_model in (divmod(pair, len(model.texts) + 1) for pair in pairs.tolist()):
        maker = make.texts[of_make - 1] if of_make else ""
        name = model.texts[of_model - 1] if of_model else ""
        # Most models have their maker's name in front of them.
        both = name if says.folded(name).startswith(says.folded(maker)) else f"{maker} {name}".strip()
        of_pair.append(bool(both) and (wanted(both) or (bool(name) and wanted(name))))
    if back is not None:
        found: Fits = np.array(of_pair, dtype=bool)[back]
        return found
    fitting: Fits = np.zeros(n_pairs, dtype=bool)
    fitting[pairs] = of_pair
    of_photo: Fits = fitting[pair_of]
    return of_photo


def _lens(value: str, table: FactsTable) -> Fits:
    return _having(table.lens, _is_named(value))


def _keyword(value: str, table: FactsTable) -> Fits:
    wanted = says.levels_of(value)
    n = len(wanted)

    def has(keyword: str) -> bool:
        levels = says.levels_of(keyword)
        return any(levels[at : at + n] == wanted for at in range(len(levels) - n + 1))

    return table.keywords.rows_with([code for code, text in enumerate(table.keywords.texts) if has(text)])


def _file_format(value: str, table: FactsTable) -> Fits:
    wanted = _ALSO.get(value, {value})
    return _having(table.format, lambda text: text.upper() in wanted)


# --- places -----------------------------------------------------------------------------------------------------------


def _near(value: str, table: FactsTable) -> Fits:
    latitude, longitude, km = says.near_of(value)
    found = np.zeros(len(table), dtype=bool)
    # A degree of latitude is 111 km everywhere, so that most photos need no sines.
    close = np.flatnonzero(np.abs(table.latitude - latitude) <= km / 111 + 0.001)
    distances = distances_km(latitude, longitude, table.latitude[close], table.longitude[close])
    found[close] = distances <= km + 1e-6  # a millimetre more, by which sines are wrong
    return found


def distances_km(
    latitude: float, longitude: float, latitudes: npt.NDArray[np.float64], longitudes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Great-circle distances from a place, on a sphere; NaN where there is no place."""
    one, others = np.radians(latitude), np.radians(latitudes)
    # The haversine formula: exact for small distances, as the law of cosines is not.
    half = (
        np.sin((others - one) / 2) ** 2
        + np.cos(one) * np.cos(others) * np.sin(np.radians(longitudes - longitude) / 2) ** 2
    )
    found: npt.NDArray[np.float64] = 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))
    return found


def _box(value: str, table: FactsTable) -> Fits:
    south, west, north, east = says.box_of(value)
    if west > east:
        east += 360
    beside = np.zeros(len(table), dtype=bool)
    for turn in (-360, 0, 360):  # the 180th meridian is the -180th
        beside |= (table.longitude + turn >= west) & (table.longitude + turn <= east)
    # A pole lies on every meridian.
    beside |= np.abs(table.latitude) == 90
    return beside & (table.latitude >= south) & (table.latitude <= north)


# --- what else --------------------------------------------------------------------------------------------------------


def _rating(value: str, table: FactsTable) -> Fits:
    return _within(table.rating, says.ratings(value))


def _orientation(value: str, table: FactsTable) -> Fits:
    more = {"landscape": np.greater, "portrait": np.less, "square": np.equal}[value]
    return more(table.width, table.height) & (table.width > 0) & (table.height > 0)


def _min_size(value: str, table: FactsTable) -> Fits:
    longer, shorter, pixels = says.size_of(value)
    width, height = table.width.astype(np.int64), table.height.astype(np.int64)
    return (
        (width > 0)
        & (np.maximum(width, height) >= longer)
        & (np.minimum(width, height) >= shorter)
        & (width * height >= pixels)
    )


def _path(value: str, table: FactsTable) -> Fits:
    below = os.path.join(value, "")
    return np.array([path.startswith(below) or path == value for path in table.paths], dtype=bool)


def _has(value: str, table: FactsTable) -> Fits:
    known: Mapping[str, Callable[[], Fits]] = {
        "camera": lambda: (table.camera.codes >= 0) | (table.make.codes >= 0),
        "keyword": lambda: np.diff(table.keywords.offsets) > 0,
        "lens": lambda: table.lens.codes >= 0,
        "place": lambda: ~np.isnan(table.latitude) & ~np.isnan(table.longitude),
        "rating": lambda: ~np.isnan(table.rating),
        "taken": lambda: _known(table),
    }
    return known[value]()


_FITS: Mapping[str, Callable[[str, FactsTable], Fits]] = {
    "since": _since,
    "until": _until,
    "year": _year,
    "month": _month,
    "hour": _hour,
    "camera": _camera,
    "lens": _lens,
    "near": _near,
    "box": _box,
    "rating": _rating,
    "keyword": _keyword,
    "file_format": _file_format,
    "orientation": _orientation,
    "min_size": _min_size,
    "path": _path,
    "has": _has,
}
