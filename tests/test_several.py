"""One text, path or image where several are taken counts as a list of one, in all of the public API."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

import zsindex
from tests import libraries
from tests.fakes import FakeEncoder
from tests.scenes import photo
from zsindex.arguments.several import several
from zsindex.classification import prompts
from zsindex.classification import templates as template_sets
from zsindex.classification.options import Question
from zsindex.lab import truth as truths
from zsindex.library import Library
from zsindex.services.search import Search
from zsindex.services.serving import Serving
from zsindex.web import create_app
from zsindex.web.schemas.classify import ClassifyRequest
from zsindex.web.schemas.fields import RequestBody
from zsindex.web.schemas.search import SearchRequest


@pytest.mark.parametrize("one", ["zebra", b"zebra", bytearray(b"z"), Path("zebra"), Image.new("RGB", (2, 2)), 7])
def test_one_is_a_list_of_one(one: Any) -> None:
    assert several(one) == [one]
    assert several([one]) == several((one,)) == several(iter([one])) == [one]


def test_nothing_and_several_stay_what_they_are() -> None:
    assert several([]) == several(()) == []
    assert several({"a": 1, "b": 2}) == several("ab"[i] for i in range(2)) == ["a", "b"]


# --- the library ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("several")
    for colour in ("red", "green", "blue"):
        photo(base / "photos" / colour / "one.png", colour)
    libraries.new_library(base / "library")
    with Library.open(base / "library", encoder=FakeEncoder()) as opened:
        opened.sync(base / "photos")
        opened.labels.save("colours", ["red", "blue"])
        opened.labels.save("all", ["red", "green", "blue"])
    return base


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> Iterator[Library]:
    shutil.copytree(folder / "library", tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        yield opened


@pytest.fixture
def red(folder: Path) -> Path:
    return folder / "photos" / "red"


Ask = Callable[[Library, Any], Any]
LABELS = ["red", "blue"]


def written(library: Library, groups: dict[str, Any]) -> Any:
    answers = library.classify(LABELS, top=1)
    return library.tags.write(answers, groups=groups).changes


def thresholds_removed(library: Library, labels: Any) -> int:
    library.thresholds.choose("colours", "red", count=1)
    return library.thresholds.remove("colours", labels)


def corrected(library: Library, statements: Any) -> Any:
    return library.corrections.add_all("colours", statements), library.corrections.list("colours")


def forgotten(library: Library, paths: Any) -> int:
    library.corrections.add_all("colours", [(path, "red", False) for path in library.photos.paths()])
    return library.corrections.forget("colours", paths)


def kept(library: Library, paths: Any) -> Any:
    return library.decisions.add(keep=paths), [one.path for one in library.decisions.list()]


def decisions_forgotten(library: Library, paths: Any) -> int:
    library.decisions.add(keep=library.photos.paths())
    return library.decisions.forget(paths)


def models_pruned(library: Library, models: Any) -> Any:
    return refused(lambda: library.prune(models=models))  # the default one is not forgotten


def truth_of(library: Library, said: Any = "red") -> dict[Any, Any]:
    return dict.fromkeys(library.photos.paths()[-1:], said) | {library.photos.paths()[0]: "blue"}


# By method and argument: how it is asked with what stands for one, as text or otherwise, and what that is.
PATHS: dict[str, Ask] = {
    "attribute_templates": lambda lib, paths: lib.lab.attribute(
        LABELS, truth_of(lib), template=["a {}", "the {}"], paths=paths, resamples=10
    ).to_dict(),
    "classify": lambda lib, paths: lib.classify(LABELS, paths=paths).to_dicts(),
    "diff": lambda lib, paths: lib.lab.diff(LABELS, ["blue"], paths=paths).to_dict(),
    "duplicate_examples": lambda lib, paths: lib.neighbours.duplicate_examples(paths=paths),
    "duplicates": lambda lib, paths: lib.neighbours.duplicates(paths=paths),
    "events": lambda lib, paths: lib.events(paths=paths, vocabulary=None, file_times=True),
    "evaluate": lambda lib, paths: lib.lab.evaluate(LABELS, truth_of(lib), paths=paths, resamples=10).to_dict(),
    "fit_temperature": lambda lib, paths: refused(lambda: lib.temperature.fit(LABELS, truth_of(lib), paths=paths)),
    "forget_corrections": forgotten,
    "forget_decisions": decisions_forgotten,
    "keep": kept,
    "knownness": lambda lib, paths: lib.unknown.knownness(LABELS, "mcm", paths=paths).paths,
    "lint": lambda lib, paths: lib.lab.lint(LABELS, paths=paths).to_dict(),
    "neighbours": lambda lib, paths: lib.neighbours.graph(paths=paths).neighbours.tolist(),
    "next_to_label": lambda lib, paths: lib.corrections.next("colours", paths=paths),
    "page": lambda lib, paths: Search(lib.session).page(lib.embed_texts("red")[0], top=5, paths=paths),
    "paths": lambda lib, paths: lib.photos.paths(paths),
    "prune": lambda lib, paths: lib.prune(paths, dry_run=True),
    "retract_tags": lambda lib, paths: lib.tags.retract(paths).changes,
    "search": lambda lib, paths: lib.search("red", paths=paths),
    "similar": lambda lib, paths: lib.similar(lib.photos.paths()[0], paths=paths),
    "skipped": lambda lib, paths: lib.photos.skipped(paths),
    "suggest": lambda lib, paths: lib.lab.suggest(LABELS, ["green"], paths=paths).to_dict(),
    "sync": lambda lib, paths: lib.sync(paths, dry_run=True).scanned,
    "view": lambda lib, paths: lib.view(paths).paths,
}
# The others. A text for `labels` of the label lab is the name of a saved set, and so is one of `against`.
OTHERS: dict[str, tuple[Any, Ask]] = {
    "attribute_templates.labels": ("colours", lambda lib, which: lib.lab.lint(which).to_dict()),
    "classify.labels": ("red", lambda lib, labels: lib.classify(labels).to_dicts()),
    "classify.template": ("a {}", lambda lib, template: lib.classify(LABELS, template=template).to_dicts()),
    "classify_vectors.labels": (
        "red",
        lambda lib, labels: Serving(lib.session).classify_vectors(lib.embed_texts("red"), Question(labels)),
    ),
    "classify_vectors.template": (
        "a {}",
        lambda lib, template: Serving(lib.session).classify_vectors(
            lib.embed_texts("red"), Question(LABELS, template=template)
        ),
    ),
    "correct_all.statements": (("", "red", False), corrected),
    "diff.template_before": ("a {}", lambda lib, t: lib.lab.diff(LABELS, template_before=t).to_dict()),
    "diff.template_after": ("a {}", lambda lib, t: lib.lab.diff(LABELS, template_after=t).to_dict()),
    "embed_encoded.images": (b"", lambda lib, images: lib.session.embed.encoded(images).tolist()),
    "embed_images.images": ("", lambda lib, images: lib.embed_images(images).tolist()),
    "embed_texts.texts": ("zebra", lambda lib, texts: lib.embed_texts(texts).tolist()),
    "evaluate.truth": (
        "red",
        lambda lib, said: lib.lab.evaluate(LABELS, truth_of(lib, said), resamples=10).to_dict(),
    ),
    "evaluate.template": (
        "a {}",
        lambda lib, t: lib.lab.evaluate(LABELS, truth_of(lib), template=t, resamples=10).to_dict(),
    ),
    "evaluate.against": (
        "all",
        lambda lib, other: lib.lab.evaluate("colours", truth_of(lib), against=other, resamples=10).to_dict(),
    ),
    "evaluate.templates": (
        "a {}",
        lambda lib, t: lib.lab.evaluate(LABELS, truth_of(lib), templates=t, resamples=10).to_dict(),
    ),
    "evaluate.models": (
        "fake",
        lambda lib, models: lib.lab.evaluate(LABELS, truth_of(lib), models=models, resamples=10).to_dict(),
    ),
    "evaluate.names": (
        "red",
        lambda lib, names: lib.lab.evaluate(
            LABELS, truth_of(lib, "ruby"), names={"ruby": names}, resamples=10
        ).to_dict(),
    ),
    "evaluate_unknown.methods": (
        "mcm",
        lambda lib, methods: lib.unknown.evaluate("colours", truth_of(lib, "green"), methods=methods),
    ),
    "evaluate_unknown.truth": (
        "green",
        lambda lib, said: lib.unknown.evaluate("colours", truth_of(lib, said), methods=["mcm"]),
    ),
    "explain.template": ("a {}", lambda lib, t: lib.lab.explain(1, LABELS, template=t)),
    "migrate_model.label_sets": (
        "colours",
        lambda lib, names: refused(lambda: lib.migration.run("fake", label_sets=names)),
    ),
    "prune.models": ("fake", models_pruned),
    "remove_thresholds.labels": ("red", thresholds_removed),
    "save_label_set.labels": ("red", lambda lib, labels: lib.labels.save("new", labels).labels),
    "save_label_set.template": ("a {}", lambda lib, t: lib.labels.save("new", LABELS, template=t).prompts),
    "save_template_set.templates": ("a {}", lambda lib, templates: lib.templates.save("new", templates)),
    "search.plus": ("blue", lambda lib, terms: lib.search("red", plus=terms)),
    "search.minus": ("blue", lambda lib, terms: lib.search("red", minus=terms)),
    "suggest.vocabulary": (Path("words.txt"), lambda lib, words: None),
    "sync.exclude": ("red*", lambda lib, patterns: lib.sync(exclude=patterns, dry_run=True).scanned),
    "templates.templates": ("a {}", lambda lib, templates: lib.templates.resolve(templates)),
    "vectors_of.image_ids": (1, lambda lib, ids: lib.vectors.of(ids).tolist()),
    "write_tags.groups": ("red", lambda lib, members: written(lib, {"warm": members})),
}
# The same argument as another method's, which is tested there; or one to which the rule does not apply, and why.
ELSEWHERE = {
    *(f"{method}.labels" for method in ("diff", "evaluate", "explain", "fit_temperature", "knownness", "lint")),
    *(f"{method}.labels" for method in ("attribute_templates", "evaluate_unknown", "suggest")),
    *(f"{method}.template" for method in ("attribute_templates", "evaluate_unknown", "fit_temperature", "knownness")),
    *(f"{method}.template" for method in ("lint", "next_to_label", "suggest")),
    *("attribute_templates.names", "attribute_templates.truth", "fit_temperature.names", "fit_temperature.truth"),
    *("diff.before", "diff.after"),  # a text is the name of a saved set
    "diff.renamed",  # from one name to one name
    *("suggest.vocabulary", "events.vocabulary"),  # a text is a file, or a vocabulary with a name
    "save_job.document",  # of the service
    *("search.query", "similar.image", "is_image.term", "explain.image"),  # one, never several
    *("sum_of.plus", "sum_of.minus"),  # below
}
SEVERAL = re.compile("Sequence|Iterable|Mapping|PathsLike|LabelsLike|WhichLabels|TruthLike|ImageLike|Statement")


def refused(ask: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as caught:
        ask()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_every_argument_that_takes_several_is_looked_at() -> None:
    found = {
        f"{name}.{parameter}"
        for name, method in inspect.getmembers(Library, inspect.isfunction)
        if not name.startswith("_")
        for parameter, shape in inspect.signature(method).parameters.items()
        if SEVERAL.search(str(shape.annotation))
    }
    tested = {f"{method}.paths" for method in PATHS} | set(OTHERS) | ELSEWHERE
    assert found - tested - {"export_vectors.paths"} == set()
    assert "embed_texts.texts" in found  # or nothing would be seen


@pytest.mark.parametrize("method", PATHS)
def test_one_path(method: str, library: Library, red: Path) -> None:
    ask = PATHS[method]
    of_files = ("forget_corrections", "forget_decisions", "keep")  # what was said about files
    place = red / "one.png" if method in of_files else red
    expected = repr(ask(library, [str(place)]))
    for one in (str(place), place, str(place).encode(), iter([place])):
        assert repr(ask(library, one)) == expected
    if method not in ("duplicates", "duplicate_examples", *of_files, "retract_tags", "skipped"):
        assert expected != repr(ask(library, [str(red.parent)]))


@pytest.mark.parametrize("argument", [argument for argument in OTHERS if argument not in ELSEWHERE])
def test_one_of_anything_else(argument: str, library: Library, red: Path) -> None:
    one, ask = OTHERS[argument]
    if argument == "embed_images.images":
        one = str(red / "one.png")
        with Image.open(one) as image:
            assert ask(library, image) == ask(library, [image])
        assert ask(library, Path(one)) == ask(library, Path(one).read_bytes()) == ask(library, [one])
    elif argument == "embed_encoded.images":
        one = (red / "one.png").read_bytes()
    elif argument == "correct_all.statements":
        one = (red / "one.png", "red", False)
    assert repr(ask(library, one)) == repr(ask(library, [one]))


def test_one_vector(library: Library) -> None:
    red, blue = library.embed_texts(["red", "blue"])
    search = Search(library.session)
    assert np.array_equal(search.sum_of(red, blue), search.sum_of([red], [blue]))


def test_one_text_has_one_vector(library: Library, red: Path) -> None:
    assert library.embed_texts("zebra").shape == (1, library.model.dim)
    assert library.embed_images(str(red / "one.png")).shape == (1, library.model.dim)
    assert library.embed_texts([]).shape == library.embed_images([]).shape == (0, library.model.dim)


# --- functions --------------------------------------------------------------------------------------------------------


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "label_set.labels": zsindex.label_set,
    "label_set.templates": lambda one: zsindex.label_set("red", templates="a {}" if one == "red" else ["a {}"]),
    "label_set.groups": lambda one: zsindex.label_set(["red", "blue"], groups={"warm": one}),
    "label_set.negatives": lambda one: zsindex.label_set("blue", negatives=one),
    "label_set.prompts": lambda one: zsindex.label_set({"ruby": one}),
    "prompts_for.labels": zsindex.prompts_for,
    "prompts_for.templates": lambda one: zsindex.prompts_for("red", "openai-7" if one == "red" else ["openai-7"]),
    "resolve.templates": lambda one: template_sets.resolve("openai-7" if one == "red" else ["openai-7"]),
    "truth": lambda one: truths.from_mapping({"a.jpg": one}),
    "names": lambda one: truths.lists({"ruby": one}),
    "parse_labels.templates": lambda one: prompts.parse_labels(
        "red", source="labels.txt", templates="a {}" if one == "red" else ["a {}"]
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_treat_one_alike(name: str) -> None:
    assert FUNCTIONS[name]("red") == FUNCTIONS[name](["red"])


@pytest.mark.parametrize("given", [None, 5, [None], ["red", 5], b"red"])
def test_what_is_no_text_is_refused_by_its_type(library: Library, given: Any) -> None:
    for ask in (library.embed_texts, partial(library.labels.save, "other")):
        with pytest.raises(TypeError, match=r"is not text but (NoneType|int|bytes)"):
            ask(given)


@pytest.mark.parametrize("given", [None, 5, ["a"], np.zeros((2, 2, 3))])
def test_what_is_no_image_is_refused_by_its_type(library: Library, given: Any) -> None:
    for ask in (library.similar, library.search):
        with pytest.raises(TypeError, match="an image is a path, encoded bytes or a PIL image, not "):
            ask(given)


def test_labels_in_an_array(library: Library) -> None:
    found = library.classify(np.array(["red", "blue"]))
    assert [one.label for one in found] == [one.label for one in library.classify(["red", "blue"])]


def test_no_paths_have_no_answers(library: Library) -> None:
    assert library.search("red", paths=[]) == []
    assert len(library.classify(["red", "blue"], paths=[])) == 0


# --- bodies of requests -----------------------------------------------------------------------------------------------


def bodies() -> list[type[BaseModel]]:
    assert create_app  # imports all endpoints, and thereby all bodies
    found: set[type[BaseModel]] = set()
    pending: list[type[BaseModel]] = [RequestBody]
    while pending:
        derived = pending.pop().__subclasses__()
        found.update(derived)
        pending += derived
    return sorted(found, key=lambda one: one.__name__)


@pytest.mark.parametrize("body", bodies(), ids=lambda body: body.__name__)
def test_no_field_of_a_body_takes_a_list_and_not_one(body: type[BaseModel]) -> None:
    for name, field in body.model_fields.items():
        shape = f"{field.annotation} {field.metadata}"
        if "list[" in shape and name not in ("vocabulary", "statements", "truth", "calibrate", "names"):
            assert "_listed" in shape, f"{body.__name__}.{name}"


def test_one_in_a_body_is_a_list_of_one() -> None:
    one = ClassifyRequest.model_validate(
        {"labels": "red", "templates": "a {}", "groups": {"warm": "red"}, "negatives": "sky", "paths": "/a"}
    )
    several_ = ClassifyRequest.model_validate(
        {"labels": ["red"], "templates": ["a {}"], "groups": {"warm": ["red"]}, "negatives": ["sky"], "paths": ["/a"]}
    )
    assert one == several_
    assert ClassifyRequest.model_validate({"labels": {"ruby": "red"}}).labels == {"ruby": ["red"]}
    term = SearchRequest.model_validate({"plus": {"text": "red"}})
    assert term == SearchRequest.model_validate({"plus": [{"text": "red"}]})
