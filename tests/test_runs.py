"""Recorded runs: what is kept, when it is answered from, and what a repetition says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from zsindex.cli import cli

from tests import libraries
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.statements import counting_statements
from zsindex import config
from zsindex.classification import scorers
from zsindex.classification import scores as classify_module
from zsindex.classification.options import QuestionOptions
from zsindex.classification.prompts import label_set
from zsindex.errors import LibraryReadOnly, NotInLibrary, StorageFailed, StorageFull, UnknownModel, UnknownRun
from zsindex.library import Library
from zsindex.services.run_store import RunNotRecorded, StoredAnswerDamaged

LABELS = ["red", "green", "blue"]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    for name in ("red", "green", "blue", "white"):
        photo(tmp_path / "photos" / f"{name}.png", name)
    libraries.new_library(tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(tmp_path / "photos")
        yield opened


def run_file(library: Library, key: str) -> Path:
    [file] = (library.path / "index").glob(f"run-{key}-*.npz")
    return file


@pytest.fixture
def no_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where photos would be compared with labels."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(classify_module, "classify", refuse)
    monkeypatch.setattr(scorers, "rank", refuse)


def test_a_plain_question_records_nothing(library: Library) -> None:
    library.classify(LABELS)
    assert library.runs.list() == []
    assert list((library.path / "index").glob("run-*")) == []


def test_a_run_is_kept_with_all_that_is_needed_to_ask_again(library: Library) -> None:
    asked = label_set({"red": ["a red wall", "a red car"], "sea": ["blue"]}, negatives=["green"], groups={"r": ["red"]})
    library.labels.save("mine", asked)
    result = library.classify(label_set="mine", top=2, record=True)
    [record] = library.runs.list()
    assert library.runs.get(record.key) == library.runs.get(record.key[:6]) == record
    assert record.key == result.run.key
    assert record.run == json.loads(json.dumps(result.run.to_dict()))
    assert record.label_set["labels"] == {"red": ["a red wall", "a red car"], "sea": ["blue"]}
    assert record.label_set["negatives"] == {"green": ["This is a photo of green."]}
    assert (record.photos, record.answers, record.stored) == (4, result.labels, True)
    assert json.loads(json.dumps(record.to_dict()))["run"]["label_set_version"] == 1


def test_every_option_of_classify_is_remembered(library: Library) -> None:
    asked = library.classify(LABELS).run.asked
    assert asked is not None
    others = {"label_set", "template", "sync", "record"}
    assert set(asked.arguments) == set(QuestionOptions.__annotations__) - others
    assert json.loads(json.dumps(asked.arguments)) == asked.arguments


def test_repeating_with_other_ways_of_answering(library: Library, tmp_path: Path) -> None:
    grouped = label_set([*LABELS, "white"], groups={"colours": LABELS})
    for options in ({"unknown": "mcm:0.3"}, {"multi_label": True}, {"unknown": "mcm:0.3", "top": 2}):
        result = library.classify(grouped, record=True, **options)
        again = library.runs.repeat(result.run.key)
        assert again.same
        assert again.result.to_dicts() == result.to_dicts()
        assert library.classify(grouped, record=True, **options).to_dicts() == result.to_dicts()


def test_prompts_that_templates_make_are_not_kept_twice(library: Library) -> None:
    labels = [f"label number {n}" for n in range(30)]
    templates = [f"template {n} of {{}}" for n in range(40)]
    for asked in (
        label_set(labels, templates=templates),
        label_set(labels, templates=templates, negatives=["a", "b"], groups={"g": labels[:3]}),
    ):
        result = library.classify(asked, record=True)
        record = library.runs.get(result.run.key)
        assert record.label_set["labels"] == labels
        assert len(json.dumps(record.label_set)) < 3000
        assert library.runs.repeat(record.key).same


def test_an_unchanged_question_is_answered_from_the_stored_answer(
    library: Library, request: pytest.FixtureRequest
) -> None:
    first = library.classify(LABELS, top=2, record=True)
    scores = first.scores
    request.getfixturevalue("no_scoring")
    again = library.classify(LABELS, top=2, record=True)
    assert again.to_dicts() == first.to_dicts()
    assert again.run.key == first.run.key
    assert np.array_equal(again.scores, scores)  # of all answers: computed from the vectors, as ever
    with pytest.raises(AssertionError, match="scored again"):
        library.classify(LABELS, top=3, record=True)  # another question


def test_answering_from_the_store_writes_nothing(library: Library) -> None:
    library.classify(LABELS, record=True)
    with counting_statements() as seen:
        library.classify(LABELS, record=True)
    assert not [s for s in seen if not s.startswith(("SELECT", "BEGIN"))]


def test_new_photos_and_other_labels_make_another_run(library: Library, tmp_path: Path) -> None:
    keys = [library.classify(LABELS, record=True).run.key]
    photo(tmp_path / "photos" / "more.png", "red", mark=7)
    library.sync()
    keys.append(library.classify(LABELS, record=True).run.key)
    keys.append(library.classify(LABELS, template="a {} wall", record=True).run.key)
    assert len(set(keys)) == 3
    assert [record.key for record in library.runs.list()] == keys[::-1]


@pytest.mark.parametrize("damage", ["gone", "cut", "other version"])
def test_an_answer_that_does_not_fit_is_computed_again(
    library: Library, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library.classify(LABELS, record=True)
    file = run_file(library, first.run.key)
    if damage == "gone":
        file.unlink()
        assert not library.runs.get(first.run.key).stored
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        monkeypatch.setattr("zsindex.services.questions.__version__", "99")
    called = []
    score = classify_module.classify
    monkeypatch.setattr(classify_module, "classify", lambda *a, **o: called.append(1) or score(*a, **o))
    with pytest.warns(StoredAnswerDamaged) if damage == "cut" else nullcontext():
        assert library.classify(LABELS, record=True).to_dicts() == first.to_dicts()
    assert called == [1]
    library.classify(LABELS, record=True)
    assert called == [1]  # and was stored again


def test_repeating_an_unchanged_run(library: Library) -> None:
    key = library.classify(LABELS, top=1, record=True).run.key
    again = library.runs.repeat(key)
    assert again.same
    assert (again.compared, again.flips, again.largest_change, again.added, again.gone) == (4, (), 0.0, 0, 0)


def test_repeating_says_what_flipped_came_and_went(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    key = library.classify(LABELS, top=1, record=True).run.key
    photo(folder / "red.png", "blue")  # other content under the same name
    photo(folder / "new.png", "green", mark=9)
    (folder / "green.png").unlink()
    library.sync()
    again = library.runs.repeat(key)
    assert not again.same
    assert [(f.path, f.before, f.after) for f in again.flips] == [(str(folder / "red.png"), "red", "blue")]
    assert (again.compared, again.added, again.gone) == (3, 1, 1)
    assert again.largest_change == 0.0
    assert again.result.run.options == library.classify(LABELS, top=1).run.options
    assert len(library.runs.list()) == 1
    assert library.runs.repeat(key, record=True).result.run.key in {record.key for record in library.runs.list()}
    assert json.loads(json.dumps(again.to_dict()))["flipped"] == 1


def test_repeating_keeps_labels_options_and_filters(library: Library, tmp_path: Path) -> None:
    (tmp_path / "photos" / "sub").mkdir()
    library.labels.save("mine", LABELS)
    asked = library.classify(
        label_set="mine", template="a {} wall", paths=tmp_path / "photos", activation="sigmoid", top=2
    ).filtered(min_score=0.6, only=["red", "blue"])
    library.runs.record(asked)
    library.labels.save("mine", ["black"])  # what is asked again is what was asked, not what is called so now
    again = library.runs.repeat(asked.run.key)
    assert again.same
    assert again.result.to_dicts() == asked.to_dicts()
    photo(tmp_path / "photos" / "new.png", "green", mark=9)
    library.sync()
    once_more = library.runs.repeat(asked.run.key, record=True)
    assert once_more.result.run.labels == tuple(LABELS)
    assert once_more.result.run.activation == "sigmoid"
    assert (once_more.same, once_more.compared, once_more.flips) == (False, len(asked), ())
    assert library.runs.get(once_more.result.run.key).photos == len(once_more.result)


def test_without_the_stored_answer_there_is_nothing_to_compare_with(library: Library, tmp_path: Path) -> None:
    key = library.classify(LABELS, record=True).run.key
    shutil.rmtree(library.path / "index")
    photo(tmp_path / "photos" / "new.png", "green", mark=9)
    library.sync()
    again = library.runs.repeat(key)
    assert (again.same, again.compared, again.flips, len(again.result)) == (False, None, (), 5)


def test_a_run_of_another_model_is_repeated_with_that(tmp_path: Path, library: Library) -> None:
    key = library.classify(LABELS, record=True).run.key
    with Library.open(library.path, encoder=FakeEncoder("other")) as other:
        other.sync(tmp_path / "photos")
        assert other.classify(LABELS).run.fingerprint != library.model.fingerprint
        again = other.runs.repeat(key)  # not the same: that sync has seen the files anew
        assert again.result.run.fingerprint == library.model.fingerprint
        assert (again.compared, again.flips, again.largest_change) == (4, (), 0.0)


def test_a_run_of_a_model_that_is_gone(tmp_path: Path, library: Library) -> None:
    with Library.open(library.path, encoder=FakeEncoder("other")) as other:
        other.sync(tmp_path / "photos")
        key = other.classify(LABELS, record=True).run.key
    library.prune(models=["other"])
    with pytest.raises(UnknownModel, match="weights that the run was made with"):
        library.runs.repeat(key)


def test_a_run_about_photos_that_are_gone(tmp_path: Path, library: Library) -> None:
    key = library.classify(LABELS, paths=tmp_path / "photos" / "red.png", record=True).run.key
    (tmp_path / "photos" / "red.png").unlink()
    library.sync()
    library.prune()
    with pytest.raises(NotInLibrary):
        library.runs.repeat(key)


def test_unknown_keys(library: Library) -> None:
    with pytest.raises(UnknownRun, match="--record"):
        library.runs.get("abc")
    for top in (1, 2, 3):
        library.classify(LABELS, top=top, record=True)
    for key in ("", "x"):
        with pytest.raises(UnknownRun) as caught:
            library.runs.get(key)
        assert len(caught.value.known) == 3


def test_only_so_many_runs_and_bytes_are_kept(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSINDEX_RUNS", "3")
    keys = [library.classify(LABELS, template=f"{n} {{}}", record=True).run.key for n in range(5)]
    assert [record.key for record in library.runs.list()] == keys[:1:-1]
    assert set((library.path / "index").glob("run-*")) == {run_file(library, key) for key in keys[2:]}
    size = run_file(library, keys[4]).stat().st_size
    monkeypatch.setenv("ZSINDEX_RUNS_MB", str(2 * size + size // 2))
    monkeypatch.setenv("ZSINDEX_PROMPTS_MB", "1000000")
    monkeypatch.setattr(config, "MB", 1)
    keys.append(library.classify(LABELS, template="6 {}", record=True).run.key)
    assert [(record.key, record.stored) for record in library.runs.list()] == [
        (keys[5], True),
        (keys[4], True),
        (keys[3], False),  # the question is still known
    ]


def test_check_and_prune_know_the_files_of_runs(library: Library) -> None:
    key = library.classify(LABELS, record=True).run.key
    assert library.check().ok
    library.prune()
    assert run_file(library, key).exists()
    stray = library.path / "index" / f"run-{'f' * 16}-0.npz"
    stray.write_bytes(b"?")
    assert not library.check().ok
    library.prune()
    assert not stray.exists()
    run_file(library, key).write_bytes(b"?")
    [problem] = library.check().problems
    assert "damaged" in problem
    assert library.check(fix=True).ok
    assert not library.runs.get(key).stored
    assert library.check().ok  # one that is not there is no problem: it is derived


def test_a_read_only_library_answers_and_records_nothing(library: Library) -> None:
    first = library.classify(LABELS, record=True)
    with Library.open(library.path, encoder=FakeEncoder(), read_only=True) as reader:
        assert reader.classify(LABELS, record=True).to_dicts() == first.to_dicts()
        other = reader.classify(LABELS, top=1, record=True)
        assert len(reader.runs.list()) == 1
        with pytest.raises(LibraryReadOnly):
            reader.runs.record(other)


def test_no_room_is_no_reason_to_lose_the_answer(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zsindex.index.files.Making.create", full)
    with pytest.warns(RunNotRecorded, match="no space left"):
        assert len(library.classify(LABELS, record=True)) == 4
    with pytest.raises(StorageFull):
        library.runs.record(library.classify(LABELS))
    assert library.runs.list() == []
    monkeypatch.undo()
    assert library.check().ok


def test_a_crash_between_file_and_record_leaves_a_stray(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        library.session.storage.labels, "save_run", lambda *a, **o: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        library.classify(LABELS, record=True)
    monkeypatch.undo()
    assert library.runs.list() == []
    assert not library.check().ok
    assert library.check(fix=True).ok


def test_runs_on_the_command_line(library: Library, tmp_path: Path) -> None:
    library.embed_texts([f"This is a photo of {label}." for label in LABELS])

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli, [*words, "--library", str(library.path)])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    asked = ["classify", *(word for label in LABELS for word in ("-l", label))]
    assert run("runs", "list") == ""
    assert json.loads(run("runs", "list", "--json")) == []
    run(*asked)
    assert run("runs", "list") == ""
    document = json.loads(run(*asked, "--record", "--format", "json"))
    key = document["run"]["key"]
    assert key in run("runs", "list")
    assert key in run("runs", "show", key[:5])
    assert json.loads(run("runs", "show", key, "--json"))["run"] == document["run"]
    assert "the same" in run("runs", "repeat", key)
    photo(tmp_path / "photos" / "red.png", "blue")
    library.sync()
    said = run("runs", "repeat", key)
    assert "1 flipped" in said
    assert str(tmp_path / "photos" / "red.png") in said
    assert json.loads(run("runs", "repeat", key, "--json"))["flips"][0]["after"] == "blue"
    filtered = json.loads(run(*asked, "--only", "blue", "--min-score", "0.5", "--record", "--format", "json"))
    assert json.loads(run("runs", "show", filtered["run"]["key"], "--json"))["photos"] == len(filtered["results"])
    run_file(library, key).unlink()
    assert "4 photos" in run("runs", "repeat", key)
    assert "no single run" in run("runs", "repeat", "zz", code=1)


def test_a_stored_answer_that_cannot_be_read_is_not_called_damaged(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = library.runs.record(library.classify(["red", "blue"]))
    file, read = run_file(library, recorded.key), Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self == file:
            raise OSError(5, "Input/output error")
        return read(self)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        with pytest.raises(StorageFailed, match="Input/output error"):
            library.check(fix=True)
    assert file.exists()
    assert library.check().problems == ()
