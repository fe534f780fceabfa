"""Answers as Parquet tables. pyarrow is imported inside functions: it takes a tenth of a second.

Every table names its run in the schema's metadata: ``zsindex.run`` is the key of the run, ``zsindex`` the whole run as
JSON. Both can be read without reading a row.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from zsindex import atomic
from zsindex.errors import ExportRefused, ExtraMissing
from zsindex.records import FloatArray, IdArray

File: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
# By name a value of each photo.
Columns: TypeAlias = "Mapping[str, Sequence[Any]]"
_NO_FACTS: Columns = {}
# Paths of some photos, how many predictions each has, and a list per rank of label numbers, and one of scores.
Block: TypeAlias = "tuple[list[str], list[int], list[list[int]], list[list[float]]]"


def write_predictions(
    file: File, blocks: Iterable[Block], labels: Sequence[str], *, run: Mapping[str, Any], facts: Columns = _NO_FACTS
) -> None:
    """Write a row per prediction: ``path``, ``rank`` (int16, from 1), ``label``, ``score`` (float32), ``run``.

    Args:
        labels: what the numbers stand for.
        run: the whole run, including its ``key``.
        facts: further columns, a value for each photo.

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
    pa, _ = _pyarrow()
    word = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [
            *(("path", pa.string()), ("rank", pa.int16()), ("label", word), ("score", pa.float32()), ("run", word)),
            *facts_fields(facts),
        ],
        metadata=_about(run),
    )
    names = pa.array(labels, pa.string())
    done = 0
    with _writer(file, schema) as writer:
        for photos, counts, numbers, scores in blocks:
            there = np.arange(len(numbers)) < np.array(counts)[:, None]
            ranks = np.broadcast_to(np.arange(1, len(numbers) + 1, dtype=np.int16), there.shape)[there]
            paths = [path for path, count in zip(photos, counts, strict=True) for _ in range(count)]
            columns = [
                pa.array(paths, pa.string()),
                pa.array(ranks),
                pa.DictionaryArray.from_arrays(pa.array(np.array(numbers, dtype=np.int32).T[there]), names),
                pa.array(np.array(scores, dtype=np.float32).T[there]),
                _column_of(run, len(paths)),
                *facts_arrays(facts, np.repeat(np.arange(done, done + len(photos)), counts)),
            ]
            done += len(photos)
            writer.write_batch(pa.record_batch(columns, schema))


def write_scores(
    file: File,
    blocks: Iterable[tuple[list[str], FloatArray]],
    columns: Sequence[str],
    *,
    run: Mapping[str, Any],
    facts: Columns = _NO_FACTS,
) -> None:
    """Write a row per photo: ``path``, ``run``, then a column of float32 scores per answer.

    Args:
        blocks: paths, and scores float32 (m, len(columns)).
        run, facts: as for `write_predictions`. A fact called like an answer gets an underscore.

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
    pa, _ = _pyarrow()
    word = pa.dictionary(pa.int32(), pa.string())
    of_answers = [(name, pa.float32()) for name in columns]
    head = [("path", pa.string()), ("run", word), *of_answers]
    schema = pa.schema([*head, *facts_fields(facts, taken=columns)], metadata=_about(run))
    done = 0
    with _writer(file, schema) as writer:
        for paths, scores in blocks:
            by_answer = [pa.array(column) for column in np.ascontiguousarray(scores.T)]
            of_facts = facts_arrays(facts, np.arange(done, done + len(paths)))
            done += len(paths)
            head_columns = [pa.array(paths, pa.string()), _column_of(run, len(paths))]
            writer.write_batch(pa.record_batch([*head_columns, *by_answer, *of_facts], schema))


def write_hits(
    hits: Sequence[tuple[str, float, Sequence[str]]],
    file: File,
    *,
    fits: Sequence[bool | None] | None = None,
    facts: Columns = _NO_FACTS,
) -> None:
    """Write search results: ``rank`` (int32, from 1), ``score`` (float32), ``path``, ``copies`` (a list), and if given
    ``fits`` (bool).

    Args:
        hits: path, score and copies of each, best first.
        fits: whether each fits the query.
        facts: further columns, a value for each of them.

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
    pa, _ = _pyarrow()
    fields = [("rank", pa.int32()), ("score", pa.float32()), ("path", pa.string()), ("copies", pa.list_(pa.string()))]
    schema = pa.schema([*fields, *([] if fits is None else [("fits", pa.bool_())]), *facts_fields(facts)])
    columns = [
        pa.array(range(1, len(hits) + 1), pa.int32()),
        pa.array([score for _, score, _ in hits], pa.float32()),
        pa.array([path for path, _, _ in hits], pa.string()),
        pa.array([list(copies) for _, _, copies in hits], pa.list_(pa.string())),
        *([] if fits is None else [pa.array(list(fits), pa.bool_())]),
        *facts_arrays(facts, np.arange(len(hits))),
    ]
    with _writer(file, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema))


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that gets the name of `folder` at the end of the ``with`` block, and goes if that fails.

    Raises:
        ExportRefused: there is something already, or the system refuses.
    """
    _pyarrow()
    try:
        if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or os.listdir(folder)):
            raise ExportRefused(folder, "there is something already; name a new or empty folder")
        temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        temporary.mkdir(parents=True)
        try:
            yield temporary
            temporary.replace(folder)  # takes the place of an empty folder, and of no other
            atomic.sync_folder(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ExportRefused(folder, f"{why}; nothing was written. When the cause is gone, export again") from error


def facts_fields(facts: Columns, taken: Sequence[str] = ()) -> list[tuple[str, Any]]:
    """Names and types of the columns of facts."""
    pa, _ = _pyarrow()
    kinds = {
        **dict.fromkeys(("image_id", "offset_s", "iso", "width", "height", "orientation"), pa.int64()),
        **dict.fromkeys(("digest", "taken_from", "make", "camera", "lens"), pa.string()),
        "taken": pa.timestamp("us"),
        "keywords": pa.list_(pa.string()),
    }
    return [(f"{name}_" if name in taken else name, kinds.get(name, pa.float64())) for name in facts]


def facts_arrays(facts: Columns, rows: IdArray) -> list[Any]:
    """The columns of facts of some photos, by their numbers."""
    pa, _ = _pyarrow()
    found = []
    for name, (_, kind) in zip(facts, facts_fields(facts), strict=True):
        values = [facts[name][row] for row in rows.tolist()]
        if name == "taken":
            values = [None if at is None else datetime.fromisoformat(at) for at in values]
        found.append(pa.array(values, kind))
    return found


def _about(run: Mapping[str, Any]) -> dict[str, str]:
    return {"zsindex.run": run["key"], "zsindex": json.dumps(run, ensure_ascii=False)}


def _column_of(run: Mapping[str, Any], n: int) -> Any:
    pa, _ = _pyarrow()
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), pa.array([run["key"]]))


@contextmanager
def _writer(file: File, schema: Any) -> Iterator[Any]:
    _, parquet = _pyarrow()
    with ExitStack() as stack:
        if isinstance(file, (str, os.PathLike)):
            file = stack.enter_context(atomic.writing(file))
        yield stack.enter_context(parquet.ParquetWriter(file, schema))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ExtraMissing("pyarrow", extra="parquet", why="it is a Parquet table") from error
    return pyarrow, parquet
