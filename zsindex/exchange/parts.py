"""clip-retrieval's folder of vectors: numbered parts, each a NumPy array beside a Parquet table of the same rows.

    DIR/img_emb/img_emb_0.npy           (n, dim), float16 or float32
    DIR/metadata/metadata_0.parquet     n rows; the column `image_path` says whose vector a row is
    DIR/zsindex.json                    which model made them; only where zsindex wrote the folder

All numbers of a folder have the same width, as clip-retrieval writes them: its readers sort the names of both kinds.
Nothing here is ever unpickled. pyarrow is imported inside functions: it takes a tenth of a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from zsindex import atomic
from zsindex.errors import DimensionMismatch, ExtraMissing, ImportRefused
from zsindex.records import FloatArray, IdArray

VECTOR_FOLDER = "img_emb"
METADATA_FOLDER = "metadata"
MANIFEST_FILE = "zsindex.json"
# What the parts in each folder are called.
_PLACES = {
    VECTOR_FOLDER: re.compile(rf"{VECTOR_FOLDER}_(\d+)\.npy"),
    METADATA_FOLDER: re.compile(rf"{METADATA_FOLDER}_(\d+)\.parquet"),
}
PATH_COLUMN = "image_path"
DTYPES = ("float16", "float32")
# Each is null where it is not known.
EXTRA_COLUMNS = ("width", "height", "format", "sha256")

# NumPy's own limit; a field of a header as NumPy writes it; and what its values are of an array of numbers.
_MOST_HEADER_BYTES = 10_000
_HEADER_FIELD = re.compile(
    r"""(['"])(?P<name>\w+)\1\s*:\s*(?P<value>'[^']*'|"[^"]*"|True|False|\([\d\s,]*\))\s*(?:,\s*|$)"""
)
_HEADER_VALUES = {
    "descr": re.compile(r"(['\"])[<>=|]?[biufcOSUV]\d{0,9}\1"),
    "fortran_order": re.compile("True|False"),
    "shape": re.compile(r"\((\s*\d{1,18}\s*(,|(?=\))))*\s*\)"),
}

_MANIFEST_FORMAT = "zsindex vectors"
_MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class ExportManifest:
    """What zsindex.json says: of which model the vectors are, and how many there must be."""

    model: str
    precision: str
    decode: str
    fingerprint: str
    dim: int
    dtype: str
    rows: int
    parts: int
    created_at: str
    zsindex: str
    # What vectors were made with before there was a choice, and what their files therefore do not say.
    icc: str = "ignore"
    transparency: str = "reference"
    # SHA-256 in hex of each file, by its path in the folder; empty where it was written before there were any.
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write it into a folder, as the last of its files: then all of them are on the disk.

        Raises:
            OSError
        """
        document = {"format": _MANIFEST_FORMAT, "version": _MANIFEST_VERSION, **asdict(self)}
        for place in _PLACES:
            atomic.sync_folder(folder / place)
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        with (folder / MANIFEST_FILE).open("wb") as opened:
            opened.write(text.encode())
            opened.flush()
            os.fsync(opened.fileno())
        atomic.sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> ExportManifest | None:
        """Read that of a folder; None where there is none.

        Raises:
            ImportRefused: it is not one that this version understands.
        """
        file = folder / MANIFEST_FILE
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(file, error) from error
        except (ValueError, RecursionError) as error:
            raise ImportRefused(file, f"it cannot be read ({error}); export the vectors again") from error
        if not isinstance(document, dict) or document.get("format") != _MANIFEST_FORMAT:
            raise ImportRefused(file, "it was not written by zsindex vectors export; export the vectors again")
        if document.get("version") != _MANIFEST_VERSION:
            raise ImportRefused(
                file,
                f"its version is {_shortened(document.get('version'))}, but this zsindex knows only 1; upgrade zsindex",
            )
        values: dict[str, Any] = {}
        for known in fields(cls):
            if known.name == "files":
                continue
            if known.name not in document and known.default is MISSING:
                raise ImportRefused(file, f"its {known.name!r} is missing; export the vectors again")
            value = values[known.name] = document.get(known.name, known.default)
            if type(value).__name__ != known.type:
                raise ImportRefused(file, f"its {known.name!r} is {_shortened(value)}; export the vectors again")
        digests = document.get("files", {})
        if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
            raise ImportRefused(file, "its 'files' are no checksums; export the vectors again")
        return cls(**values, files=digests)

    def verify(self, part: Part) -> None:
        """Read both files of a part, and compare them with what was written. Older exports do not say what that was.

        Raises:
            ImportRefused: they are not the same.
        """
        if not self.files:
            return
        for file in (part.vectors, part.metadata):
            try:
                digest = _sha256(file)
            except OSError as error:
                raise _unreadable(file, error) from error
            if digest != self.files.get(f"{file.parent.name}/{file.name}"):
                raise ImportRefused(
                    file, "it is not as it was exported, by its checksum; copy it again, or export the vectors again"
                )


@dataclass(frozen=True, slots=True)
class Part:
    """A pair of files that belong together.

    Attributes:
        vectors, metadata: the two files.
        n_rows: of both.
        dtype: of the vectors as they are stored.
        offset: of the first vector, in bytes.
    """

    vectors: Path
    metadata: Path
    n_rows: int
    dim: int
    dtype: np.dtype[Any]
    offset: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Some neighbouring rows of a part.

    Attributes:
        start: number of the first one in its part.
        paths: as they stand in the table, n of them.
        vectors: float32, (n, dim), L2-normalised.
        extra: other columns by name, each n long.
    """

    start: int
    paths: list[str]
    vectors: FloatArray
    extra: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.paths)


# --- reading ----------------------------------------------------------------------------------------------------------


def open_parts(folder: Path, *, dim: int, path_column: str) -> list[Part]:
    """Find the parts of a folder in the order of their numbers, and look at each one's headers, not yet at its rows.

    Raises:
        ImportRefused: something is missing, damaged or of another kind; it is named.
        DimensionMismatch: the vectors do not have `dim` numbers.
        ExtraMissing: pyarrow is not installed.
    """
    vectors = _numbered(folder / VECTOR_FOLDER, _PLACES[VECTOR_FOLDER])
    metadata = _numbered(folder / METADATA_FOLDER, _PLACES[METADATA_FOLDER])
    for one, other, where in ((vectors, metadata, METADATA_FOLDER), (metadata, vectors, VECTOR_FOLDER)):
        for number, file in one.items():
            if number not in other:
                raise ImportRefused(
                    file, f"the part with the same number in {where}/ is missing; copy the whole folder"
                )
    parts = []
    for number in sorted(vectors):
        n_rows, dtype, offset = _npy_header(vectors[number], dim)
        n_described = _check_table(metadata[number], path_column)
        if n_rows != n_described:
            raise ImportRefused(
                metadata[number],
                f"it has {n_described:,} rows and {vectors[number].name} has {n_rows:,}; they are not from the same "
                "export",
            )
        parts.append(Part(vectors[number], metadata[number], n_rows, dim, dtype, offset))
    return parts


def strangers(folder: Path) -> list[str]:
    """What lies in the folders of vectors and metadata, if they are there, and is no part: `open_parts` would leave it
    alone, and so must who replaces an export.

    Raises:
        OSError
    """
    return [
        f"{place}/{name}"
        for place, pattern in _PLACES.items()
        if os.path.lexists(folder / place)
        for name in sorted(os.listdir(folder / place))
        if not pattern.fullmatch(name)
    ]


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    suffix = pattern.pattern.rpartition(".")[2]
    try:
        files = [file for file in folder.iterdir() if file.suffix == f".{suffix}"]
    except OSError as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise _unreadable(folder, error) from error
        why = f"{error.strerror}; it must hold {pattern.pattern.partition('(')[0]}0.{suffix} and so on"
        raise ImportRefused(folder, why) from error
    found: dict[int, Path] = {}
    for file in sorted(files):
        match = pattern.fullmatch(file.name)
        if match is None:
            raise ImportRefused(file, "its name is not that of a numbered part; move it elsewhere")
        number = int(match[1])
        if number in found:
            raise ImportRefused(file, f"{found[number].name} has the same number; keep one of them")
        found[number] = file
    if not found:
        raise ImportRefused(folder, f"it holds no .{suffix} files")
    return found


def _npy_header(file: Path, dim: int) -> tuple[int, np.dtype[Any], int]:
    """Rows, dtype and the place of the first number of a NumPy file."""
    try:
        with file.open("rb") as opened:
            major, _ = np.lib.format.read_magic(opened)
            length = int.from_bytes(opened.read(2 if major == 1 else 4), "little")
            fields = _header_fields(opened.read(min(length, _MOST_HEADER_BYTES + 1)))
            offset, size = opened.tell(), os.fstat(opened.fileno()).st_size
        dtype = np.dtype(fields["descr"].strip("'\""))
        shape = [int(number) for number in re.findall(r"\d+", fields["shape"])]
        fortran_order = fields["fortran_order"] == "True"
    except OSError as error:
        raise _unreadable(file, error) from error
    except (ValueError, TypeError) as error:
        raise ImportRefused(
            file, f"it cannot be read as a NumPy array ({_first_line(error)}); write it with numpy.save"
        ) from error
    if dtype.kind != "f" or dtype.itemsize not in (2, 4):
        raise ImportRefused(file, f"it holds {dtype}, not float16 or float32; convert it with .astype('float32')")
    if len(shape) != 2:
        raise ImportRefused(file, f"it has {len(shape)} axes instead of 2; expected one row per photo")
    if fortran_order:
        raise ImportRefused(file, "it is stored column by column; save it with numpy.ascontiguousarray")
    if shape[1] != dim:
        raise DimensionMismatch(expected=dim, got=shape[1], what=f"the vectors in {file}")
    if size < offset + shape[0] * dim * dtype.itemsize:
        raise _cut_short(file)
    return shape[0], dtype, offset


def _header_fields(header: bytes) -> dict[str, str]:
    """What the header of a NumPy file says, each value as it is written there.

    NumPy's own reading evaluates the header, and fails in as many ways as a Python program can be wrong.

    Raises:
        ValueError: it is not what NumPy writes.
    """
    text = header.decode("latin-1").strip()
    if len(header) > _MOST_HEADER_BYTES or not (text.startswith("{") and text.endswith("}")):
        raise ValueError("its header is damaged")
    fields: dict[str, str] = {}
    rest = text[1:-1].strip()
    while rest:
        match = _HEADER_FIELD.match(rest)
        if match is None:
            raise ValueError("its header is damaged")
        fields[match["name"]] = match["value"]
        rest = rest[match.end() :]
    for name, pattern in _HEADER_VALUES.items():
        if not pattern.fullmatch(fields.get(name, "")):
            raise ValueError(f"its {name!r} is {fields.get(name, 'missing')[:40]}")
    return fields


def _cut_short(file: Path) -> ImportRefused:
    return ImportRefused(file, "it is cut short; copy it again")


def _check_table(file: Path, path_column: str) -> int:
    """Rows of a Parquet file that has a column of texts."""
    pa, _ = _pyarrow()
    with _table(file) as table, _reading(file):
        names, kinds = table.schema_arrow.names, table.schema_arrow.types
        if names.count(path_column) != 1:
            there = ", ".join(name for name in names if not name.startswith("__"))
            raise ImportRefused(file, f"it has no column {path_column!r}; choose one with --path-column: {there}")
        kind = kinds[names.index(path_column)]
        text = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text)):
            raise ImportRefused(file, f"its column {path_column!r} holds {kind}, not text")
        return int(table.metadata.num_rows)


def read_rows(
    part: Part, *, batch_rows: int, path_column: str, extra: Sequence[str] = (), start: int = 0
) -> Iterator[Rows]:
    """Read a part from its first row to its last, or to where the caller stops.

    Raises:
        ImportRefused: a row is no photo with a vector; file and row (from 0) are named.
    """
    row = 0
    with _table(part.metadata) as table, _opened(part.vectors) as file:
        file.seek(part.offset)
        with _reading(part.metadata):
            there = _usable(table.schema_arrow, extra)
            batches = table.iter_batches(batch_size=batch_rows, columns=[path_column, *there])
        while (batch := _next(batches, part.metadata)) is not None:
            columns = {name: _values(batch, name, part.metadata) for name in (path_column, *there)}
            paths = columns[path_column]
            vectors = np.fromfile(file, dtype=part.dtype, count=len(paths) * part.dim)
            if vectors.size < len(paths) * part.dim:
                raise _cut_short(part.vectors)
            if not all(paths):
                which = next(i for i, path in enumerate(paths) if not path)
                raise ImportRefused(part.metadata, f"row {row + which} has no {path_column}")
            unit = _normalised(vectors.reshape(-1, part.dim).astype(np.float32), part.vectors, row)
            yield Rows(row, paths, unit, {name: columns[name] for name in there})
            row += len(paths)
    if row != part.n_rows:
        raise ImportRefused(part.metadata, f"it speaks of {part.n_rows:,} rows and holds {row:,}; copy it again")


def _usable(schema: Any, extra: Sequence[str]) -> list[str]:
    """Those of the `EXTRA_COLUMNS` that are there, each once, with numbers or texts as `PartWriter` writes them."""
    pa, _ = _pyarrow()
    kinds = {name: kind for name, kind in zip(schema.names, schema.types, strict=True) if schema.names.count(name) == 1}

    def fits(name: str) -> bool:
        kind = kinds.get(name)
        if name in ("width", "height"):
            return kind is not None and bool(pa.types.is_int32(kind) or pa.types.is_int64(kind))
        return kind is not None and bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    return [name for name in extra if fits(name)]


def _normalised(vectors: FloatArray, file: Path, row: int) -> FloatArray:
    """Make rows unit vectors, in place. Those that are already, to the precision of float32, keep every bit."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unusable = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(unusable):
        what = "all zeros" if norms[unusable[0]] == 0 else "not finite (NaN, infinite, or too large)"
        raise ImportRefused(file, f"row {row + unusable[0]} is {what}; remove it, and its row of the table")
    if (np.abs(norms - 1) > 1e-6).any():
        vectors /= np.where(np.abs(norms - 1) > 1e-6, norms, np.float32(1))[:, None]
    return vectors


def read_vectors(part: Part, rows: IdArray) -> FloatArray:
    """The vectors of some rows, float32 (len(rows), dim), as they are stored: not normalised."""
    stored = np.memmap(part.vectors, part.dtype, "r", part.offset, (part.n_rows, part.dim))
    return stored[rows].astype(np.float32)


@contextmanager
def _table(file: Path) -> Iterator[Any]:
    """A Parquet file that is open for reading."""
    _, parquet = _pyarrow()
    with _reading(file):
        table = parquet.ParquetFile(file)
    with table:
        yield table


def _next(batches: Iterator[Any], file: Path) -> Any:
    with _reading(file):
        return next(batches, None)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Names the file in whatever pyarrow says of it; not all of that is an exception of its own."""
    pa, _ = _pyarrow()
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, MemoryError, pa.ArrowException) as error:
        raise _bad_table(file, error) from error


def _values(batch: Any, name: str, file: Path) -> list[Any]:
    with _reading(file):
        try:
            values: list[Any] = batch.column(name).to_pylist()
        except UnicodeDecodeError as error:
            raise ImportRefused(
                file, f"its column {name!r} holds bytes that are not UTF-8; write the table again"
            ) from error
        return values


def _unreadable(file: Path, error: OSError) -> ImportRefused:
    """What the system says of a file; nothing is known of what it holds."""
    why = f"it cannot be read ({error.strerror or error}); see to that, and import again: what came in stays"
    return ImportRefused(file, why)


def _bad_table(file: Path, error: Exception) -> ImportRefused:
    if isinstance(error, OSError) and error.errno is not None:
        return _unreadable(file, error)
    if isinstance(error, MemoryError):  # also Arrow's
        return ImportRefused(file, "there is too little memory to read it; close other programs, and import again")
    return ImportRefused(file, f"it cannot be read as Parquet ({_first_line(error)}); copy it again")


def _shortened(value: object) -> str:
    return repr(value)[:80]


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise _unreadable(file, error) from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ExtraMissing("pyarrow", extra="parquet", why="vectors are exchanged with a Parquet table") from error
    return pyarrow, parquet


# --- writing ----------------------------------------------------------------------------------------------------------


class PartWriter:
    """Writes one part, a batch of rows at a time. Use as a context manager; at its end both files are on the disk.

    Attributes:
        files: the two.
        digests: their SHA-256 by their paths in the folder, once they are written.
    """

    def __init__(
        self, folder: Path, number: str, *, n_rows: int, dim: int, dtype: str, more: Sequence[tuple[str, Any]] = ()
    ) -> None:
        """Args:
        number: padded.
        n_rows: how many will be written: a NumPy file says so at its beginning.
        dtype: one of `DTYPES`.
        more: names and types of further columns.
        """
        pa, parquet = _pyarrow()
        texts = (PATH_COLUMN, "format", "sha256")
        own = [(name, pa.string() if name in texts else pa.int32()) for name in (PATH_COLUMN, *EXTRA_COLUMNS)]
        self._schema = pa.schema([*own, *more])
        self._batch = pa.RecordBatch
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self.files = (
            folder / VECTOR_FOLDER / f"{VECTOR_FOLDER}_{number}.npy",
            folder / METADATA_FOLDER / f"{METADATA_FOLDER}_{number}.parquet",
        )
        for file in self.files:
            file.parent.mkdir(exist_ok=True)
        self.digests: dict[str, str] = {}
        self._vectors = self.files[0].open("wb")
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (n_rows, dim)}
        np.lib.format.write_array_header_1_0(self._vectors, header)
        self._table = parquet.ParquetWriter(self.files[1], self._schema)

    def __enter__(self) -> Self:
        return self

    def write(self, vectors: FloatArray, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows: float32 (n, dim), and n values for `PATH_COLUMN`, each of `EXTRA_COLUMNS`, and all others."""
        self._vectors.write(np.ascontiguousarray(vectors, dtype=self._dtype).data)
        self._table.write_batch(self._batch.from_pydict(dict(columns), schema=self._schema))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._vectors.close()
        finally:
            try:
                self._table.close()
            except BaseException:
                self._table.is_open = False  # it would say the same again when it is forgotten
                raise
        if error is None:
            for file in self.files:
                with file.open("rb+") as opened:
                    os.fsync(opened.fileno())
                self.digests[f"{file.parent.name}/{file.name}"] = _sha256(file)


def padded(number: int, n_parts: int) -> str:
    """A part's number as it stands in the names of files."""
    return str(number).zfill(len(str(n_parts)))
