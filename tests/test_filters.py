"""Filters of a library's photos: every question by them gives what it would give of those photos alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.filtered import album as make_album
from tests.filtered import xmp
from tests.libraries import execute
from tests.test_where import fits_one, some_expression
from zsindex.arguments.filters import KINDS
from zsindex.classification.options import Query, Question
from zsindex.errors import BadFilter, NoFacts, UnknownLabel, UnknownLabelSet
from zsindex.library import Library
from zsindex.services.filters import FactsMissing
from zsindex.services.search import Search
from zsindex.where import (
    Where,
    answered,
    box,
    camera,
    corrected,
    hour,
    keyword,
    month,
    near,
    path,
    rating,
    taken,
    year,
)

LABELS = ["red", "green", "blue"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return make_album(tmp_path / "album")


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


def expected(library: Library, where: Where) -> list[str]:
    """The files that fit, told one by one from what the library says of each."""
    said = where.to_json()
    return [file for file in library.photos.paths() if fits_one(said, library.facts(file), file)]


EXPRESSIONS = [
    taken >= "2018-06",
    (year == 2019) | (year == 2017),
    month.between(11, 2),
    hour < 12,
    camera.contains("iphone"),
    ~camera.contains("iphone"),
    near(48, 11, km=10),
    ~near(48, 11, km=10) & (rating >= 2),
    box(-20, 170, 0, -170),
    keyword == "vögel",
    (keyword == "kept") | (keyword == "夏"),
    rating.known & ~(rating >= 4),
    year == 2015,
    (taken >= "2018") & (taken < "2018"),
]


@pytest.mark.parametrize("where", EXPRESSIONS, ids=repr)
def test_every_question_is_about_the_photos_that_fit(library: Library, tmp_path: Path, where: Where) -> None:
    paths = expected(library, where)
    found = library.classify(LABELS, where=where)
    assert found.paths == paths
    whole = {result.path: result for result in library.classify(LABELS)}
    assert [result.predictions for result in found] == [whole[file].predictions for file in paths]

    every = library.search("red", top=100, exact=True)
    fitting = {file: hit.score for hit in every for file in (hit.path, *hit.copies) if file in paths}
    hits = library.search("red", top=100, where=where)
    assert {file: hit.score for hit in hits for file in (hit.path, *hit.copies)} == fitting
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert [hit.image_id for hit in hits] == [
        hit.image_id for hit in every if not fitting.keys().isdisjoint((hit.path, *hit.copies))
    ]
    assert [(h.path, h.score) for h in library.search("red", top=2, where=where)] == [
        (h.path, h.score) for h in hits[:2]
    ]
    assert library.session.index.on_server or _by_pages(library, where) == [hit.image_id for hit in hits]

    like = library.similar(library.photos.paths()[0], top=100, where=where)
    assert {file for hit in like for file in (hit.path, *hit.copies)} == set(paths) - {library.photos.paths()[0]}

    groups = library.neighbours.duplicates(threshold=0.5, where=where, look=False)
    assert groups.photos == len(paths)
    assert {p.path for group in groups.groups for p in (group.keep, *group.others)} <= set(paths)


def _by_pages(library: Library, where: Where) -> list[int]:
    search, ids, place = Search(library.session), [], None
    vector = library.embed_texts(["red"])[0]
    while True:
        page = search.page(vector, top=3, after=place, where=where)
        ids += [hit.image_id for hit in page.hits]
        if page.next is None:
            return ids
        place = page.next


@pytest.mark.parametrize("seed", range(3))
def test_random_expressions(library: Library, seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    facts = {file: library.facts(file) for file in library.photos.paths()}
    for _ in range(40):
        where = some_expression(random, 3)
        paths = [file for file, one in facts.items() if fits_one(where.to_json(), one, file)]
        assert library.classify(LABELS, where=where).paths == paths, where


def test_a_photo_fits_if_one_of_its_files_does(library: Library, album: Path) -> None:
    first, copy = str(album / "2017" / "photo 00.jpg"), str(album / "copies" / "IMG_20150203_040506.jpg")
    both = library.classify(LABELS, where=(keyword == "vögel") & (path.under(first) | path.under(copy)))
    assert both.paths == [first, copy]
    # The sidecar belongs to the file beside it.
    [hit] = library.search("red", where=keyword == "kept")
    assert (hit.path, hit.copies) == (copy, ())
    [hit] = library.search("red", where=~(keyword == "kept") & path.under(first))
    assert (hit.path, hit.copies) == (first, ())
    assert library.classify(LABELS, where=~(keyword == "kept")).paths.count(copy) == 0


def test_paths_and_filters_go_together(library: Library, album: Path) -> None:
    where = ~camera.contains("iphone")
    inside = [file for file in expected(library, where) if file.startswith(str(album / "2018"))]
    assert inside
    assert library.classify(LABELS, where=where, paths=album / "2018").paths == inside
    assert {hit.path for hit in library.search("red", where=where, paths=album / "2018")} == set(inside)
    assert (
        expected(library, ~path.under(str(album / "2018")))
        == library.classify(LABELS, where=~path.under(str(album / "2018"))).paths
    )


# --- runs -------------------------------------------------------------------------------------------------------------


def test_filters_enter_the_key_of_a_run(library: Library) -> None:
    keys = [library.classify(LABELS).run.key, library.plan(Question(LABELS)).run.key]
    assert keys[0] == keys[1]
    filtered = [library.plan(Question(LABELS, where=where)).run.key for where in EXPRESSIONS]
    assert len({*filtered, *keys}) == len(filtered) + 1
    a, b = camera.contains("iphone"), rating >= 2
    assert library.plan(Question(LABELS, where=a & b)).run.key == library.classify(LABELS, where=b & a).run.key
    assert library.plan(Question(LABELS, where=a)).photos != library.plan(Question(LABELS)).photos


def test_what_photos_say_enters_it_too(library: Library, album: Path) -> None:
    where = rating == 5
    before = library.classify(LABELS, where=where)
    file = album / "2018" / "photo 01.jpg"
    assert str(file) not in before.paths
    file.with_suffix(".xmp").write_text(xmp(5), encoding="utf-8")
    library.sync(album)
    after = library.classify(LABELS, where=where)
    assert sorted([*before.paths, str(file)]) == sorted(after.paths)
    assert after.run.key != before.run.key


def test_a_recorded_run_is_asked_again_with_its_filters(library: Library) -> None:
    where = ~camera.contains("iphone") & (taken >= "2018")
    found = library.classify(LABELS, where=where, record=True)
    again = library.classify(LABELS, where=where.to_json(), record=True)
    assert (again.run.key, again.paths, list(again)) == (found.run.key, found.paths, list(found))
    repeated = library.runs.repeat(found.run.key)
    assert repeated.result.paths == found.paths
    assert repeated.result.run.key == found.run.key
    record = library.runs.get(found.run.key)
    assert record.run["options"]["where"][0] == where.to_json()


# --- other questions --------------------------------------------------------------------------------------------------


def test_photos_that_another_question_answered_so(library: Library) -> None:
    library.labels.save("colours", LABELS)
    answers = library.classify(label_set="colours")
    red = [result.path for result in answers if result.label == "red"]
    assert 0 < len(red) < len(answers)
    assert library.classify(["a", "b"], where=answered("colours", "red")).paths == red
    assert library.classify(["a", "b"], where=~answered("colours", "red")).paths == [
        file for file in answers.paths if file not in red
    ]
    middle = sorted(result.score for result in answers if result.label == "red")[len(red) // 2]
    sure = [result.path for result in answers if result.label == "red" and result.score >= middle - 1e-6]
    assert 0 < len(sure) < len(red)
    least = float(middle) - 1e-6
    assert library.classify(["a", "b"], where=answered("colours", "red", min_score=least)).paths == sure
    assert {h.path for h in library.search("x", top=99, where=answered("colours", "red"))} <= set(red)
    with pytest.raises(UnknownLabel):
        library.classify(["a", "b"], where=answered("colours", "purple"))
    with pytest.raises(UnknownLabelSet):
        library.search("red", where=answered("shapes", "round"))


def test_photos_that_were_corrected(library: Library) -> None:
    library.labels.save("colours", LABELS)
    files = library.photos.paths()
    first, second = files[3], files[5]
    library.corrections.add("colours", first, "red")
    before = library.plan(Question(LABELS, where=corrected("colours"))).run.key
    assert library.classify(LABELS, where=corrected("colours")).paths == [first]
    library.corrections.add("colours", second, "blue")
    assert library.classify(LABELS, where=corrected("colours")).paths == [first, second]
    assert library.plan(Question(LABELS, where=corrected("colours"))).run.key != before
    with pytest.raises(UnknownLabelSet):
        library.classify(LABELS, where=corrected("shapes"))


def test_what_is_called_unknown_is_a_matter_of_the_whole_library(library: Library) -> None:
    where = camera.contains("canon")
    whole = {r.path: r.label for r in library.classify(LABELS, unknown="mcm:0.3")}
    some = library.classify(LABELS, unknown="mcm:0.3", where=where)
    assert {r.path: r.label for r in some} == {file: whole[file] for file in expected(library, where)}


def test_thresholds_are_shown_of_the_photos_that_fit_and_stay_shares_of_all(library: Library) -> None:
    library.labels.save("colours", LABELS)
    where, fitting = camera.contains("canon"), expected(library, camera.contains("canon"))
    whole = library.thresholds.choose("colours", "red", rate=0.5)
    some = library.thresholds.choose("colours", "red", rate=0.25, where=where, dry_run=True)
    every = library.thresholds.choose("colours", "red", rate=0.25, dry_run=True)
    assert (some.score, some.rate) == (every.score, every.rate)
    assert some.leave == tuple(file for file in every.leave if file in fitting)
    assert some.photos <= every.photos
    curves = library.thresholds.curves("colours", where=where)
    [red] = [curve for curve in curves.curves if curve.label == "red"]
    assert (curves.photos, red.score) == (len(fitting), whole.score)
    answers = {r.path: {p.label: p.score for p in r.predictions} for r in library.classify(label_set="colours")}
    assert whole.score is not None
    assert red.photos == sum(answers[file]["red"] >= whole.score for file in fitting)


def test_evaluation_is_of_the_photos_that_fit(library: Library) -> None:
    where = camera.contains("canon")
    truth = dict.fromkeys(library.photos.paths(), "red")
    found = library.lab.evaluate(LABELS, truth, where=where, resamples=0)
    assert found.reports[0].photos == len(expected(library, where))
    assert not found.without_truth


def test_tags_are_written_beside_the_photos_that_fit(library: Library) -> None:
    where = camera.contains("canon") & ~(rating >= 3)
    report = library.tags.write(library.classify(LABELS, where=where, top=1), apply=False)
    assert {Path(change.path).name for change in report.changes} == {
        f"{Path(file).name}.xmp" for file in expected(library, where)
    }


def test_vectors_of_the_photos_that_fit_are_exported(library: Library, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    where = ~camera.contains("iphone")
    report = library.vectors.export_to(tmp_path / "out", where=where)
    table = parquet.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet")
    assert table["image_path"].to_pylist() == expected(library, where)
    assert (report.rows, report.without) == (len(expected(library, where)), 0)


# --- what cannot be told ----------------------------------------------------------------------------------------------


def test_where_nothing_was_read_yet_it_is_said_how_to(library: Library, album: Path) -> None:
    execute(library.session.path, "DELETE FROM image_facts")
    library.session.facts.forget()
    (library.session.path / "index" / "facts.npz").unlink(missing_ok=True)
    with pytest.raises(NoFacts, match=r"camera and since .* zsindex sync") as told:
        library.classify(LABELS, where=camera.contains("x") & (taken >= "2019"))
    assert told.value.photos == len(library.photos.paths())
    with pytest.raises(NoFacts):
        library.search("red", where=rating >= 4)
    assert library.classify(LABELS, where=path.under(str(album / "2018"))).paths  # which asks for nothing of that


def test_where_some_were_not_read_yet_it_is_said_how_many(library: Library, album: Path) -> None:
    execute(library.session.path, "DELETE FROM image_facts WHERE image_id <= 3")
    library.session.facts.forget()
    (library.session.path / "index" / "facts.npz").unlink(missing_ok=True)
    with pytest.warns(FactsMissing, match=r"of [34] of 19 photos"):
        library.classify(LABELS, where=camera.contains("iphone"))


def test_a_filter_that_none_fits_is_an_answer(library: Library) -> None:
    where = camera.contains("no such camera")
    found = library.classify(LABELS, where=where)
    assert (len(found), found.tally()) == (0, {"red": 0, "green": 0, "blue": 0})
    assert library.search("red", where=where) == library.similar(library.photos.paths()[0], where=where) == []
    assert library.neighbours.duplicates(where=where).groups == ()
    assert len(library.classify(LABELS, where=where, smooth=True)) == 0
    assert len(library.classify(LABELS, where=where, unknown="mcm:0.1", multi_label=True)) == 0


def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(TypeError, match="where is made of filters"):
        Question(LABELS, where="camera")  # type: ignore[arg-type]  # what mypy would say
    with pytest.raises(BadFilter, match=r"where\.camera: "):
        Query("red", where={"camera": ""})


# --- the command line -------------------------------------------------------------------------------------------------

# As options, and as Python says it.
OPTIONS: list[tuple[list[str], Where]] = [
    (["--since", "2018-06"], taken >= "2018-06"),
    (["--until", "2018"], taken <= "2018"),
    (["--since", "2018", "--not", "--camera", "iPhone"], (taken >= "2018") & ~camera.contains("iPhone")),
    (["--not", "--camera=iPhone"], ~camera.contains("iPhone")),
    (["--year", "2017,2019"], year.among("2017,2019")),
    (["--month", "11..2", "--hour", "6..18"], month.between(11, 2) & hour.between(6, 18)),
    (["--near", "48,11,10"], near(48, 11, km=10)),
    (["--box=-20,170,0,-170"], box(-20, 170, 0, -170)),
    (["--rating", "2.."], rating >= 2),
    (["--keyword", "VÖGEL"], keyword == "VÖGEL"),
    (["--lens", "50mm", "--has", "place"], Where.from_json({"lens": "50mm", "has": "place"})),
    (["--file-format", "jpg"], Where.from_json({"file_format": "JPEG"})),
    (["--orientation", "portrait"], Where.from_json({"orientation": "portrait"})),
    (["--min-size", "64x48"], Where.from_json({"min_size": "64x48"})),
    (["--where", '{"or": [{"year": 2017}, {"not": {"rating": "3.."}}]}'], (year == 2017) | ~(rating >= 3)),
    (["--not", "--where", '{"year": 2017}', "--not", "--year", "2018"], ~(year == 2017) & ~(year == 2018)),
    (["--answer", "colours=red"], answered("colours", "red")),
    (["--not", "--corrected", "colours"], ~corrected("colours")),
]  # fmt: skip


@pytest.fixture
def run(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    library.labels.save("colours", LABELS)
    library.corrections.add("colours", library.photos.paths()[3], "red")
    # Everything that is asked is cached, so that no model is needed.
    library.classify(LABELS)
    library.embed_texts(["red"])
    monkeypatch.setenv("ZSINDEX_LIBRARY", str(library.session.path))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments])

    return invoke


@pytest.mark.parametrize(
    ("options", "where"), OPTIONS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_options_say_what_python_says(
    run: Callable[..., Result], library: Library, options: list[str], where: Where
) -> None:
    labels = [part for label in LABELS for part in ("-l", label)]
    found = run("classify", *labels, *options, "--format", "json", "-q")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    answer = library.classify(LABELS, where=where)
    assert document["run"]["key"] == answer.run.key
    assert [one["path"] for one in document["results"]] == answer.paths
    found = run("search", "red", *options, "--top", "50", "--format", "paths")
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines() == [hit.path for hit in library.search("red", top=50, where=where)]


def test_a_path_that_is_not_wanted(run: Callable[..., Result], library: Library, album: Path) -> None:
    found = run("search", "red", "--not", "--path", str(album / "2018"), "--top", "50", "--format", "paths")
    assert set(found.stdout.splitlines()) == {
        hit.path for hit in library.search("red", top=50, where=~path.under(str(album / "2018")))
    }
    two = [str(album / "2018"), str(album / "2019")]
    found = run("classify", "-l", "red", "-l", "blue", "--path", two[0], "--path", two[1], "--format", "paths", "-q")
    assert found.stdout.splitlines() == library.classify(LABELS, paths=two).paths


FILTERED = {
    "search": ["search", "red"],
    "similar": ["similar", "PHOTO"],
    "classify": ["classify", "-l", "red", "-l", "blue"],
    "duplicates": ["duplicates", "--no-look"],
    "eval": ["eval", "folders", "-l", "2017", "-l", "2018", "--resamples", "0"],
    "tags write": ["tags", "write", "-l", "red", "-l", "blue"],
    "thresholds show": ["thresholds", "show", "colours"],
    "thresholds preview": ["thresholds", "preview", "colours", "red", "--rate", "0.5"],
    "thresholds set": ["thresholds", "set", "colours", "red", "--rate", "0.5"],
    "vectors export": ["vectors", "export", "OUT"],
}


@pytest.mark.parametrize("command", FILTERED)
def test_every_command_has_every_filter(
    run: Callable[..., Result], library: Library, tmp_path: Path, command: str
) -> None:
    library.embed_texts([f"This is a photo of {year}." for year in (2017, 2018)])
    places = {"PHOTO": library.photos.paths()[0], "OUT": str(tmp_path / "out")}
    words = [places.get(word, word) for word in FILTERED[command]]
    for name in KINDS:
        assert f"--{name.replace('_', '-')} " in run(*words, "--help").stdout, name
    # The last one of the same thing counts: what is asked is whether it is read, and understood.
    for kind in ("--not", ""):
        found = run(*words, *([kind] if kind else []), "--camera", "iPhone")
        assert found.exit_code == 0, found.output
        if command == "vectors export":
            words.append("--overwrite")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "path"])
def test_every_option_says_what_is_wrong_and_gives_an_example(run: Callable[..., Result], name: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    for before in ([], ["--not"]):
        found = run("search", "red", *before, flag, " ")
        assert found.exit_code == 2
        assert f"Invalid value for '{flag}': " in found.stderr
        assert f"for example {flag} {KINDS[name].example}" in " ".join(found.stderr.split())


def test_not_stands_before_a_filter(run: Callable[..., Result]) -> None:
    for words in (["--not"], ["--not", "--top", "3"], ["--not", "--not", "--year", "2017"]):
        found = run("search", "red", *words)
        assert found.exit_code == 2, words
        assert "it stands right before a filter" in found.stderr
    assert run("classify", "-l", "red", "--not", "green").exit_code == 2  # which only searches take
    found = run("search", "red", "--where", '{"and": [{"near": "1"}]}')
    assert found.exit_code == 2
    assert "where.and[0].near: expected LAT,LON,KM" in found.stderr


def test_photos_are_read_once_for_many_questions(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first = library.session.facts.table()
    library.classify(LABELS, where=rating >= 2)
    library.search("red", where=rating >= 2)
    assert library.session.facts.table() is first


def test_the_page_on_filters(library: Library) -> None:
    page = (Path(__file__).parents[1] / "docs" / "filters.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"library": library}
    exec(code, names)
    assert names["results"].paths == expected(library, names["summer"] & names["not_my_phone"])
    assert {hit.path for hit in names["hits"]} < set(library.photos.paths())
    [said] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert [one.name for one in Where.from_json_text(said)] == ["since", "camera", "near", "keyword"]
    rows = re.findall(r"^\| `--([\w-]+)`, `(\w+)` \|", page, re.MULTILINE)
    assert [name for _, name in rows] == [*KINDS, "where"]
    assert all(option.replace("-", "_") == name for option, name in rows)


# --- order ------------------------------------------------------------------------------------------------------------


def test_photos_in_order(library: Library) -> None:
    answer = library.classify(LABELS)
    when = {file: None if (t := library.facts(file).taken) is None else t.at for file in answer.paths}
    newest = sorted(answer.paths, key=lambda file: when[file], reverse=True)  # type: ignore[arg-type,return-value]
    assert None not in when.values()
    assert library.photos.in_order(answer, "date").paths == newest
    best = sorted(answer, key=lambda result: -result.score)
    assert list(library.photos.in_order(answer, "score")) == best
    assert list(library.photos.in_order(library.photos.in_order(answer, "score"), "path")) == sorted(
        answer, key=lambda result: result.path
    )
    hits = library.search("red", top=9)
    by_date = library.photos.in_order(hits, "date")
    assert [hit.path for hit in by_date] == [file for file in newest if file in {hit.path for hit in hits}]
    assert library.photos.in_order(by_date, "score") == hits
    with pytest.raises(ValueError, match="date, score, path"):
        library.photos.in_order(hits, "size")


def test_options_of_order(run: Callable[..., Result], library: Library) -> None:
    answer = library.photos.in_order(library.classify(LABELS, where=camera.contains("iphone")), "date")
    labels = [part for label in LABELS for part in ("-l", label)]
    words = ["classify", *labels, "--camera", "iphone", "--sort", "date", "--format", "paths"]
    assert run(*words).stdout.splitlines() == answer.paths
    found = run(*words, "--limit", "2", "--offset", "1")
    assert found.stdout.splitlines() == answer.paths[1:3]
    assert f"2 of {len(answer)} photos by 3 labels, run {answer.run.key}" in found.stderr
    assert run(*words, "--offset", "99").stdout == run(*words, "--limit", "0").stdout == ""
    assert run(*words[:-2], "--by", "year").exit_code == 2
    found = run("search", "red", "--camera", "iPhone", "--top", "4", "--sort", "path", "--format", "paths")
    hits = library.search("red", top=4, where=camera.contains("iphone"))
    assert found.stdout.splitlines() == sorted(hit.path for hit in hits)
    for words in (["search", "red"], ["similar", library.photos.paths()[0]], ["classify", *labels]):
        found = run(*words, "--camera", "no such")
        assert (found.exit_code, "no photo fits the filters" in found.stderr) == (0, True)
