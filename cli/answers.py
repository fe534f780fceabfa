"""Writing classifications: a table for people; JSON, NDJSON, CSV and paths for programs.

A result easily has 100,000 photos, and one or more lines for each. So all that is built per photo is its text, by
filling a pattern from columns; the patterns follow from `Result.to_dict` and the modules `json` and `csv`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat, starmap
from typing import IO, TYPE_CHECKING, Any

from zsindex.classification.results import Prediction, Result

from .output import (
    CSV,
    EXCEL,
    PATHS,
    csv_end,
    csv_lines,
    harmless,
    padded,
    start_csv,
    width_of,
    write_names,
)
from .streams import all_shown, for_programs

if TYPE_CHECKING:
    from zsindex import Classification

# Prepares texts for a format: labels once each, paths a block at a time.
Quote = Callable[[Iterable[str]], Iterable[str]]
SCORE_WIDTH = len("0.123")
# Labels of a set that a table shows.
SHOWN_OF_SET = 5


def write(result: Classification, fmt: str, out: IO[Any], *, wide: bool = False, with_run: bool = False) -> None:
    """Write a classification in one of the formats.

    Args:
        out: open for bytes if the format is ``parquet``.
        wide: for ``csv`` and ``parquet``: one row per photo, with a column per answer.
        with_run: for ``csv`` and ``ndjson``: name the run in every row. ``json`` and ``parquet`` always name it.
    """
    run = result.run.key if with_run else None
    if fmt == "parquet":
        result.to_parquet(out, wide=wide)
    elif fmt in CSV and wide:
        _write_wide_csv(result, out, run, fmt)
    elif fmt in CSV:
        _write_csv(result, out, run, fmt)
    elif fmt == "ndjson":
        _write_ndjson(result, out, run)
    elif fmt in PATHS:
        write_names(result.paths, out, fmt=fmt)
    elif fmt == "json":
        _write_json(result, out)
    elif result.coverage is not None:
        _write_sets(result, out)
    else:
        _write_table(result, out)


def _write_json(result: Classification, out: IO[str]) -> None:
    for_programs(out)
    document = {"run": result.run.to_dict()}
    if result.prior is not None:
        document["prior"] = result.prior.to_dict()
    if result.smoothing is not None:
        document["smoothing"] = result.smoothing.to_dict()
    if result.coverage is not None:
        document["coverage"] = result.coverage.to_dict()
    around = json.dumps({**document, "results": []}, ensure_ascii=False, indent=2)
    head, _, tail = around.rpartition("]")
    out.write(head)
    before = "\n"
    for texts in _filled(result, lambda n: _json_pattern(n, indent=2, margin="    "), _json_texts):
        out.write(before + ",\n".join(texts))
        before = ",\n"
    out.write(("\n  ]" if len(result) else "]") + tail + "\n")


def _write_ndjson(result: Classification, out: IO[str], run: str | None) -> None:
    for_programs(out)
    end = "}}\n" if run is None else f', "run": "{run}"}}}}\n'
    for texts in _filled(result, lambda n: _json_pattern(n).removesuffix("}}") + end, _json_texts):
        out.write("".join(texts))


def _write_csv(result: Classification, out: IO[str], run: str | None, fmt: str) -> None:
    last = csv_end(fmt) if run is None else f",{run}{csv_end(fmt)}"
    labels = _csv_texts(result.labels, fmt)
    before = [[f",{rank},{label}," for label in labels] for rank in range(1, int(result.counts.max(initial=0)) + 1)]
    start_csv(out, fmt)
    out.write(f"path,rank,label,score{',run' if run else ''}{csv_end(fmt)}")
    for block in result.blocks():
        paths, ranks = _csv_texts(block.paths, fmt), []
        for rank, (texts, numbers, scores) in enumerate(zip(before, block.labels, block.scores, strict=False)):
            named = [texts[number] for number in numbers]
            lines = list(map("".join, zip(paths, named, map(repr, scores), repeat(last), strict=False)))
            if min(block.counts) <= rank:
                lines = [line if n > rank else "" for line, n in zip(lines, block.counts, strict=True)]
            ranks.append(lines)
        out.write("".join(chain.from_iterable(zip(*ranks, strict=True))))


def _write_wide_csv(result: Classification, out: IO[str], run: str | None, fmt: str) -> None:
    names = ["path", *result.wide_columns(), *(["run"] if run else [])]
    start_csv(out, fmt)
    out.write(",".join(_csv_texts(names, fmt)) + csv_end(fmt))
    last = csv_end(fmt) if run is None else f",{run}{csv_end(fmt)}"
    for paths, scores in result.score_blocks():
        rows = zip(_csv_texts(paths, fmt), scores.tolist(), strict=True)
        out.writelines(f"{path},{','.join(map(repr, row))}{last}" for path, row in rows)


def _write_table(result: Classification, out: IO[str]) -> None:
    names = all_shown(result.labels)
    width, columns = width_of(names), int(result.counts.max(initial=0))
    labels = [padded(text, width) for text in names]
    for block in result.blocks():
        cells: list[Iterable[str]] = []
        for rank, numbers, scores in zip(range(columns), block.labels, block.scores, strict=False):
            named, shown = [labels[number] for number in numbers], _thousandths(scores)
            if min(block.counts) <= rank:
                named = [text if n > rank else " " * width for text, n in zip(named, block.counts, strict=True)]
                shown = [text if n > rank else " " * SCORE_WIDTH for text, n in zip(shown, block.counts, strict=True)]
            cells += [named, shown]
        lines = map("  ".join, zip(*cells, map(str.rstrip, all_shown(block.paths)), strict=True))
        out.write("\n".join(lines) + "\n")


def _write_sets(result: Classification, out: IO[str]) -> None:
    """How many labels are in each photo's set, the best of them, and the photo."""
    names, width = all_shown(result.labels), len(str(int(result.counts.max(initial=0))))
    for block in result.blocks():
        labels, scores = block.labels, [_thousandths(column) for column in block.scores[:SHOWN_OF_SET]]
        for photo, (count, path) in enumerate(zip(block.counts, all_shown(block.paths), strict=True)):
            first = range(min(count, SHOWN_OF_SET))
            shown = ", ".join(f"{names[labels[rank][photo]]} {scores[rank][photo]}" for rank in first)
            more = f" and {count - SHOWN_OF_SET:,} more" if count > SHOWN_OF_SET else ""
            out.write(f"{count:>{width}}  {shown}{more}  {path}\n")


# The texts of 0.000 to 1.000.
_SHOWN = [f"{number / 1000:.3f}" for number in range(1001)]


def _thousandths(scores: Sequence[float]) -> list[str]:
    """Format scores in [0, 1] with three decimals, by looking them up: a third of the time of formatting.

    A float32 times 1000 is exact in float64, and both ways round half to even, so the texts are the same.
    """
    return [_SHOWN[round(1000 * score)] for score in scores]


def _filled(result: Classification, pattern: Callable[[int], str], quote: Quote) -> Iterator[Iterable[str]]:
    """The photos' texts, a block of photos at a time.

    Args:
        pattern: the text of a photo with n predictions, for `str.format`: field 0 is the path; fields 2r - 1 and 2r are
            label and score of the r-th prediction.
        quote: escapes paths and labels for the format.
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


# How the module `csv` quotes a text depends on its version only if the text holds one of these.
_MAY_BE_QUOTED = re.compile(r"""[",\r\n]""")


def _csv_texts(texts: Iterable[str], fmt: str) -> Sequence[str]:
    plain = [harmless(text) for text in texts] if fmt == EXCEL else list(texts)
    if all(plain) and not _MAY_BE_QUOTED.search("\0".join(plain)):
        return plain
    return list(csv_lines((text,) for text in plain))
