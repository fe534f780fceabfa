"""Answers as Parquet tables. pyarrow is imported inside functions: it takes a tenth of a second.

Every table says in its schema's metadata what it is of: ``zsindex.run`` is the key of the run, ``zsindex`` all of it as
JSON. Both are read without reading a row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from zsindex import atomic
from zsindex.errors import ExtraMissing

if TYPE_CHECKING:
    from zsindex.classification.results import Classification, Hit


def write_answers(result: Classification, file: str | os.PathLike[str] | IO[bytes], *, wide: bool) -> None:
    """Write a classification, some thousand photos at a time.

    Long: ``path``, ``rank`` (int16, from 1), ``label``, ``score`` (float32), ``run``; a row per prediction. Wide:
    ``path``, ``run``, then a column of float32 scores per answer; a row per photo.

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
    pa, _ = _pyarrow()
    word = pa.dictionary(pa.int32(), pa.string())
    about = {"zsindex.run": result.run.key, "zsindex": json.dumps(result.run.to_dict(), ensure_ascii=False)}
    runs = pa.array([result.run.key])

    def column_of_run(n: int) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), runs)

    if wide:
        columns = [(name, pa.float32()) for name in result.wide_columns()]
        schema = pa.schema([("path", pa.string()), ("run", word), *columns], metadata=about)
        with _writer(file, schema) as writer:
            for paths, scores in result.score_blocks():
                by_answer = [pa.array(column) for column in np.ascontiguousarray(scores.T)]
                writer.write_batch(
                    pa.record_batch([pa.array(paths, pa.string()), column_of_run(len(paths)), *by_answer], schema)
                )
        return
    schema = pa.schema(
        [("path", pa.string()), ("rank", pa.int16()), ("label", word), ("score", pa.float32()), ("run", word)],
        metadata=about,
    )
    labels = pa.array(result.labels, pa.string())
    with _writer(file, schema) as writer:
        for block in result.blocks():
            counts = np.array(block.counts)
            there = np.arange(len(block.labels)) < counts[:, None]
            ranks = np.broadcast_to(np.arange(1, len(block.labels) + 1, dtype=np.int16), there.shape)[there]
            numbers = np.array(block.labels, dtype=np.int32).T[there]
            paths = [path for path, count in zip(block.paths, block.counts, strict=True) for _ in range(count)]
            columns = [
                pa.array(paths, pa.string()),
                pa.array(ranks),
                pa.DictionaryArray.from_arrays(pa.array(numbers), labels),
                pa.array(np.array(block.scores, dtype=np.float32).T[there]),
                column_of_run(len(paths)),
            ]
            writer.write_batch(pa.record_batch(columns, schema))


def write_hits(hits: Sequence[Hit], file: str | os.PathLike[str] | IO[bytes]) -> None:
    """Write what a search found: ``rank`` (int32, from 1), ``score`` (float32), ``path``, ``copies`` (a list).

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
    pa, _ = _pyarrow()
    schema = pa.schema(
        [("rank", pa.int32()), ("score", pa.float32()), ("path", pa.string()), ("copies", pa.list_(pa.string()))]
    )
    columns = [
        pa.array(range(1, len(hits) + 1), pa.int32()),
        pa.array([hit.score for hit in hits], pa.float32()),
        pa.array([hit.path for hit in hits], pa.string()),
        pa.array([list(hit.copies) for hit in hits], pa.list_(pa.string())),
    ]
    with _writer(file, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema))


@contextmanager
def _writer(file: str | os.PathLike[str] | IO[bytes], schema: Any) -> Iterator[Any]:
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
