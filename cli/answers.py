"""Writing classifications: a table for people; JSON, NDJSON, CSV and paths for programs.

There is a line or more per photo, of 100,000 photos easily. So nothing is made per photo but its text, by filling a
pattern with columns; what the patterns look like follows from `Result.to_dict` and the modules `json` and `csv`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat, starmap
from typing import IO, TYPE_CHECKING, Any

from zsindex.results import Prediction, Result

from .output import padded, width_of

if TYPE_CHECKING:
    from zsindex import Classification

# Makes texts fit for a format: those of labels once each, those of paths a block at a time.
Quote = Callable[[Iterable[str]], Iterable[str]]
SCORE_WIDTH = len("0.123")


def write(result: Classification, fmt: str, out: IO[Any], *, wide: bool = False, with_run: bool = False) -> None:
    """Write a classification in one of the formats.

    Args:
        out: open for bytes if the format is ``parquet``.
        wide: of ``csv`` and ``parquet``: a row per photo, with a column per answer.
        with_run: of ``csv`` and ``ndjson``: name the run in every row. ``json`` and ``parquet`` always name it.
    """
    run = result.run.key if with_run else None
    if fmt == "parquet":
        result.to_parquet(out, wide=wide)
    elif fmt == "csv" and wide:
        _write_wide_csv(result, out, run)
    elif fmt == "csv":
        _write_csv(result, out, run)
    elif fmt == "ndjson":
        _write_ndjson(result, out, run)
    else:
        {"json": _write_json, "paths": _write_paths}.get(fmt, _write_table)(result, out)


def _write_json(result: Classification, out: IO[str]) -> None:
    document = {"run": result.run.to_dict()}
    if result.smoothing is not None:
        document["smoothing"] = result.smoothing.to_dict()
    around = json.dumps({**document, "results": []}, ensure_ascii=False, indent=2)
    head, _, tail = around.rpartition("]")
    out.write(head)
    before = "\n"
    for texts in _filled(result, lambda n: _json_pattern(n, indent=2, margin="    "), _json_texts):
        out.write(before + ",\n".join(texts))
        before = ",\n"
    out.write(("\n  ]" if len(result) else "]") + tail + "\n")


def _write_ndjson(result: Classification, out: IO[str], run: str | None) -> None:
    end = "}}\n" if run is None else f', "run": "{run}"}}}}\n'
    for texts in _filled(result, lambda n: _json_pattern(n).removesuffix("}}") + end, _json_texts):
        out.write("".join(texts))


def _write_csv(result: Classification, out: IO[str], run: str | None) -> None:
    last = "\n" if run is None else f",{run}\n"
    labels = _csv_texts(result.labels)
    before = [[f",{rank},{label}," for label in labels] for rank in range(1, int(result.counts.max(initial=0)) + 1)]
    out.write(f"path,rank,label,score{',run' if run else ''}\n")
    for block in result.blocks():
        paths, ranks = _csv_texts(block.paths), []
        for rank, (texts, numbers, scores) in enumerate(zip(before, block.labels, block.scores, strict=False)):
            named = [texts[number] for number in numbers]
            lines = list(map("".join, zip(paths, named, map(repr, scores), repeat(last), strict=False)))
            if min(block.counts) <= rank:
                lines = [line if n > rank else "" for line, n in zip(lines, block.counts, strict=True)]
            ranks.append(lines)
        out.write("".join(chain.from_iterable(zip(*ranks, strict=True))))


def _write_wide_csv(result: Classification, out: IO[str], run: str | None) -> None:
    names = ["path", *result.wide_columns(), *(["run"] if run else [])]
    out.write(",".join(_csv_texts(names)) + "\n")
    last = "\n" if run is None else f",{run}\n"
    for paths, scores in result.score_blocks():
        rows = zip(_csv_texts(paths), scores.tolist(), strict=True)
        out.writelines(f"{path},{','.join(map(repr, row))}{last}" for path, row in rows)


def _write_paths(result: Classification, out: IO[str]) -> None:
    out.writelines(f"{path}\n" for path in result.paths)


def _write_table(result: Classification, out: IO[str]) -> None:
    width, columns = width_of(result.labels), int(result.counts.max(initial=0))
    labels = [padded(text, width) for text in result.labels]
    for block in result.blocks():
        cells: list[Iterable[str]] = []
        for rank, numbers, scores in zip(range(columns), block.labels, block.scores, strict=False):
            named, shown = [labels[number] for number in numbers], _thousandths(scores)
            if min(block.counts) <= rank:
                named = [text if n > rank else " " * width for text, n in zip(named, block.counts, strict=True)]
                shown = [text if n > rank else " " * SCORE_WIDTH for text, n in zip(shown, block.counts, strict=True)]
            cells += [named, shown]
        lines = map("  ".join, zip(*cells, map(str.rstrip, block.paths), strict=True))
        out.write("\n".join(lines) + "\n")


# The texts of 0.000 to 1.000.
_SHOWN = [f"{number / 1000:.3f}" for number in range(1001)]


def _thousandths(scores: Sequence[float]) -> list[str]:
    """Scores in [0, 1] with three digits after the point, looked up: a third of the time of formatting them.

    A thousand times a float32 has all its bits in a float64, and both ways round half to even: the texts are the same.
    """
    return [_SHOWN[round(1000 * score)] for score in scores]


def _filled(result: Classification, pattern: Callable[[int], str], quote: Quote) -> Iterator[Iterable[str]]:
    """The photos' texts, a block of photos at a time.

    Args:
        pattern: the text of a photo with n predictions, for `str.format`: field 0 is the path; those of the r-th
            prediction are 2r - 1, the label, and 2r, the score.
        quote: makes paths and labels fit for the format.
    """
    labels = list(quote(result.labels))
    fill = [pattern(n).format for n in range(int(result.counts.max(initial=0)) + 1)]
    for block in result.blocks():
        named = ([labels[number] for number in column] for column in block.labels)
        columns = (quote(block.paths), *chain.from_iterable(zip(named, block.scores, strict=True)))
        if min(block.counts) == max(block.counts):
            yield starmap(fill[block.counts[0]], zip(*columns, strict=True))
        else:
            yield (fill[n](*cells) for n, cells in zip(block.counts, zip(*columns, strict=True), strict=True))


def _json_pattern(n: int, *, indent: int | None = None, margin: str = "") -> str:
    """What `json.dumps` makes of a result with n predictions."""
    result = Result("@", (Prediction("@", 0.5),) * n)
    text = json.dumps(result.to_dict(), indent=indent).replace("{", "{{").replace("}", "}}")
    return margin + text.replace("\n", f"\n{margin}").replace('"@"', "{}").replace("0.5", "{!r}")


def _json_texts(texts: Iterable[str]) -> Iterable[str]:
    return map(json.JSONEncoder(ensure_ascii=False).encode, texts)


# Whether and how the module `csv` quotes a text depends on its version only where one of these is in it.
_MAY_BE_QUOTED = re.compile(r"""[",\r\n]""")


class _Rows(list[str]):
    """A file, as far as `csv.writer` is concerned, that keeps every row by itself."""

    write = list.append


def _csv_texts(texts: Iterable[str]) -> Sequence[str]:
    plain = list(texts)
    if all(plain) and not _MAY_BE_QUOTED.search("\0".join(plain)):
        return plain
    rows = _Rows()
    # What is quoted depends on what ends a line, so it cannot be left out here.
    csv.writer(rows, lineterminator="\n").writerows((text,) for text in plain)
    return [row.removesuffix("\n") for row in rows]
