"""Facts of all photos as columns, for whoever asks something of all of them at once: arrays, one place for each file.

Light: numpy and nothing else.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from zsindex.photos import dates
from zsindex.records import Facts, IdArray

# What stands where there is no time, and no offset from UTC.
NO_TIME = int(np.iinfo(np.int64).min)
NO_OFFSET = int(np.iinfo(np.int32).min)
# What the codes of `FactsTable.taken_from` stand for.
TAKEN_FROM = (None, "exif", "xmp", "name", "file")

Numbers: TypeAlias = npt.NDArray[np.float64]
Whole: TypeAlias = npt.NDArray[np.int32]
Small: TypeAlias = npt.NDArray[np.int8]
Flags: TypeAlias = npt.NDArray[np.bool_]

_TEXTS = ("make", "camera", "lens", "format")
# Columns of numbers, with their type, and what they hold of a photo's facts.
_COLUMNS: Mapping[str, tuple[type[np.generic], Callable[[Facts], float]]] = {
    "taken_us": (np.int64, lambda f: NO_TIME if f.taken is None else dates.microseconds(f.taken.at)),
    "taken_from": (np.int8, lambda f: 0 if f.taken is None else TAKEN_FROM.index(str(f.taken.source))),
    "offset_s": (np.int32, lambda f: NO_OFFSET if f.taken is None or f.taken.offset_s is None else f.taken.offset_s),
    "focal_length_mm": (np.float64, lambda f: _number(f.focal_length_mm)),
    "aperture": (np.float64, lambda f: _number(f.aperture)),
    "exposure_s": (np.float64, lambda f: _number(f.exposure_s)),
    "iso": (np.float64, lambda f: _number(f.iso)),
    "latitude": (np.float64, lambda f: math.nan if f.place is None else f.place.latitude),
    "longitude": (np.float64, lambda f: math.nan if f.place is None else f.place.longitude),
    "altitude_m": (np.float64, lambda f: math.nan if f.place is None else _number(f.place.altitude_m)),
    "width": (np.int32, lambda f: f.width or 0),
    "height": (np.int32, lambda f: f.height or 0),
    "orientation": (np.int8, lambda f: f.orientation or 0),
    "animated": (np.int8, lambda f: -1 if f.animated is None else int(f.animated)),
    "rating": (np.float64, lambda f: _number(f.rating)),
}
# Of the file, which says so: other versions make it anew.
_VERSION = 1


def _number(value: float | None) -> float:
    return math.nan if value is None else value


@dataclass(frozen=True, eq=False)
class Texts:
    """A text of each photo, or none.

    Attributes:
        codes: int32 (n,), where it stands in `texts`; -1 for none.
        texts: each once; some may be no photo's.
    """

    codes: Whole
    texts: list[str]


@dataclass(frozen=True, eq=False)
class Keywords:
    """Any number of texts of each photo.

    Attributes:
        offsets: int64 (n + 1,): those of photo i are ``codes[offsets[i]:offsets[i + 1]]``, in their order.
        codes: int32 (m,), where they stand in `texts`.
        texts: each once; some may be no photo's.
    """

    offsets: IdArray
    codes: Whole
    texts: list[str]

    def rows_with(self, codes: Collection[int]) -> Flags:
        """Which photos have at least one of these: bool (n,)."""
        found = np.isin(self.codes, np.fromiter(codes, np.int32, len(codes)))
        until = np.concatenate(([0], np.cumsum(found, dtype=np.int64)))
        return until[self.offsets[1:]] > until[self.offsets[:-1]]

    def of(self, row: int) -> tuple[str, ...]:
        """Those of a photo."""
        return tuple(self.texts[code] for code in self.codes[self.offsets[row] : self.offsets[row + 1]])

    def take(self, rows: IdArray) -> Keywords:
        """Those of some photos."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return Keywords(offsets, self.codes[np.repeat(self.offsets[rows], counts) + within], self.texts)


@dataclass(frozen=True, eq=False)
class FactsTable:
    """Facts of files that are there and show an image, of their content, sidecar, name and time together, in the order
    of `zsindex.storage.protocol.Reads.files`. It does not change when the library does.

    Attributes:
        state: (files_revision, facts_revision), see `zsindex.storage.protocol.Reads.facts_state`.
        image_ids: int64 (n,).
        mtimes_ns: int64 (n,), of the files.
        was_read: whether the metadata of the image was read; of one encoded before facts were kept it was not.
        taken_us: int64 (n,), microseconds since 1970 by the clock on the wall; `NO_TIME`.
        taken_from: int8 (n,), codes of `TAKEN_FROM`; 0 for none.
        offset_s: int32 (n,), of that clock from UTC; `NO_OFFSET`.
        focal_length_mm, aperture, exposure_s, iso, latitude, longitude, altitude_m, rating: float64 (n,); NaN for none.
        width, height: int32 (n,), upright, in pixels; 0 for none.
        orientation: int8 (n,), EXIF's, from 1 to 8; 0 for none.
        animated: int8 (n,), 1 or 0; -1 where it is not known.
    """

    state: tuple[int, int]
    packed_paths: npt.NDArray[np.uint8]
    image_ids: IdArray
    mtimes_ns: IdArray
    was_read: Flags
    taken_us: IdArray
    taken_from: Small
    offset_s: Whole
    make: Texts
    camera: Texts
    lens: Texts
    format: Texts
    focal_length_mm: Numbers
    aperture: Numbers
    exposure_s: Numbers
    iso: Numbers
    latitude: Numbers
    longitude: Numbers
    altitude_m: Numbers
    width: Whole
    height: Whole
    orientation: Small
    animated: Small
    rating: Numbers
    keywords: Keywords

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def paths(self) -> list[str]:
        """Of the files."""
        return unpacked(self.packed_paths)

    def rows_of(self, paths: Sequence[str], image_ids: IdArray) -> IdArray:
        """The places of photos in here, int64 (m,); -1 for those that are not.

        Args:
            paths: of the photos, m of them, as those of a `zsindex.classification.view.View`.
            image_ids: int64 (m,), of the same.
        """
        if np.array_equal(image_ids, self.image_ids) and paths == self.paths:
            return np.arange(len(self), dtype=np.int64)
        rows = self.rows_of_paths(paths)
        same = self.image_ids[rows] == image_ids if len(self) else np.zeros(len(paths), bool)
        return np.where((rows >= 0) & same, rows, -1)

    def rows_of_paths(self, paths: Sequence[str]) -> IdArray:
        """The places of files in here, int64 (m,); -1 for those that are not."""
        place = self._places
        return np.fromiter((place.get(path, -1) for path in paths), np.int64, len(paths))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self.paths)}

    def take(self, rows: IdArray) -> FactsTable:
        """Some of them, in that order."""
        paths = self.paths
        return self._made(
            self.state,
            packed([paths[row] for row in rows.tolist()]),
            {name: column[rows] for name, column in self._arrays().items()},
            {name: Texts(found.codes[rows], found.texts) for name, found in self._texts().items()},
            self.keywords.take(rows),
        )

    # --- making -------------------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        state: tuple[int, int],
        files: Sequence[tuple[str, int, int]],
        said: Iterable[tuple[bool, Facts]],
        *,
        beside: FactsTable | None = None,
    ) -> FactsTable:
        """A table of files.

        Args:
            files: path, id of the image, and time in nanoseconds of each.
            said: whether the metadata of the image was read, and the facts, of each.
            beside: a table that this one is to be put together with (`merged`): codes stand for the same texts.
        """
        known = {} if beside is None else beside._texts()
        texts = {name: {t: i for i, t in enumerate(known[name].texts if known else ())} for name in _TEXTS}
        words = {text: code for code, text in enumerate(() if beside is None else beside.keywords.texts)}
        codes: dict[str, list[int]] = {name: [] for name in _TEXTS}
        numbers: dict[str, list[float]] = {name: [] for name in _COLUMNS}
        was_read: list[bool] = []
        offsets, of_keywords = [0], []
        for is_read, facts in said:
            was_read.append(is_read)
            for name, (_, value) in _COLUMNS.items():
                numbers[name].append(value(facts))
            for name, known_texts in texts.items():
                text = getattr(facts, name)
                codes[name].append(-1 if text is None else known_texts.setdefault(text, len(known_texts)))
            of_keywords += [words.setdefault(word, len(words)) for word in facts.keywords]
            offsets.append(len(of_keywords))
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.array(numbers[name], kind) for name, (kind, _) in _COLUMNS.items()
        }
        arrays["was_read"] = np.array(was_read, bool)
        arrays["image_ids"] = np.array([image_id for _, image_id, _ in files], np.int64)
        arrays["mtimes_ns"] = np.array([mtime_ns for _, _, mtime_ns in files], np.int64)
        return cls._made(
            state,
            packed([path for path, _, _ in files]),
            arrays,
            {name: Texts(np.array(codes[name], np.int32), list(texts[name])) for name in _TEXTS},
            Keywords(np.array(offsets, np.int64), np.array(of_keywords, np.int32), list(words)),
        )

    def merged(self, rows: IdArray, fresh: FactsTable, order: IdArray) -> FactsTable:
        """Some of these photos, and those of another table which was made beside this one.

        Args:
            rows: of these.
            order: where each of the result is from: its place among the rows, or beyond their number among the others.
        """
        old = self.take(rows)
        arrays = {name: np.concatenate((column, fresh._arrays()[name])) for name, column in old._arrays().items()}
        texts = {
            name: Texts(np.concatenate((found.codes, more.codes)), more.texts)
            for name, found in old._texts().items()
            for more in [fresh._texts()[name]]
        }
        offsets = np.concatenate((old.keywords.offsets, fresh.keywords.offsets[1:] + old.keywords.offsets[-1]))
        codes = np.concatenate((old.keywords.codes, fresh.keywords.codes))
        both = packed([*old.paths, *fresh.paths])
        keywords = Keywords(offsets, codes, fresh.keywords.texts)
        return self._made(fresh.state, both, arrays, texts, keywords).take(order)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in ("image_ids", "mtimes_ns", "was_read", *_COLUMNS)}

    def _texts(self) -> dict[str, Texts]:
        return {name: getattr(self, name) for name in _TEXTS}

    @classmethod
    def _made(
        cls,
        state: tuple[int, int],
        paths: npt.NDArray[np.uint8],
        arrays: Mapping[str, npt.NDArray[Any]],
        texts: Mapping[str, Texts],
        keywords: Keywords,
    ) -> FactsTable:
        columns: dict[str, Any] = {**arrays, **texts}
        return cls(state=state, packed_paths=paths, keywords=keywords, **columns)

    # --- in a file ----------------------------------------------------------------------------------------------------

    def write(self, file: IO[bytes]) -> None:
        """Write it, so that `read` finds it again. The checksums are those of the archive."""
        arrays: dict[str, Any] = {
            "about": packed([json.dumps([_VERSION, *self.state, _zone()])]),
            "paths": self.packed_paths,
            "offsets": self.keywords.offsets,
            "keywords": self.keywords.codes,
            "words": packed(self.keywords.texts),
            **self._arrays(),
            **{name: found.codes for name, found in self._texts().items()},
            **{f"{name}_texts": packed(found.texts) for name, found in self._texts().items()},
        }
        np.savez(file, **arrays)

    @classmethod
    def read(cls, file: IO[bytes]) -> FactsTable | None:
        """What `write` wrote; None where it is damaged, of another version, or was written where clocks show another
        time: those of files are local.
        """
        try:
            with np.load(file, allow_pickle=False) as found:
                version, files_revision, facts_revision, zone = json.loads(unpacked(found["about"])[0])
                if (version, zone) != (_VERSION, _zone()):
                    return None
                return cls._made(
                    (files_revision, facts_revision),
                    found["paths"],
                    {name: found[name] for name in ("image_ids", "mtimes_ns", "was_read", *_COLUMNS)},
                    {name: Texts(found[name], unpacked(found[f"{name}_texts"])) for name in _TEXTS},
                    Keywords(found["offsets"], found["keywords"], unpacked(found["words"])),
                )
        except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile, NotImplementedError):
            return None


def _zone() -> str:
    return f"{time.tzname} {time.timezone}"


def packed(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Texts without zeros as bytes, with a zero behind each."""
    joined = "".join([f"{text}\0" for text in texts])
    return np.frombuffer(joined.encode("utf-8", "surrogateescape"), np.uint8)


def unpacked(texts: npt.NDArray[np.uint8]) -> list[str]:
    """What `packed` has packed."""
    return texts.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
