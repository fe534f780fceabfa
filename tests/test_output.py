"""What a command writes, and where it cannot: encodings, CSV, names that a terminal would obey, streams that fail."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from zsindex.cli import cli, main
from zsindex.cli.output import CSV, EXCEL, table, write_columns, write_csv, write_lines
from zsindex.cli.streams import READER_GONE, shown, standard_streams

from tests import photos
from tests.command_lines import Ended, run_all
from tests.fakes import FakeEncoder
from zsindex.errors import ZsindexError
from zsindex.library import Library

# Each control character, each line end that `str.splitlines` knows, what else CSV and terminals care about.
ODD = [*map(chr, range(1, 32)), *map(chr, range(127, 160)), "\u2028", "\u2029", "\u202e", '"', ",", ";", "'", " ", "\\"]
NAMES = [f"a{letter}b.png" for letter in ODD if letter != "/"]
JAPANESE = "赤い車"
LABELS = ["red", "blue", JAPANESE, "new\nline", "carriage\rreturn", "esc\x1b[31m", "next\x85line", "=1+1"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of photos with odd names, with a saved label set of odd names."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "photos").mkdir()
    for n, name in enumerate([*NAMES, f"{JAPANESE}.png"]):
        photos.save(folder / "photos" / name, photos.solid((255, n, 0), 8, 8))
    (folder / "photos" / "broken\x1b]0;.png").write_bytes(b"no photo")
    with Library.open(folder / "library", encoder=FakeEncoder(name="nano")) as opened:
        opened.sync([folder / "photos"])
        opened.labels.save("odd", LABELS)
        opened.corrections.add_all(
            "odd", [(path, LABELS[n % len(LABELS)], False) for n, path in enumerate(opened.photos.paths())]
        )
        opened.classify(label_set="odd", record=True)
    return folder / "library"


# --- CSV --------------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD), max_size=6)


def csv_of(header: list[str], rows: list[list[str]], fmt: str) -> str:
    out = io.StringIO(newline="")
    write_csv(header, rows, out, fmt=fmt)
    return out.getvalue()


@given(st.lists(st.lists(texts, min_size=2, max_size=2)))
def test_csv_reads_back_as_it_was(rows: list[list[str]]) -> None:
    written = csv_of(["a", "b"], rows, "csv")
    assert list(csv.reader(io.StringIO(written, newline=""), strict=True)) == [["a", "b"], *rows]


@given(st.lists(st.lists(texts, min_size=2, max_size=2)))
def test_csv_for_spreadsheets_has_a_mark_and_no_formulas(rows: list[list[str]]) -> None:
    written = csv_of(["a", "b"], rows, EXCEL)
    assert written.startswith("\ufeffa,b\r\n")
    read = list(csv.reader(io.StringIO(written[1:], newline=""), strict=True))[1:]
    assert [[cell.removeprefix("'") for cell in row] for row in read] == [
        [cell.removeprefix("'") for cell in row] for row in rows
    ]
    assert not any(cell[:1] in set("=+-@\t\r\n＝＋－＠") for row in read for cell in row if cell)


def test_numbers_are_no_formulas() -> None:
    out = io.StringIO(newline="")
    write_csv(["margin"], [[-0.5]], out, fmt=EXCEL)
    assert out.getvalue() == "\ufeffmargin\r\n-0.5\r\n"


def rows_of(ended: Ended) -> list[list[str]]:
    assert ended.code == 0, ended
    return list(csv.reader(io.StringIO(ended.stdout.decode("utf-8-sig"), newline=""), strict=True))


def test_every_command_writes_csv_that_reads_back(library: Path, tmp_path: Path) -> None:
    with Library.open(library, encoder=FakeEncoder(name="nano")) as opened:
        paths = opened.photos.paths()
    truth = tmp_path / "truth.csv"
    corrected = ["correct", "--label-set", "odd", "--list"]
    commands = [
        ["classify", "--label-set", "odd", "--top", "8"],
        ["classify", "--label-set", "odd", "--wide"],
        corrected,
        ["search", "red"],
        ["similar", paths[0]],
        ["duplicates", "--no-look"],
        ["duplicates", "--show-threshold"],
        ["next", "--label-set", "odd"],
        ["labels", "lint", "odd"],
        ["labels", "diff", "odd", "--template-after", "{}"],
        ["labels", "suggest", "odd", "--vocabulary", "basic"],
        ["eval", truth, "--label-set", "odd"],
    ]
    run_all(tmp_path / "truth", [[*corrected, "--format", "csv", "-o", truth]], library=library)
    for fmt in CSV:
        found = run_all(tmp_path / fmt, [[*command, "--format", fmt] for command in commands], library=library)
        answers, wide, said, hits, near, copies, levels, following, lint, flips, words, judged = map(rows_of, found)
        expected = LABELS if fmt == "csv" else [*LABELS[:-1], f"'{LABELS[-1]}"]
        assert {(path, label) for path, _, label, _ in answers[1:]} == {(p, label) for p in paths for label in expected}
        assert wide[0] == ["path", *expected]
        assert [row[0] for row in wide[1:]] == paths
        assert {path for path, _, _ in said[1:]} == set(paths)
        assert {label for _, label, _ in said[1:]} == set(expected)
        assert {row[2] for row in [*hits[1:], *near[1:]]} <= set(paths)
        assert len(hits) == len(near) == 21
        assert {row[-1] for row in copies[1:]} <= set(paths)
        assert len(copies) > 2
        assert all({len(row) for row in rows} == {len(rows[0])} for rows in (levels, following, lint, flips, words))
        assert {row[1] for row in judged[1:]} >= set(expected)
    # What was written is read, by each of its readers.
    with Library.open(library, encoder=FakeEncoder(name="nano")) as opened:
        held = {(photo.paths[0], photo.label) for photo in opened.corrections.list("odd")}
        assert len(opened.lab.evaluate("odd", str(truth)).paths) == len(paths)
        opened.labels.save("back", LABELS)
    back = [["correct", "--label-set", "back", "--csv", truth]]
    assert [ended.code for ended in run_all(tmp_path / "back", back, library=library)] == [0]
    with Library.open(library, encoder=FakeEncoder(name="nano")) as opened:
        assert {(photo.paths[0], photo.label) for photo in opened.corrections.list("back")} == held
        assert len(held) == len(paths)


# --- what a terminal would obey ---------------------------------------------------------------------------------------


@given(texts)
def test_what_is_shown_is_one_line_of_letters(text: str) -> None:
    assert len(shown(text).splitlines()) <= 1
    assert not any(letter in shown(text) for letter in ODD[:64])


def test_ordinary_names_are_shown_as_they_are() -> None:
    for name in ("/home/x/Bild ä.jpg", "写真/赤い車.jpg", "👨‍👩‍👧.png", "a\u00a0b", "back\\slash"):
        assert shown(name) == name
    assert shown("a\nb\x1b[2J\x9b\u202e\udcff") == "a\\nb\\x1b[2J\\u009b\\u202e\\udcff"


def test_tables_hold_their_lines_together() -> None:
    out = io.StringIO()
    write_columns([["a\nb", "c\rd"]], [3], out)
    write_lines(["e\x1b[mf"], out)
    assert out.getvalue() == "a\\nb  c\\rd\ne\\x1b[mf\n"
    assert table(["x"], [["g\nh"]]).splitlines()[-1].strip() == "g\\nh"


COMMANDS: list[list[str]] = [
    *(["classify", "--label-set", "odd", "--format", fmt] for fmt in ("table", "json", "ndjson", "csv", "paths")),
    *(["search", "red", "--format", fmt] for fmt in ("table", "json", "ndjson", "csv", "csv-excel", "paths")),
    ["classify", "--label-set", "odd", "-0"],
    ["embed", "red"],
    ["embed", "red", "--format", "npy"],
    ["duplicates", "--no-look"],
    ["status"],
    ["status", "--json"],
    ["status", "--skipped"],
    ["status", "--skipped", "-0"],
    ["labels", "list"],
    ["labels", "show", "odd"],
    ["labels", "show", "odd", "--json"],
    ["templates", "list"],
    ["runs", "list"],
    ["correct", "--label-set", "odd", "--list"],
    ["check"],
    ["sync"],
    ["--help"],
    ["--version"],
]


def named(command: list[str]) -> str:
    return " ".join(command)


def test_nothing_that_a_terminal_obeys_reaches_one(library: Path, tmp_path: Path) -> None:
    refused = [["similar", "no\x1b[31m.png"], ["sync", "gone\x1b[2J"], ["classify", "-l", "x", "--only", "y\x1b[m"]]
    refused += [["no\x1b[31m"], ["search", "--format", "\x1b[31m", "x"], ["search", "--\x1b[31m", "x"]]
    commands = [command for command in COMMANDS if "npy" not in command] + refused
    for ended, command in zip(
        run_all(tmp_path / "t", commands, library=library, stdout="terminal", stderr="terminal"), commands, strict=True
    ):
        assert (ended.code == 0) == (command not in refused), (command, ended)
        for stream in (ended.stdout, ended.stderr):
            letters = set(re.sub("\r+\n", "", stream.decode())) - {"\n", "\t", "\0"}
            assert not letters & {*map(chr, range(32)), *map(chr, range(127, 160)), "\u2028"}, (command, letters)


def test_programs_get_names_as_they_are(library: Path, tmp_path: Path) -> None:
    paths, paths0, skipped, labels = run_all(
        tmp_path / "p",
        [
            ["classify", "--label-set", "odd", "--format", "paths"],
            ["classify", "--label-set", "odd", "-0"],
            ["status", "--skipped", "-0"],
            ["labels", "show", "odd"],
        ],
        library=library,
    )
    with Library.open(library, encoder=FakeEncoder(name="nano")) as opened:
        held, left = opened.photos.paths(), opened.photos.skipped()
    assert paths.stdout.decode() == "".join(f"{path}\n" for path in held)
    assert paths0.stdout.decode().split("\0") == [*held, ""]
    assert skipped.stdout.decode().split("\0") == [*(one.path for one in left), ""]
    assert labels.stdout.decode() == "".join(f"{label}\n" for label in LABELS)


def test_print0_is_for_paths(library: Path, tmp_path: Path) -> None:
    wrong = [["search", "red", "-0", "--format", "csv"], ["status", "-0"], ["status", "--skipped", "-0", "--json"]]
    right = [["search", "red", "-0", "--format", "paths"], ["search", "red", "--print0"]]
    codes = [ended.code for ended in run_all(tmp_path / "z", [*wrong, *right], library=library)]
    assert codes == [2, 2, 2, 0, 0]


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_utf8(library: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    return run_all(tmp_path_factory.mktemp("utf-8"), COMMANDS, library=library)


def test_json_is_json_whatever_the_names(in_utf8: list[Ended]) -> None:
    for ended, command in zip(in_utf8, COMMANDS, strict=True):
        if {"json", "--json"} & set(command):
            json.loads(ended.stdout)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_programs_read_the_same_bytes_under_every_locale(
    library: Path, in_utf8: list[Ended], tmp_path: Path, encoding: str
) -> None:
    found = run_all(tmp_path / encoding, COMMANDS, library=library, encoding=encoding)
    for before, ended, command in zip(in_utf8, found, COMMANDS, strict=True):
        assert before.code == ended.code == 0, (command, ended)
        if {"--json", "json", "ndjson", "csv", "csv-excel", "paths", "-0", "npy", "show"} & set(command):
            assert ended.stdout == before.stdout, command
        else:  # for people: in their encoding, and nothing is left out
            ended.stdout.decode("utf-8" if encoding == "ascii" else encoding)
            assert ended.stdout.count(b"\n") == before.stdout.count(b"\n")
    assert JAPANESE.encode() in next(e.stdout for e, c in zip(found, COMMANDS, strict=True) if c[-1] == "paths")


# --- streams that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("/dev/full", 1, b"Error: cannot write to stdout: No space left on device\n"),
        ("closed", 1, b"Error: cannot write to stdout: Bad file descriptor\n"),
        ("no reader", READER_GONE, b""),
    ],
)
def test_no_command_ends_well_if_nobody_gets_its_answer(
    library: Path, tmp_path: Path, where: str, code: int, said: bytes
) -> None:
    for ended, command in zip(
        run_all(tmp_path / "full", COMMANDS, library=library, stdout=where), COMMANDS, strict=True
    ):
        assert ended.code == code, (command, ended)
        assert ended.stderr.endswith(said), (command, ended)
        assert b"Traceback" not in ended.stderr, (command, ended)
        if not said:
            assert b"Error" not in ended.stderr


@pytest.mark.parametrize("where", ["/dev/full", "closed", "no reader"])
def test_no_command_fails_because_nobody_reads_its_notes(library: Path, tmp_path: Path, where: str) -> None:
    wrong = ["search", "red", "--library", str(tmp_path / "nothing")]
    for ended, command in zip(
        run_all(tmp_path / "full", [*COMMANDS, wrong], library=library, stderr=where), [*COMMANDS, wrong], strict=True
    ):
        assert ended.code == (1 if command is wrong else 0), (command, ended)
        assert bool(ended.stdout) == (command is not wrong), command


def test_who_asks_a_closed_stdin_gets_the_end_of_it(library: Path) -> None:
    program = 'exec "$0" -m zsindex classify --labels - --library "$1" <&-'
    ended = subprocess.run(
        ["sh", "-c", program, sys.executable, str(library)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == b"Error: cannot read labels from stdin: it holds no labels\n"


@pytest.mark.parametrize(
    ("command", "stdin", "said"),
    [
        (
            ["classify", "--labels", "-"],
            "write-only",
            "cannot read labels from stdin: it cannot be read: Bad file desc",
        ),
        (["prune", "--path", "/"], "write-only", "stdin cannot be read (.*Bad file descriptor); add --yes to prune"),
        (
            ["prune", "--path", "/"],
            "no text",
            "stdin cannot be read ('utf-8' codec can't decode .*); add --yes to prune",
        ),
    ],
)
def test_a_stdin_that_cannot_be_read_is_told(
    library: Path, tmp_path: Path, command: list[str], stdin: str, said: str
) -> None:
    copy = shutil.copytree(library, tmp_path / "library")
    (tmp_path / "stdin").write_bytes(b"\xff\xfe\xff\n")
    with (tmp_path / "stdin").open("wb" if stdin == "write-only" else "rb") as opened:
        ended = subprocess.run(
            [sys.executable, "-m", "zsindex", *command, "--library", str(copy)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8:strict"},
            stdin=opened,
            capture_output=True,
            check=False,
        )
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert re.search(said.replace("(", r"\(").replace(")", r"\)"), ended.stderr.decode()), ended.stderr


@pytest.mark.skipif(os.name != "posix", reason="elsewhere names of files are UTF-8 in any case")
def test_names_and_arguments_are_utf8_in_every_locale(library: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(library, tmp_path / "library")
    (tmp_path / "größer").mkdir()
    photos.save(tmp_path / "größer" / "grün.png", photos.solid("green"))
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **locale, "PYTHONPATH": os.pathsep.join(sys.path)}
    for command, said in (
        (["sync", "--dry-run", str(tmp_path / "größer")], "1 photo: 1 added. Dry run: 1 would be read\n"),
        (["labels", "save", "größe", "-l", "grün"], ""),
        (["labels", "show", "größe"], "grün\n"),
    ):
        asked = [sys.executable, "-m", "zsindex", *command, "--library", str(copy)]
        ended = subprocess.run(asked, env=environment, capture_output=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stdout.decode()


def test_a_program_that_reads_names_in_another_encoding_is_told(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(ZsindexError, match=r"names of files as iso8859-1 here, .*-X utf8"):
        Library.open(library)


def test_a_closed_stdin_is_empty_and_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with standard_streams():
        empty = sys.stdin
        assert empty.read() == ""
    assert empty.closed
    assert sys.stdin is None


def test_an_interrupt_before_a_command_has_begun_ends_as_one_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "make_context", stopped)
    result = CliRunner().invoke(cli, ["status"])
    assert (result.exit_code, result.stderr.strip()) == (130, "stopped")


def test_a_second_interrupt_at_the_end_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(**options: object) -> None:
        try:
            raise SystemExit(130)
        finally:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", stopped)
    monkeypatch.setattr("gc.disable", lambda: None)  # for the tests after this one
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
