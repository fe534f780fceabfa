"""Answers as tables: Parquet, wide and long CSV, and the run that every export can name."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet
from zsindex.cli import cli

from tests import libraries
from tests.fakes import FakeEncoder
from zsindex.classification.results import BLOCK_PHOTOS
from zsindex.errors import ExportRefused, ExtraMissing
from zsindex.library import Library

COLOURS = ["red", "green", 'a "blue", or so']
Run = Callable[..., Result]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    folder = tmp_path / "photos"
    for name, rgb in {"red": (255, 0, 0), "a, b": (0, 0, 255), "緑": (0, 255, 0)}.items():
        libraries.paint(folder / f"{name}.png", rgb)
    libraries.new_library(tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(folder)
        yield opened


@pytest.fixture
def run(library: Library) -> Run:
    def invoke(*arguments: str | Path, code: int = 0) -> Result:
        words = [str(a) for a in (*arguments, "--library", library.path)]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == code, result.output
        return result

    library.embed_texts([f"This is a photo of {label}." for label in COLOURS])
    return invoke


LABELS = [word for label in COLOURS for word in ("-l", label)]


def test_long_parquet_is_the_long_form(library: Library, tmp_path: Path) -> None:
    result = library.classify(COLOURS, top=2)
    result.to_parquet(tmp_path / "long.parquet")
    table = parquet.read_table(tmp_path / "long.parquet")
    assert table.column_names == ["path", "rank", "label", "score", "run"]
    rows = list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    assert rows == [(*row, result.run.key) for row in result.to_rows()]


def test_wide_parquet_has_every_score(library: Library, tmp_path: Path) -> None:
    result = library.classify(COLOURS, top=1)
    result.to_parquet(tmp_path / "wide.parquet", wide=True)
    table = parquet.read_table(tmp_path / "wide.parquet")
    assert table.column_names == ["path", "run", *COLOURS]
    assert table["path"].to_pylist() == result.paths
    assert set(table["run"].to_pylist()) == {result.run.key}
    assert np.array_equal(np.stack([table[name].to_numpy() for name in COLOURS], axis=1), result.scores)


def test_parquet_says_its_run_before_a_row_is_read(library: Library, tmp_path: Path) -> None:
    result = library.classify(COLOURS).filtered(min_score=0.9)
    result.to_parquet(tmp_path / "answers.parquet")
    metadata = parquet.read_schema(tmp_path / "answers.parquet").metadata
    assert metadata[b"zsindex.run"].decode() == result.run.key
    assert json.loads(metadata[b"zsindex"]) == json.loads(json.dumps(result.run.to_dict()))


def test_uneven_and_empty_answers(library: Library, tmp_path: Path) -> None:
    uneven = library.classify(COLOURS, top=3).filtered(min_score=0.05)
    assert len(set(uneven.counts.tolist())) > 1
    none = library.classify(COLOURS).filtered(min_score=1.0)
    assert len(none) == 0
    for result in (uneven, none):
        for wide in (False, True):
            result.to_parquet(tmp_path / "answers.parquet", wide=wide)
            table = parquet.read_table(tmp_path / "answers.parquet")
            if wide:
                assert table["path"].to_pylist() == result.paths
            else:
                columns = (table[name].to_pylist() for name in ("path", "rank", "label", "score"))
                assert list(zip(*columns, strict=True)) == list(result.to_rows())


def test_blocks_of_scores_are_all_scores(tmp_path: Path) -> None:
    with libraries.open_storage(tmp_path / "many") as storage:
        model = libraries.add_model(storage)
        libraries.add_photos(storage, model, libraries.unit_vectors(BLOCK_PHOTOS + 7))
    with Library.open(tmp_path / "many", encoder=FakeEncoder()) as library:
        result = library.classify(["red", "blue"])
        parts = list(result.score_blocks())
        assert [len(paths) for paths, _ in parts] == [BLOCK_PHOTOS, 7]
        assert np.allclose(np.concatenate([scores for _, scores in parts]), result.scores, atol=1e-6)
        # Of photos that were left, the scores are theirs and not their neighbours'.
        some = result.filtered(only=["blue"])
        paths, scores = next(some.score_blocks())
        assert paths == some.paths
        assert np.allclose(scores, result.scores[[result.paths.index(path) for path in paths]], atol=1e-6)
        result.to_parquet(tmp_path / "answers.parquet")
        assert parquet.read_metadata(tmp_path / "answers.parquet").num_rows == 2 * (BLOCK_PHOTOS + 7)


def test_labels_called_like_other_columns(library: Library, tmp_path: Path) -> None:
    result = library.classify(["path", "run", "path_", "red"])
    assert result.wide_columns() == ["path__", "run_", "path_", "red"]
    result.to_parquet(tmp_path / "wide.parquet", wide=True)
    assert len(set(parquet.read_schema(tmp_path / "wide.parquet").names)) == 6


@pytest.mark.parametrize("wide", [False, True])
def test_parts_together_are_the_table(library: Library, tmp_path: Path, wide: bool) -> None:
    result = library.classify(COLOURS)
    result.to_parquet(tmp_path / "whole.parquet", wide=wide)
    (tmp_path / "parts").mkdir()  # an empty folder is as good as none
    names = result.to_parquet_parts(tmp_path / "parts", wide=wide, part_size=2)
    n_parts = -(-len(result) // 2)
    assert n_parts > 1
    assert names == [f"part-{number}.parquet" for number in range(n_parts)]
    tables = [parquet.read_table(tmp_path / "parts" / name) for name in names]
    assert [row for table in tables for row in table.to_pylist()] == parquet.read_table(
        tmp_path / "whole.parquet"
    ).to_pylist()
    assert all(table.schema.metadata[b"zsindex.run"].decode() == result.run.key for table in tables)
    assert parquet.read_table(tmp_path / "parts").num_rows == sum(table.num_rows for table in tables)
    with pytest.raises(ExportRefused, match="there is something already"):
        result.to_parquet_parts(tmp_path / "parts")
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "parts"):
        with pytest.raises(ExportRefused):
            result.to_parquet_parts(place)
    assert not list(tmp_path.glob(".*")), "what was begun is gone"


def test_no_photos_make_one_part(library: Library, tmp_path: Path) -> None:
    none = library.classify(COLOURS).filtered(min_score=1.0)
    assert not len(none)
    assert none.to_parquet_parts(tmp_path / "parts") == ["part-0.parquet"]
    assert parquet.read_table(tmp_path / "parts").num_rows == 0


def test_a_folder_from_the_command_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for place in (f"{tmp_path}/new/", f"{tmp_path}/there"):
        run("classify", *LABELS, "--format", "parquet", "-o", place)
        assert os.listdir(place) == ["part-0.parquet"]
    assert (
        "a folder takes parts of --format parquet" in run("classify", *LABELS, "-o", f"{tmp_path}/new/", code=2).stderr
    )
    assert (
        "there is something already"
        in run("classify", *LABELS, "--format", "parquet", "-o", f"{tmp_path}/new/", code=1).stderr
    )


def test_without_pyarrow(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=r"zsindex\[parquet\]"):
        library.classify(COLOURS).to_parquet(tmp_path / "answers.parquet")
    assert not (tmp_path / "answers.parquet").exists()


# --- command line -----------------------------------------------------------------------------------------------------


def test_wide_csv(run: Run, library: Library) -> None:
    result = library.classify(COLOURS)
    for more in ([], ["--with-run"]):
        rows = list(csv.reader(io.StringIO(run("classify", *LABELS, "--format", "csv", "--wide", *more).stdout)))
        assert rows[0] == ["path", *COLOURS, *(["run"] if more else [])]
        assert [row[0] for row in rows[1:]] == result.paths
        assert np.array_equal(np.array([row[1:4] for row in rows[1:]], dtype=np.float32), result.scores)
        if more:
            assert {row[4] for row in rows[1:]} == {result.run.key}


def test_rows_name_their_run_when_asked(run: Run, library: Library) -> None:
    key = library.classify(COLOURS).run.key
    for fmt in ("csv", "ndjson"):
        plain = run("classify", *LABELS, "--format", fmt).stdout
        named = run("classify", *LABELS, "--format", fmt, "--with-run").stdout
        if fmt == "csv":
            with_run = list(csv.DictReader(io.StringIO(named)))
            without = list(csv.DictReader(io.StringIO(plain)))
        else:
            with_run, without = ([json.loads(line) for line in text.splitlines()] for text in (named, plain))
        assert {row.pop("run") for row in with_run} == {key}
        assert with_run == without


def test_parquet_from_the_command_line(run: Run, library: Library, tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    run("classify", *LABELS, "--format", "parquet", "--output", file)
    assert parquet.read_table(file)["label"].to_pylist() == [row[2] for row in library.classify(COLOURS).to_rows()]
    run("classify", *LABELS, "--format", "parquet", "--wide", "--output", file)
    assert parquet.read_table(file).column_names[2:] == COLOURS
    label = "This is a photo of red."
    run("search", label, "--format", "parquet", "--output", file)
    hits = library.search(label)
    assert parquet.read_table(file).to_pylist() == [
        {"rank": rank, "score": hit.score, "path": hit.path, "copies": list(hit.copies)}
        for rank, hit in enumerate(hits, 1)
    ]
    run("similar", library.photos.paths()[0], "--format", "parquet", "--output", file)
    assert parquet.read_table(file)["path"].to_pylist() == [h.path for h in library.similar(library.photos.paths()[0])]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--format", "parquet"], "--output"),
        (["--wide"], "csv and parquet"),
        (["--format", "json", "--wide"], "csv and parquet"),
        (["--with-run"], "csv and ndjson"),
    ],
)
def test_what_cannot_be_combined(run: Run, words: list[str], says: str) -> None:
    assert says in run("classify", *LABELS, *words, code=2).stderr
