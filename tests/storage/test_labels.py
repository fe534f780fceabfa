"""Every storage: what is kept for the label lab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.libraries import add_model, digest_of
from tests.storage import memory
from zsindex.storage import jobs as jobs_in_sql
from zsindex.storage import labels as labels_in_sql
from zsindex.storage.protocol import LabelStorage, Storage
from zsindex.storage.rows import MOST_DERIVED, CorrectionEntry, DecisionEntry, LookRow, ModelRow, SidecarRow


@pytest.fixture
def labels(storage: Storage) -> LabelStorage:
    return storage.labels


def test_label_sets_are_kept_by_name_and_version(storage: Storage, labels: LabelStorage) -> None:
    assert labels.save_label_set("b", {"labels": ["ü", "猫"]}) == 1
    assert labels.save_label_set("a", {"labels": []}) == 1
    assert labels.save_label_set("b", {"labels": ["new"]}) == 2
    assert labels.save_label_set("b", {"labels": ["new"]}) == 2  # the same again is no new version
    assert labels.save_label_set("b", {"labels": ["ü", "猫"]}) == 3  # what an older one says is
    assert [(s.name, s.version, s.body) for s in storage.reads.label_sets()] == [
        ("a", 1, {"labels": []}), ("b", 3, {"labels": ["ü", "猫"]})
    ]  # fmt: skip
    assert [(s.version, s.body["labels"]) for s in storage.reads.label_set_versions("b")] == [
        (1, ["ü", "猫"]), (2, ["new"]), (3, ["ü", "猫"])
    ]  # fmt: skip
    assert storage.reads.label_set_versions("c") == []


def test_the_order_of_labels_makes_a_version(labels: LabelStorage) -> None:
    assert labels.save_label_set("a", {"labels": {"x": ["p"], "y": ["q"]}}) == 1
    assert labels.save_label_set("a", {"labels": {"y": ["q"], "x": ["p"]}}) == 2


def test_removing_a_label_set_takes_its_versions_and_thresholds(storage: Storage, labels: LabelStorage) -> None:
    for words in (["x"], ["y"]):
        labels.save_label_set("a", {"labels": words})
    labels.save_thresholds("a", [("y", 0.1, {})])
    labels.add_corrections("a", [CorrectionEntry(digest_of("1"), "y")])
    assert labels.remove_label_set("a")
    assert not labels.remove_label_set("a")
    assert (storage.reads.label_set_versions("a"), labels.thresholds("a")) == ([], {})
    assert labels.corrections("a") == [CorrectionEntry(digest_of("1"), "y", False)]  # a person's work outlives it


def test_template_sets_are_replaced(storage: Storage, labels: LabelStorage) -> None:
    labels.save_template_set("b", ["a {}"])
    labels.save_template_set("a", ["ein {}", "das {}"])
    labels.save_template_set("b", ["the {}"])
    assert storage.reads.template_sets() == {"a": ("ein {}", "das {}"), "b": ("the {}",)}
    assert [labels.remove_template_set("b"), labels.remove_template_set("b")] == [True, False]


def test_decisions_are_undone_a_batch_at_a_time(labels: LabelStorage) -> None:
    first = DecisionEntry("different", digest_of("1"), "/Ö 1", digest_of("2"), "/2")
    bulk = [DecisionEntry("keep", digest_of("2"), "/2"), DecisionEntry("forget", digest_of("1"), "/1")]
    labels.add_decisions([first])
    labels.add_decisions([])
    labels.add_decisions(bulk)
    said = labels.decisions()
    assert [entry._replace(decided_at="") for entry in said] == [first, *bulk]
    assert all(entry.decided_at.startswith("20") for entry in said)
    assert labels.undo_decisions() == said[1:]
    labels.add_decisions(bulk[:1])
    assert [entry._replace(decided_at="") for entry in labels.undo_decisions()] == bulk[:1]
    assert labels.undo_decisions() == said[:1]
    assert labels.undo_decisions() == labels.decisions() == []


def test_many_decisions_are_one_batch(labels: LabelStorage) -> None:
    many = [DecisionEntry("keep", digest_of(str(n)), f"/{n}") for n in range(1200)]
    labels.add_decisions(many)
    assert [entry.path for entry in labels.decisions()] == [entry.path for entry in many]
    assert len(labels.undo_decisions()) == 1200
    assert labels.decisions() == []


def test_albums_are_replaced_and_remember_what_was_seen(labels: LabelStorage) -> None:
    first, other = {"query": "Öl", "where": None}, {"query": None, "where": {"year": "2019"}}
    labels.save_album("b", first)
    labels.save_album("a", other)
    assert [(row.name, row.body, row.seen, row.seen_at) for row in labels.albums()] == [
        ("a", other, None, None),
        ("b", first, None, None),
    ]
    seen = {digest_of("1"): "/Ö 1", digest_of("2"): "/2"}
    assert [labels.see_album("b", seen), labels.see_album("c", seen)] == [True, False]
    labels.save_album("b", first)  # says the same
    [_, row] = labels.albums()
    assert (row.seen, (row.seen_at or "").startswith("20")) == (seen, True)
    assert labels.see_album("b", {})
    assert labels.albums()[1].seen == {}
    labels.save_album("b", other)
    assert (labels.albums()[1].body, labels.albums()[1].seen) == (other, None)
    assert [labels.remove_album("b"), labels.remove_album("b")] == [True, False]
    assert [row.name for row in labels.albums()] == ["a"]


def test_surveys_are_found_again_by_their_question_until_they_end(labels: LabelStorage) -> None:
    question = {"label": "Öl", "where": None}
    first = labels.begin_survey("count", question, np.array([2, 3, 1 << 40]))
    assert labels.begin_survey("count", {"where": None, "label": "Öl"}) == first
    other = labels.begin_survey("review", question)
    assert [(row.id, row.kind, row.question, row.ended_at, row.result) for row in labels.surveys()] == [
        (first, "count", question, None, None),
        (other, "review", question, None, None),
    ]
    assert [None if row.image_ids is None else row.image_ids.tolist() for row in labels.surveys()] == [
        [2, 3, 1 << 40],
        None,
    ]
    assert [labels.end_survey(first, {"estimate": 12.5}), labels.end_survey(99, None)] == [True, False]
    [ended, _] = labels.surveys()
    assert (ended.result, (ended.ended_at or "").startswith("20")) == ({"estimate": 12.5}, True)
    again = labels.begin_survey("count", question)
    assert again not in (first, other)
    assert [labels.forget_survey(again), labels.forget_survey(again)] == [True, False]
    assert labels.begin_survey("count", question) > again  # ids are never given again


def test_looks_are_kept_with_their_answers(labels: LabelStorage) -> None:
    survey = labels.begin_survey("count", {})
    drawn = [LookRow(n, digest_of(str(n)), f"/Ö {n}", {"chance": n / 8}) for n in (1, 2, 3)]
    assert [labels.add_looks(survey, drawn[:1]), labels.add_looks(survey, drawn[1:]), labels.add_looks(99, drawn)] == [
        True,
        True,
        False,
    ]
    assert not labels.add_looks(survey, [LookRow(4, b"x", "/x", {}), drawn[0]])  # and nothing of it is kept
    assert labels.looks(survey) == drawn
    assert [labels.answer_look(survey, n, answer) for n, answer in ((1, "no"), (1, "Eule"), (2, "yes"))] == [True] * 3
    assert not labels.answer_look(survey, 4, "yes")
    assert not labels.answer_look(survey, 2, "no", waiting=True)  # somebody was first
    assert not labels.answer_look(99, 1, "yes")
    assert [(row.answer, row.answered_at is None) for row in labels.looks(survey)] == [
        ("Eule", False),
        ("yes", False),
        (None, True),
    ]
    assert labels.answer_look(survey, 1, None)  # the third may have been drawn because of it
    assert [(row.number, row.answer, row.answered_at is None) for row in labels.looks(survey)] == [
        (1, None, True),
        (2, "yes", False),
    ]
    assert labels.end_survey(survey, None)
    assert not labels.answer_look(survey, 1, "yes")
    assert not labels.add_looks(survey, [LookRow(9, b"x", "/x", {})])
    assert labels.forget_survey(survey)
    assert labels.looks(survey) == []


def test_corrections_are_undone_a_batch_at_a_time(labels: LabelStorage) -> None:
    first = CorrectionEntry(digest_of("1"), "cat")
    bulk = [CorrectionEntry(digest_of("2"), "dog"), CorrectionEntry(digest_of("1"), "dog", is_not=True)]
    last = CorrectionEntry(digest_of("1"), None)
    labels.add_corrections("a", [first])
    labels.add_corrections("other", [first])
    labels.add_corrections("a", bulk)
    labels.add_corrections("a", [last])
    assert labels.corrections("a") == [first, *bulk, last]
    assert labels.undo_corrections("a") == [last]
    assert labels.undo_corrections("a") == bulk
    labels.add_corrections("a", bulk)
    assert labels.undo_corrections("a") == bulk
    assert labels.undo_corrections("a") == [first]
    assert labels.undo_corrections("a") == []
    assert labels.corrections("other") == [first]


def test_thresholds_replace_those_of_the_same_labels(labels: LabelStorage) -> None:
    labels.save_thresholds("a", [("cat", 0.25, {"by": "rate"}), ("dog", 0.5, {"by": "score", "score": 0.7})])
    labels.save_thresholds("a", [("cat", 0.125, {"by": "count"})])
    found = labels.thresholds("a")
    assert {label: (row.rate, row.chosen["by"]) for label, row in found.items()} == {
        "dog": (0.5, "score"), "cat": (0.125, "count")
    }  # fmt: skip
    assert labels.remove_thresholds("a", ["dog", "x"]) == 1
    assert labels.remove_thresholds("a") == 1
    assert labels.thresholds("a") == {}


def test_what_belongs_to_a_model_goes_with_it(storage: Storage, labels: LabelStorage) -> None:
    kept, gone = add_model(storage, "kept"), add_model(storage, "gone")
    for model in (kept, gone):
        labels.save_temperature(model.id, 0.5, {"n": 3})
        labels.save_temperature(model.id, 0.25, {"n": 4})
        labels.save_derived(model.id, "negatives", "key", ["x"])
        labels.save_derived(model.id, "negatives", "key", ["y"])
    storage.photos.prune([gone.id])
    assert (labels.temperature(gone.id), storage.reads.derived(gone.id, "negatives", "key")) == (None, None)
    assert (labels.temperature(kept.id), storage.reads.derived(kept.id, "negatives", "key")) == (
        (0.25, {"n": 4}),
        ["y"],
    )
    assert storage.reads.derived(kept.id, "other", "key") is None
    assert [labels.remove_temperature(kept.id), labels.remove_temperature(kept.id)] == [True, False]


def test_only_so_many_runs_are_kept(labels: LabelStorage) -> None:
    def document(n: int, **more: str) -> dict[str, Any]:
        return {"n": n, "stored": {"file": f"file{n}"}, **more}

    for n in range(4):
        assert labels.save_run(f"run{n}", document(n), keep=4) == []
    assert labels.save_run("run0", document(9), keep=4) == ["file0"]  # asked for again: it is the newest now
    assert labels.save_run("run4", document(4), keep=3) == ["file1", "file2"]
    assert [(key, document["n"]) for key, document, _ in labels.runs()] == [
        ("run4", 4),
        ("run0", 9),
        ("run3", 3),
    ]
    found = labels.run("run3")
    assert found is not None
    assert found[:2] == ("run3", document(3))
    assert labels.run("run1") is None
    assert labels.save_run("run5", document(5, text="x" * 1000), keep=9, max_size=1060) == [
        "file3",
        "file4",
        "file9",
    ]
    assert labels.save_run("run6", document(6), keep=9, max_size=10) == ["file5"]  # the newest always stays
    assert labels.run_files() == {"run6": {"file": "file6"}}


def test_sidecars_are_kept_to_the_byte(labels: LabelStorage) -> None:
    b = SidecarRow("/b.xmp", b"\x00\xff", "b" * 64, {"dc:subject": ["x"]})
    a = SidecarRow("/a.xmp", None, "a" * 64, {})
    labels.save_sidecars([b, a])
    labels.save_sidecars([a._replace(written_sha256="c" * 64, tags={"dc:subject": ["猫"]})])
    assert labels.sidecar_paths() == ["/a.xmp", "/b.xmp"]
    found = labels.sidecars(["/a.xmp", "/b.xmp", "/c.xmp"])
    assert {path: row._replace(written_at="") for path, row in found.items()} == {
        "/a.xmp": SidecarRow("/a.xmp", None, "c" * 64, {"dc:subject": ["猫"]}),
        "/b.xmp": b,
    }
    assert all(row.written_at for row in found.values())
    labels.save_sidecars([a], forget=["/b.xmp"])
    assert labels.sidecar_paths() == ["/a.xmp"]
    labels.save_sidecars([], forget=["/a.xmp"])
    assert labels.sidecars(["/a.xmp", "/b.xmp"]) == {}


def test_what_is_stored_is_not_what_the_caller_holds(storage: Storage, labels: LabelStorage) -> None:
    body = {"labels": {"x": ["a", "b"]}}
    labels.save_label_set("a", body)
    labels.save_run("run", body, keep=1)
    body["labels"]["x"].append("c")
    storage.reads.label_sets()[0].body["labels"].clear()
    assert storage.reads.label_sets()[0].body == {"labels": {"x": ["a", "b"]}}
    assert labels.runs()[0][1] == {"labels": {"x": ["a", "b"]}}


def test_the_last_entry_about_an_image_says_when(labels: LabelStorage, clock_set_back: Callable[[], None]) -> None:
    one, other = digest_of("1"), digest_of("2")
    labels.add_corrections("a", [CorrectionEntry(one, "x"), CorrectionEntry(other, "x")])
    before = labels.corrected_at("a")
    assert set(before) == {one, other}
    clock_set_back()
    labels.add_corrections("a", [CorrectionEntry(one, "y")])
    assert labels.corrected_at("a") == {**before, one: "1970-01-01T00:00:00.000000+00:00"}
    labels.undo_corrections("a")
    assert labels.corrected_at("a") == before
    assert labels.corrected_at("b") == {}


def test_an_album_is_changed_as_it_stands(labels: LabelStorage) -> None:
    labels.change_album("a", lambda body: {"was": body})
    labels.see_album("a", {digest_of("1"): "/1"})
    labels.change_album("a", lambda body: {"was": body})
    [album] = labels.albums()
    assert album.body == {"was": {"was": None}}
    assert album.seen == {digest_of("1"): "/1"}

    def refuse(body: dict[str, Any] | None) -> dict[str, Any]:
        raise LookupError("no")

    with pytest.raises(LookupError):
        labels.change_album("a", refuse)
    assert labels.albums() == [album]


def test_adding_no_corrections_makes_no_batch(labels: LabelStorage) -> None:
    entry = CorrectionEntry(digest_of("1"), "cat")
    first = labels.add_corrections("a", [entry])
    assert labels.add_corrections("a", []) == 0
    assert labels.undo_corrections("a", only=first + 1) == []
    assert labels.undo_corrections("a", only=first) == [entry]
    assert labels.undo_corrections("a", only=first) == []
    again = labels.add_corrections("a", [entry])
    assert again > first  # no number is given twice
    assert labels.undo_corrections("a", only=first) == []
    assert labels.undo_corrections("a") == [entry]


def test_only_so_much_is_kept_of_what_was_computed(storage: Storage, labels: LabelStorage) -> None:
    """The newest of each kind under each model; one that is stored again is new."""
    model, other = add_model(storage), add_model(storage, "other")
    labels.save_derived(model.id, "another kind", "0", 0)
    labels.save_derived(other.id, "kind", "0", 0)
    for n in range(MOST_DERIVED):
        labels.save_derived(model.id, "kind", str(n), n)
    labels.save_derived(model.id, "kind", "0", "again")
    labels.save_derived(model.id, "kind", "new", "new")
    assert storage.reads.derived(model.id, "kind", "1") is None
    assert [storage.reads.derived(model.id, "kind", key) for key in ("0", "2", "new")] == ["again", 2, "new"]
    assert (storage.reads.derived(model.id, "another kind", "0"), storage.reads.derived(other.id, "kind", "0")) == (
        0,
        0,
    )
    labels.save_derived(model.id, "kind", "few", "few", keep=2)
    assert [storage.reads.derived(model.id, "kind", key) for key in ("2", "new", "few")] == [None, "new", "few"]


@pytest.fixture
def clock_set_back(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and what is stored from then on is dated before what was stored until then, as every row after that."""

    def set_back() -> None:
        for module in (labels_in_sql, jobs_in_sql, memory):
            monkeypatch.setattr(module, "now", lambda: "1970-01-01T00:00:00.000000+00:00")

    return set_back


def test_what_came_last_is_the_newest_whatever_the_clock_says(
    storage: Storage, model: ModelRow, clock_set_back: Callable[[], None]
) -> None:
    for n in range(3):
        storage.labels.save_run(f"future{n}", {"stored": {"file": f"file{n}"}}, keep=3)
        storage.jobs.save_job(f"future{n}", "sync", "queued", {}, keep=3)
    for n in range(MOST_DERIVED):
        storage.labels.save_derived(model.id, "kind", f"future{n}", n)
    clock_set_back()
    for n in range(2):
        assert storage.labels.save_run(f"present{n}", {"stored": {"file": "new"}}, keep=3) == [f"file{n}"]
        storage.jobs.save_job(f"present{n}", "sync", "queued", {}, keep=3)
        storage.labels.save_derived(model.id, "kind", f"present{n}", n)
        storage.vacuum()
    assert [key for key, *_ in storage.labels.runs()] == ["present1", "present0", "future2"]
    assert list(storage.labels.run_files()) == ["present1", "present0", "future2"]
    assert [job.id for job in storage.jobs.jobs(9)] == ["present1", "present0", "future2"]
    kept = [storage.reads.derived(model.id, "kind", key) for key in ("future0", "future1", "present0", "present1")]
    assert kept == [None, None, 0, 1]
    assert storage.reads.derived(model.id, "kind", "future2") == 2
