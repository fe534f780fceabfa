"""Corrections: how a log folds into what holds, and what a label set makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsindex.classification.prompts import label_set
from zsindex.errors import BadLabelFile
from zsindex.lab.corrections import (
    CorrectedPhoto,
    Said,
    Statement,
    concepts_named,
    corrected_photos,
    fold,
    lessons,
    parse_csv,
)
from zsindex.records import NONE
from zsindex.storage.rows import CorrectionEntry as Entry

A, B, C = (name.encode() * 32 for name in "abc")


def test_the_last_label_holds() -> None:
    assert fold([Entry(A, "cat"), Entry(B, "owl"), Entry(A, "dog")]).labels == {A: "dog", B: "owl"}


def test_what_is_not_gathers_until_it_is_said_after_all() -> None:
    log = [Entry(A, "cat", True), Entry(A, "dog", True), Entry(A, "cat", True)]
    assert fold(log).by_digest == {A: Said(None, ("dog", "cat"))}
    assert fold([*log, Entry(A, "dog")]).by_digest == {A: Said("dog", ("cat",))}


def test_ruling_out_the_label_that_was_said_takes_it_back() -> None:
    assert fold([Entry(A, "cat"), Entry(A, "cat", True)]).by_digest == {A: Said(None, ("cat",))}
    assert fold([Entry(A, "cat"), Entry(A, "dog", True)]).by_digest == {A: Said("cat", ("dog",))}


def test_withdrawing_leaves_nothing_of_that_image() -> None:
    log = [Entry(A, "cat"), Entry(B, "owl"), Entry(A, "dog", True), Entry(A, None)]
    assert fold(log).by_digest == {B: Said("owl")}
    assert fold([*log, Entry(A, "dog")]).by_digest == {B: Said("owl"), A: Said("dog")}
    assert len(fold([Entry(C, None)])) == 0


entries = st.lists(st.builds(Entry, st.sampled_from([A, B]), st.sampled_from([None, "x", "y", "z"]), st.booleans()))


@given(entries)
def test_folding_agrees_with_asking_the_log_backwards(log: list[Entry]) -> None:
    """Each name by itself: what the newest entry about it says, unless another label or a withdrawal came later."""
    state = fold(log).by_digest
    for digest in (A, B):
        own = [e for e in log if e.digest == digest]
        withdrawn = max((i for i, e in enumerate(own) if e.label is None), default=-1)
        own = own[withdrawn + 1 :]
        last = {e.label: i for i, e in enumerate(own)}
        positives = [i for i, e in enumerate(own) if not e.is_not]
        said = own[positives[-1]].label if positives else None
        label = said if said is not None and not own[last[said]].is_not else None
        ruled_out = {name for name, i in last.items() if own[i].is_not}
        found = state.get(digest, Said())
        assert found.label == label
        assert set(found.not_labels) == ruled_out
        assert (digest in state) == bool(own)


GROUPED = label_set(
    ["cat", "dog", "oak", "fir"], groups={"pet": ["cat", "dog"], "oak": ["oak", "fir"]}, negatives=["text", "blur"]
)


def test_names_stand_for_concepts() -> None:
    assert concepts_named(GROUPED) == {
        "cat": (0,),
        "dog": (1,),
        "oak": (2, 3),  # the group, which is what people see
        "fir": (3,),
        "text": (4,),
        "blur": (5,),
        "pet": (0, 1),
        NONE: (4, 5),
    }
    assert concepts_named(label_set(["a"]))[NONE] == ()


def rows(mask: np.ndarray) -> list[str]:
    return ["".join("01"[int(x)] for x in row) for row in mask]


def test_lessons_say_what_each_image_may_show() -> None:
    digests = [bytes([n]) * 32 for n in range(8)]
    log = [
        Entry(digests[0], "dog"),
        Entry(digests[1], "pet"),
        Entry(digests[2], NONE),
        Entry(digests[3], "cat", True),
        Entry(digests[4], "pet", True),
        Entry(digests[4], "oak", True),
        Entry(digests[5], "unicorn"),
        Entry(digests[6], "cat"),
        Entry(digests[7], "unicorn"),
        Entry(digests[7], "fir", True),
    ]
    ids = {digest: 100 - n for n, digest in enumerate(digests) if n != 6}
    found = lessons(fold(log), ids, GROUPED)
    assert found.image_ids.tolist() == [93, 96, 97, 98, 99, 100]
    assert rows(found.may_be) == ["111011", "000011", "011111", "000011", "110000", "010000"]
    assert found.is_said.tolist() == [False, False, False, True, True, True]
    assert found.shows_none.tolist() == []
    assert rows(found.answers) == ["111", "001", "111", "001", "100", "100"]
    assert found.unknown_labels == {"unicorn": 2}
    assert found.without_vector == 1


def test_none_is_no_lesson_where_there_is_no_such_answer() -> None:
    found = lessons(
        fold([Entry(A, NONE), Entry(B, "a", True), Entry(B, "b", True)]), {A: 1, B: 2}, label_set(["a", "b"])
    )
    assert len(found) == 0
    assert found.unknown_labels == {NONE: 1}
    assert found.may_be.shape == (0, 2)
    assert found.shows_none.tolist() == [1, 2]


def test_the_key_names_what_holds() -> None:
    log = [Entry(A, "cat"), Entry(B, "owl", True), Entry(B, "fox", True)]
    other_way = [Entry(B, "fox", True), Entry(A, "dog"), Entry(A, "cat"), Entry(B, "owl", True)]
    assert fold(log).key == fold(other_way).key
    assert len({fold(log[:n]).key for n in range(4)}) == 4


def test_corrected_photos_by_path_and_the_vanished_last() -> None:
    log = [Entry(C, "cat"), Entry(A, "unicorn"), Entry(B, "dog", True), Entry(B, "griffin", True)]
    found = corrected_photos(fold(log), {A: 1, B: 2}, {1: ["/z.jpg"], 2: ["/a.jpg", "/b.jpg"]}, GROUPED)
    assert found == [
        CorrectedPhoto(("/a.jpg", "/b.jpg"), B.hex(), None, ("dog", "griffin"), ("griffin",), 2),
        CorrectedPhoto(("/z.jpg",), A.hex(), "unicorn", (), ("unicorn",), 1),
        CorrectedPhoto((), C.hex(), "cat", ()),
    ]
    assert found[1].to_dict() == {
        "paths": ["/z.jpg"],
        "digest": A.hex(),
        "label": "unicorn",
        "not": [],
        "unknown": ["unicorn"],
        "image_id": 1,
        "said_at": None,
    }


def test_a_table_of_statements() -> None:
    text = '\ufeffLabel,path,not\ncat,"a, b.jpg",\n cafe\u0301 ,/x/c.jpg,Yes\ndog,d.jpg,0\n'
    assert parse_csv(text, source="x.csv") == [
        Statement("a, b.jpg", "cat"),
        Statement("/x/c.jpg", "café", True),
        Statement("d.jpg", "dog"),
    ]
    assert parse_csv("path,label\n", source="x.csv") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns path and label"),
        ("a.jpg,cat\n", "path is missing"),
        ("path,labels\n", "label is missing"),
        ("path,label\na.jpg,cat\nb.jpg\n", "line 3: there is no label"),
        ("path,label\n,cat\n", "line 2: path is empty"),
        ("path,label,not\na.jpg,cat,maybe\n", "line 2: .*'maybe'"),
        ('path,label\n"a.jpg,cat\n', "line 2: unexpected end"),
    ],
)
def test_a_table_that_cannot_be_read_names_the_line(text: str, says: str) -> None:
    with pytest.raises(BadLabelFile, match=says):
        parse_csv(text, source="x.csv")
