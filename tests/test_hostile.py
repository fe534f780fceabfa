"""Whatever text or file is handed over, the answer is a refusal that zsindex expects, and soon."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import hostile
from zsindex.arguments import text_files
from zsindex.classification.prompts import parse_labels, parse_templates
from zsindex.errors import BadLabelFile, ZsindexError


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, hostile.Kind]:
    return hostile.make(tmp_path_factory.mktemp("hostile"))


def test_good_ones_are_read(kinds: dict[str, hostile.Kind]) -> None:
    for name, kind in kinds.items():
        assert all(hostile.judged(kind, good) == ("read", []) for good in kind.goods), name


def test_mutations_are_refused_or_read(kinds: dict[str, hostile.Kind]) -> None:
    chance = random.Random(14)
    for name, kind in kinds.items():
        for _ in range(40):
            data = hostile.any_of(kind, chance)
            assert hostile.judged(kind, data)[1] == [], (name, data)


@given(st.binary(max_size=200), st.sampled_from(["json", "yaml", "csv", "tsv", "txt"]))
@example(b"&a [*a]", "yaml")
def test_any_bytes_are_a_label_file_or_refused(data: bytes, suffix: str) -> None:
    for parse in (parse_labels, parse_templates):
        with suppress(ZsindexError, text_files.UnreadableText):
            parse(text_files.decode(data), source=f"x.{suffix}")


@given(st.text(st.sampled_from("[]{}&*ab:,-! \n\"'?|>#<"), max_size=60))
def test_any_yaml_is_a_label_file_or_refused(text: str) -> None:
    for parse in (parse_labels, parse_templates):
        with suppress(ZsindexError):
            parse(text, source="x.yaml")


def bomb(levels: int) -> str:
    """YAML in which each list repeats the one before nine times."""
    lists = [f"&a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return f"[&a0 [x,x,x,x,x,x,x,x,x],{','.join(lists)}]"


@pytest.mark.parametrize(
    ("source", "text", "says"),
    [
        ("x.yaml", bomb(7), "line 1: its aliases stand for more than 100,000 values"),
        ("x.yaml", "- owl\n- &a [*a]", r"line 2: \*a is part of what it refers to"),
        ("x.yaml", "- owl\n- *b", "line 2: nothing has the name &b"),
        ("x.yaml", "- owl\n- !!int x", "line 2: the tag !!int has no meaning here; leave it out"),
        ("x.yaml", "- owl\n- !!timestamp x", "line 2: the tag !!timestamp has no meaning"),
        ("x.yaml", "- owl\n- !!set {a, b}", "line 2: the tag !!set has no meaning"),
        ("x.yaml", "\n" + "[" * 5000, "line 2: it is nested too deeply"),
        ("x.yaml", "- " * 3000 + "x", "line 1: it is nested too deeply"),
        ("x.yaml", '- owl\n- "\\U00110000"', "line 1: it cannot be read as YAML after this line"),
        ("x.yaml", "- owl\n---\n- fox", "line 2: a second document begins"),
        ("x.yaml", '- "\\ud800"', "number 1 .*is not valid text"),
        ("x.json", '["\\ud800"]', "number 1 .*is not valid text"),
        ("x.json", "[" * 100_000, "nested too deeply"),
        ("x.json", '["owl",\n' + "9" * 5000 + "]", "line 2: a number of 5,000 digits; put it in quotes"),
    ],
)
def test_what_has_been_a_traceback_names_the_place(source: str, text: str, says: str) -> None:
    for parse in (parse_labels, parse_templates):
        with pytest.raises(BadLabelFile, match=says):
            parse(text, source=source)


def test_what_is_shown_of_a_wrong_value_is_short() -> None:
    with pytest.raises(BadLabelFile) as raised:
        parse_labels(f"[[{','.join(['1'] * 10_000)}]]", source="x.json")
    assert len(str(raised.value)) < 400


def test_aliases_that_stand_for_little_are_read() -> None:
    text = 'owl: &birds [hoot, "the {}"]\nfox: *birds\n&c cat: [*c]\n'
    made = parse_labels(text, source="x.yaml")
    assert made.labels == ("owl", "fox", "cat")
    assert made.prompts == (("hoot", "the owl"), ("hoot", "the fox"), ("cat",))


def test_files_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MAX_BYTES", 2**20)
    with pytest.raises(text_files.UnreadableText, match="larger than"):
        text_files.read(Path("/dev/zero"))
    monkeypatch.setattr("zsindex.classification.prompts._MOST_CHARACTERS", 10)
    with pytest.raises(BadLabelFile, match="more than 10 characters"):
        parse_labels("owl\nfox\nbear\n", source="x.txt")
