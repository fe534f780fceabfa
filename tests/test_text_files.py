"""Text files from other programs: encodings, and tables."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsindex.arguments.text_files import DELIMITERS, UnreadableText, decode, read, table

TEXT = "Zebra\r\ncafé\n犬\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
    ids=["utf-8", "utf-8-bom", "utf-16", "utf-16-be", "utf-16-le-bare", "utf-16-be-bare", "utf-32", "utf-32-be"],
)
def test_what_windows_and_excel_write_is_read(data: bytes, tmp_path: Path) -> None:
    assert decode(data) == TEXT
    (tmp_path / "labels.txt").write_bytes(data)
    assert read(tmp_path / "labels.txt") == TEXT


@given(st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"])))
def test_utf_8_is_never_taken_for_anything_else(text: str) -> None:
    assert decode(text.encode()) == text


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift-jis"])
def test_older_encodings_are_named_with_the_line_and_a_way_out(encoding: str) -> None:
    word = "犬" if encoding == "shift-jis" else "café"
    with pytest.raises(UnreadableText, match=r"line 2 is not UTF-8.*iconv"):
        decode(f"zebra\n{word}\n".encode(encoding))


def test_damaged_utf_16_is_called_so() -> None:
    with pytest.raises(UnreadableText, match="UTF-16"):
        decode("zebra".encode("utf-16") + b"x")


@pytest.mark.parametrize("data", [b"zebra\nowl\0\n", b"\0", b"a\0b\0\0c", "zebra\nowl\0".encode("utf-16")])
def test_a_nul_is_no_text(data: bytes) -> None:
    with pytest.raises(UnreadableText, match=r"line \d holds a NUL"):
        decode(data)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableText, match="No such file"):
        read(tmp_path / "none.csv")


# --- tables -----------------------------------------------------------------------------------------------------------


def rows(text: str) -> list[dict[str, str]]:
    return [row for _, row in table(text, required=["path", "label"], optional=["not"])]


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tables_are_read_whatever_stands_between_the_cells(delimiter: str, end: str, mark: str) -> None:
    lines = [["LABEL", " Path ", "more"], ['"a; b,\tc"', "x.jpg", "1"], [], ["red", ""]]
    assert rows(mark + end.join(map(delimiter.join, lines))) == [
        {"path": "x.jpg", "label": "a; b,\tc", "not": ""},
        {"path": "", "label": "red", "not": ""},
    ]


def test_excels_line_about_the_delimiter_is_understood() -> None:
    found = list(table("sep=;\r\npath;label\r\nx,y.jpg;red\r\n", required=["path", "label"]))
    assert found == [(3, {"path": "x,y.jpg", "label": "red"})]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "path and label; path is missing from nothing"),
        ("path,class\n", "label is missing from path, class"),
        ("path,label,label\n", "label twice"),
        ('path,label\n"x,red\n', "line 2: unexpected end"),
        ("path,label\nx.jpg\n", "line 2: there is no label"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(text: str, says: str) -> None:
    with pytest.raises(UnreadableText, match=says):
        rows(text)


def test_other_names_of_columns() -> None:
    (row,) = table("Class\nowl\n", required=["label"], names={"class": "label"})
    assert row == (2, {"label": "owl"})
