"""`Library`, the one object that everything else calls: opening, asking, caching, upkeep."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import on_server, photos
from tests.fakes import FakeEncoder, vector_of
from tests.libraries import paint, stored
from tests.scenes import damaged, photo
from tests.waiting import WAIT_S
from zsindex.classification import scores
from zsindex.classification.prompts import label_set
from zsindex.errors import (
    BadQuery,
    BadTemplate,
    DuplicateLabels,
    EmptyLabel,
    ImageError,
    LibraryBusy,
    LibraryNotFound,
    LibraryReadOnly,
    ModelChanged,
    NoLabels,
    NotInLibrary,
    NoVectors,
    PathNotFound,
    PromptTooLong,
    StorageFailed,
    StorageFull,
    UnknownLabelSet,
    UnknownModel,
    UnknownTemplateSet,
    ZsindexError,
)
from zsindex.index.snapshots import VectorIndex
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import (
    Activation,
    DecodeMode,
    FloatArray,
    IccMode,
    ModelInfo,
    ModelSpec,
    Progress,
    SkipReason,
    TransparencyMode,
)
from zsindex.services.search import Search
from zsindex.session.embedding import NotKept
from zsindex.session.session import Session
from zsindex.storage.protocol import Reads
from zsindex.storage.rows import FileTable
from zsindex.upkeep.maintenance import PruneReport

COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photos of four colours, one of them twice."""
    folder = tmp_path / "album"
    for name, colour in [("red", "red"), ("sea/blue", "blue"), ("sea/green", "green"), ("white", "white")]:
        photo(folder / f"{name}.png", colour)
    shutil.copy(folder / "red.png", folder / "sea" / "red again.png")
    return folder


ALBUM = ["red.png", "white.png", "sea/blue.png", "sea/green.png", "sea/red again.png"]  # folder by folder


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path, encoder: FakeEncoder) -> Iterator[Library]:
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=encoder, batch_size=4, workers=2) as opened:
        opened.sync(album)
        yield opened


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a model would be loaded."""

    def refuse(spec: ModelSpec, **options: Any) -> Encoder:
        raise AssertionError(f"{spec} was to be loaded")

    monkeypatch.setattr("zsindex.session.model.load_encoder", refuse)


def serve(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    """Let every model that is loaded be this one."""
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda spec, **options: encoder)


def relative(paths: Sequence[str], album: Path) -> list[str]:
    return [os.path.relpath(path, album) for path in paths]


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_model")
def test_a_new_library_stands_where_it_is_told_and_loads_nothing(tmp_path: Path) -> None:
    with Library.open(tmp_path / "a" / "b") as library:
        assert library.path == tmp_path / "a" / "b"
        assert library.spec == ModelSpec("nano", None, "fp32", DecodeMode.EXACT, IccMode.CONVERT, TransparencyMode.SHOW)
        assert not library.read_only
        assert library.models() == []
        assert library.photos.paths() == []
        assert library.status().files == 0
        assert "nano" in repr(library)


@pytest.mark.usefixtures("no_model")
def test_the_environment_names_the_default_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSINDEX_LIBRARY", str(tmp_path / "named"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for given, path in [(None, "named"), ("other", "other"), ("~/mine", "home/mine")]:
        with Library.open(given) as library:
            assert library.path == tmp_path / path
    monkeypatch.delenv("ZSINDEX_LIBRARY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name, **options: str(tmp_path / "data" / name))
    with Library.open() as library:
        assert library.path == tmp_path / "data" / "zsindex" / "library"


def test_a_missing_library_is_not_made_unless_wanted(tmp_path: Path) -> None:
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(LibraryNotFound):
            Library.open(tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("no_model")
def test_a_library_remembers_its_model(tmp_path: Path, album: Path) -> None:
    encoder = FakeEncoder(name="mine", decode=DecodeMode.FAST)
    with Library.open(tmp_path / "library", encoder=encoder) as library:
        library.sync([album])
        library.embed_texts(["This is a photo of red."])
    with Library.open(tmp_path / "library") as library:
        assert library.spec == encoder.info.spec
        assert library.model == encoder.info
        assert len(library.classify(["red"])) == 5
    with Library.open(tmp_path / "library", decode="exact") as library:
        assert library.spec == ModelSpec("mine", decode=DecodeMode.EXACT)
    with Library.open(tmp_path / "library", precision="bf16") as library:
        assert library.spec == ModelSpec("mine", precision="bf16", decode=DecodeMode.FAST)
    with Library.open(tmp_path / "library", model="nano") as library:
        assert library.spec == ModelSpec("nano", decode=DecodeMode.FAST)


@pytest.mark.usefixtures("no_model")
def test_every_spelling_of_a_model_is_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights.pt").touch()
    (tmp_path / "folder").mkdir()
    file = str(tmp_path / "weights.pt")

    def spec(model: str | None, pretrained: str | None = None) -> tuple[str, str | None]:
        with Library.open("library", model=model, pretrained=pretrained) as library:
            return library.spec.name, library.spec.pretrained

    assert spec("ViT-B-32/laion2b") == spec("ViT-B-32", "laion2b") == ("ViT-B-32/laion2b", None)
    for spelling in ("weights.pt", "./weights.pt", "~/weights.pt", "folder/../weights.pt", file):
        assert spec("ViT-B-32", spelling) == ("ViT-B-32", file)
    for spelling in ("folder", "./folder/", "~/folder", "local-dir:folder", f"local-dir:{tmp_path}/folder"):
        assert spec(spelling) == (f"local-dir:{tmp_path / 'folder'}", None)
    assert spec("hf-hub:ORG/REPO") == ("hf-hub:ORG/REPO", None)
    (tmp_path / "nano").mkdir()  # a folder of that name does not hide the embedded model
    assert spec("nano") == spec(None) == ("nano", None)
    assert spec("~nobody has this name") == ("~nobody has this name", None)


# --- classify: forms --------------------------------------------------------------------------------------------------


def test_the_answer_is_the_formula(library: Library, album: Path) -> None:
    answer = library.classify(COLOURS, top=4)
    assert relative(answer.paths, album) == ALBUM
    assert answer.labels == tuple(COLOURS)
    rgb = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    texts = np.stack([vector_of(c) for c in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]])
    for path, result in zip(ALBUM, answer, strict=True):
        pixels = np.tile(np.array(rgb[Path(path).name[:-4].split()[0]], dtype=np.float64), (64, 1))
        cosines = texts.astype(np.float64) @ vector_of(pixels.mean(axis=0))
        expected = np.exp(10 * cosines) / np.exp(10 * cosines).sum()
        assert result.label == COLOURS[int(expected.argmax())]
        # One pixel of each photo is black.
        np.testing.assert_allclose([p.score for p in result.predictions], -np.sort(-expected), atol=0.01)
        assert (result.label, result.score) == (result.predictions[0].label, result.predictions[0].score)


def test_scores_are_those_of_the_vectors(library: Library, album: Path) -> None:
    answer = library.classify(COLOURS, top=4)
    images = library.embed_images([album / path for path in ALBUM])
    texts = library.embed_texts([f"This is a photo of {colour}." for colour in COLOURS])
    values = scores.logits(images, texts, logit_scale=10.0)
    np.testing.assert_allclose(answer.scores, scores.softmax(values), atol=1e-6)
    np.testing.assert_allclose(-np.sort(-answer.scores), [[p.score for p in r.predictions] for r in answer], atol=1e-6)


def test_every_form_of_labels_gives_the_same_answer(library: Library) -> None:
    prompts = [f"This is a photo of {colour}." for colour in COLOURS]
    library.labels.save("colours", COLOURS)
    answers = [
        library.classify(COLOURS),
        library.classify(tuple(COLOURS), template="This is a photo of {label}."),
        library.classify(dict(zip(COLOURS, prompts, strict=True))),
        library.classify(dict.fromkeys(COLOURS)),
        library.classify(label_set(COLOURS)),
        library.classify(label_set="colours"),
        library.classify(label_set(COLOURS, templates="{}"), template="This is a photo of {c}."),
    ]
    assert len({answer.run.key for answer in answers}) == 1
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.scores, answers[0].scores)
    assert [answer.run.label_set for answer in answers] == [None] * 5 + ["colours", None]


def test_several_templates_are_averaged_as_vectors(library: Library, encoder: FakeEncoder) -> None:
    templates = ["a {} thing", "the {} white"]
    answer = library.classify(["red", "blue"], template=templates)
    texts = library.embed_texts([t.format(label) for label in ("red", "blue") for t in templates])
    means = texts.reshape(2, 2, -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = scores.softmax(10 * library.embed_images(answer.paths) @ means.T)
    np.testing.assert_allclose(answer.scores, expected, atol=1e-6)
    assert answer.run.templates == tuple(templates)
    assert encoder.texts == ["a red thing", "the red white", "a blue thing", "the blue white"]


def test_one_label_scores_one_under_softmax(library: Library) -> None:
    assert [result.score for result in library.classify(["red"])] == [1.0] * 5


def test_sigmoid_where_the_model_has_a_bias_or_it_is_asked_for(tmp_path: Path, album: Path) -> None:
    encoder = FakeEncoder(name="siglip", logit_bias=-5.0)
    with Library.open(tmp_path / "sigmoid", encoder=encoder) as library:
        library.sync([album])
        cosines = library.embed_images([album / p for p in ALBUM]).astype(np.float64) @ vector_of((255, 0, 0))
        answer = library.classify(["red"])
        assert answer.run.activation is Activation.SIGMOID
        np.testing.assert_allclose(answer.scores[:, 0], 1 / (1 + np.exp(5 - 10 * cosines)), atol=1e-6)
        softmax = library.classify(["red"], activation="softmax")
        assert softmax.scores.tolist() == [[1.0]] * 5
        assert softmax.run.key != answer.run.key
        assert library.classify(["red"], activation=Activation.SIGMOID).run.key == answer.run.key
    with Library.open(tmp_path / "sigmoid") as library:  # the bias is remembered with the model
        np.testing.assert_array_equal(library.classify(["red"]).scores, answer.scores)


def test_ties_keep_the_order_of_the_labels(library: Library) -> None:
    prompts = {"b": "red", "a": "red", "d": "red", "c": "red"}
    for result in library.classify(prompts, top=4):
        assert [p.label for p in result.predictions] == ["b", "a", "d", "c"]
        assert {p.score for p in result.predictions} == {0.25}


@pytest.mark.parametrize(("top", "shown"), [(1, 1), (2, 2), (4, 4), (99, 4)])
def test_top(library: Library, top: int, shown: int) -> None:
    assert {len(result.predictions) for result in library.classify(COLOURS, top=top)} == {shown}


def test_label_errors_come_before_any_work(library: Library, encoder: FakeEncoder, tmp_path: Path) -> None:
    with pytest.raises(NoLabels):
        library.classify([])
    with pytest.raises(NoLabels):
        library.classify()
    with pytest.raises(EmptyLabel):
        library.classify(["red", " "])
    with pytest.raises(DuplicateLabels, match="red"):
        library.classify(["red", "red"])
    with pytest.raises(BadTemplate):
        library.classify(["red"], template="a photo")
    with pytest.raises(UnknownLabelSet, match="the library has none yet"):
        library.classify(label_set="colours")
    with pytest.raises(ValueError, match="give one or the other"):
        library.classify(["red"], label_set="colours")
    with pytest.raises(PromptTooLong):
        library.classify(["red " * 30])
    assert encoder.texts == []


def test_a_library_without_photos_says_so(tmp_path: Path, encoder: FakeEncoder, album: Path) -> None:
    """An empty answer would look like one."""
    with Library.open(tmp_path / "empty", encoder=encoder) as library:
        for ask in questions(library, album / "red.png"):
            with pytest.raises(NoVectors, match="zsindex sync PHOTOS") as caught:
                ask()
            assert (caught.value.photos, caught.value.skipped) == (0, 0)
        assert library.check().ok
        (tmp_path / "bad.png").write_bytes(b"no image")
        library.sync(tmp_path / "bad.png")
        with pytest.raises(NoVectors, match="zsindex status --skipped") as caught:
            library.search("red")
        assert (caught.value.photos, caught.value.skipped) == (0, 1)
    assert (encoder.texts, encoder.image_count) == ([], 0)


@pytest.mark.usefixtures("no_model")
def test_photos_without_a_vector_of_the_model_are_no_answer(library: Library, album: Path) -> None:
    """Not even the model is loaded for that; and what is said leads out."""
    with Library.open(library.path, model="fake", decode="fast", precision="bf16") as other:
        for ask in questions(other, album / "red.png"):
            with pytest.raises(NoVectors) as caught:
                ask()
            assert caught.value.photos == 5
            assert "zsindex sync --model fake --precision bf16 --decode fast" in str(caught.value)
        assert not other.session.model.loaded is not None


def questions(library: Library, image: Path) -> list[Callable[[], object]]:
    """What is asked about photos, in every way that needs some."""
    return [
        lambda: library.classify(COLOURS),
        lambda: library.search("red"),
        lambda: library.similar(image),
        lambda: library.lab.diff(["red"], ["blue"]),
        lambda: library.lab.suggest(["red"], ["blue"]),
        lambda: library.neighbours.graph(),
        lambda: library.neighbours.duplicates(),
        lambda: library.unknown.knownness(COLOURS, "mcm"),
        lambda: library.lab.attribute(COLOURS, template=["{}", "a {}"]),
    ]


# --- classify: which photos -------------------------------------------------------------------------------------------


def test_paths_restrict_to_files_and_subtrees(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    monkeypatch.setenv("HOME", str(album))
    photo(album / "seaside" / "red.png", "red")  # whose name begins like the folder's
    library.sync(album)
    for paths in (["sea"], "sea", album / "sea", ["~/sea"], ["./white.png/../sea/"], ["sea", "sea/blue.png"]):
        answer = library.classify(COLOURS, paths=paths)
        assert relative(answer.paths, album) == ["sea/blue.png", "sea/green.png", "sea/red again.png"]
    assert relative(library.classify(COLOURS, paths=["white.png", "sea/blue.png"]).paths, album) == [
        "white.png",
        "sea/blue.png",
    ]
    assert relative(library.photos.paths("sea"), album) == ["sea/blue.png", "sea/green.png", "sea/red again.png"]
    assert len(library.classify(COLOURS, paths=[])) == 0


def test_unknown_paths_are_synced_on_the_fly(library: Library, encoder: FakeEncoder, tmp_path: Path) -> None:
    photo(tmp_path / "new" / "a.png", "green", mark=1)
    shutil.copy(tmp_path / "album" / "red.png", tmp_path / "new" / "b.png")
    steps: list[Progress] = []
    answer = library.classify(COLOURS, paths=[tmp_path / "new"], progress=steps.append)
    assert [(Path(r.path).name, r.label) for r in answer] == [("a.png", "green"), ("b.png", "red")]
    assert answer.encoded == 1
    assert steps[-1].stage == "encode"
    assert library.classify(COLOURS, paths=[tmp_path / "new"]).encoded == 0
    assert library.status().roots == [str(tmp_path / "album"), str(tmp_path / "new")]
    with pytest.raises(PathNotFound):
        library.classify(COLOURS, paths=[tmp_path / "nowhere"])


def test_unknown_paths_can_be_refused(library: Library, encoder: FakeEncoder, album: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "new" / "a.png", "green", mark=1)
    damaged(album / "bad.jpg")
    library.sync(album)
    with pytest.raises(NotInLibrary, match="adding was refused") as caught:
        library.classify(COLOURS, paths=[path, album], sync=False)
    assert caught.value.paths == (str(path),)
    with pytest.raises(NotInLibrary):
        library.classify(COLOURS, paths=[os.fsdecode(b"caf\xe9.png")], sync=False)
    assert encoder.image_count == 4
    assert len(library.classify(COLOURS, paths=[album], sync=False)) == 5
    assert len(library.classify(COLOURS, paths=[album / "bad.jpg"], sync=False)) == 0  # known, and known to be bad


def test_known_paths_are_answered_while_another_process_syncs(library: Library, album: Path) -> None:
    elsewhere = library.session.storage.again()
    try:
        with elsewhere.sync_lock.hold("sync"):
            assert len(library.classify(COLOURS, paths=[album])) == 5
            photo(album / "new.png", "red")
            with pytest.raises(LibraryBusy, match="sync"):
                library.classify(COLOURS, paths=[album])
    finally:
        elsewhere.close()


def test_photos_of_a_vanished_disk_can_still_be_asked_about(library: Library, album: Path) -> None:
    album.rename(album.with_name("unplugged"))
    assert len(library.classify(COLOURS, paths=[album])) == 5
    assert len(library.classify(COLOURS, paths=[album / "red.png"])) == 1


def test_what_another_model_has_not_encoded_is_named(library: Library, album: Path) -> None:
    with Library.open(library.path, encoder=FakeEncoder(name="other")) as other:
        with pytest.raises(NoVectors):
            other.classify(COLOURS)
        answer = other.classify(COLOURS, paths=album / "sea")
        assert (len(answer), answer.unanswered, answer.encoded) == (3, (), 3)
        answer = other.classify(COLOURS)
        assert relative(answer.paths, album) == ["red.png", "sea/blue.png", "sea/green.png", "sea/red again.png"]
        assert relative(answer.unanswered, album) == ["white.png"]
    assert library.classify(COLOURS).unanswered == ()


def test_photos_that_other_processes_add_and_forget_are_seen(library: Library, album: Path) -> None:
    assert len(library.classify(COLOURS)) == 5
    with Library.open(library.path, encoder=FakeEncoder()) as other:
        photo(album / "new.png", "green", mark=5)
        other.sync()
        assert len(library.classify(COLOURS)) == 6
        assert hits(library.search("green", top=2)) == ["green", "new"]
        (album / "new.png").unlink()
        (album / "white.png").unlink()
        other.sync()
        other.prune()
    assert relative(library.classify(COLOURS).paths, album) == [p for p in ALBUM if p != "white.png"]
    assert len(library.search("white", top=10)) == 3


# --- results ----------------------------------------------------------------------------------------------------------


def test_results_as_a_sequence_and_as_plain_data(library: Library, album: Path) -> None:
    answer = library.classify(COLOURS, top=2)
    assert len(answer) == 5
    assert answer[0] == next(iter(answer)) == answer[-5]
    assert answer[1:3] == [answer[1], answer[2]]
    assert answer[::-1] == list(reversed(answer))
    assert answer[0] in answer
    with pytest.raises(IndexError):
        answer[5]
    assert "5 photos by 4 labels" in repr(answer)
    first = answer.to_dicts()[0]
    assert first["path"] == str(album / "red.png")
    assert first["predictions"][0]["label"] == "red"
    rows = list(answer.to_rows())
    assert [row[:2] for row in rows[:3]] == [
        (str(album / "red.png"), 1),
        (str(album / "red.png"), 2),
        (str(album / "white.png"), 1),
    ]
    assert [row[3] for row in rows] == [p.score for result in answer for p in result.predictions]


def test_results_as_a_data_frame(library: Library) -> None:
    pytest.importorskip("pandas")
    answer = library.classify(COLOURS, top=2)
    frame = answer.to_pandas()
    assert list(frame.columns) == ["path", "rank", "label", "score"]
    assert list(frame.itertuples(index=False, name=None)) == list(answer.to_rows())
    assert list(library.classify(COLOURS, paths=[]).to_pandas().columns) == ["path", "rank", "label", "score"]


def test_filtered(library: Library, album: Path) -> None:
    answer = library.classify(COLOURS, top=4)
    red = answer.filtered(only=["red"])
    assert relative(red.paths, album) == ["red.png", "sea/red again.png"]
    assert {len(result.predictions) for result in red} == {4}
    np.testing.assert_array_equal(red.scores, answer.scores[[0, 4]])
    strong = answer.filtered(min_score=0.5)
    assert [r.path for r in strong] == [r.path for r in answer if r.score >= 0.5]
    assert all(p.score >= 0.5 for r in strong for p in r.predictions)
    assert list(answer.filtered()) == list(answer)
    assert len(answer.filtered(min_score=1.1)) == 0
    assert len(answer.filtered(only=[])) == 0
    both = answer.filtered(min_score=0.5).filtered(only=["red", "blue"])
    assert list(both) == list(answer.filtered(min_score=0.5, only=["blue", "red"]))
    np.testing.assert_array_equal(both.scores, answer.scores[[0, 2, 4]])
    with pytest.raises(ValueError, match="not in the label set: purple"):
        answer.filtered(only=["red", "purple"])
    assert len({answer.run.key, red.run.key, strong.run.key, both.run.key}) == 4


def test_answers_outlive_their_library(tmp_path: Path, library: Library) -> None:
    answer = library.classify(COLOURS)
    library.close()
    assert answer.scores.shape == (5, 4)
    assert answer[0].label == "red"


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_names_everything_that_it_is_a_function_of(library: Library, encoder: FakeEncoder) -> None:
    run = library.classify(COLOURS, top=2, truncate=True).run
    shown = run.to_dict()
    assert shown["key"] == run.key
    assert len(run.key) == 16
    assert (shown["model"], shown["fingerprint"]) == ("fake", encoder.info.fingerprint)
    assert shown["labels"] == COLOURS
    assert shown["templates"] == ["This is a photo of {}."]
    assert (shown["activation"], shown["logit_scale"], shown["logit_bias"]) == ("softmax", 10.0, None)
    assert shown["options"] == {"top": 2, "paths": None, "truncate": True}


def test_the_same_question_has_the_same_key(library: Library, album: Path) -> None:
    key = library.classify(COLOURS).run.key
    assert library.classify(COLOURS).run.key == key
    library.embed_texts(["something else"])
    library.search("red")
    library.sync()
    assert library.classify(COLOURS).run.key == key
    with Library.open(library.path) as again:
        assert again.classify(COLOURS).run.key == key
    others = [
        library.classify(COLOURS, template="a {}"),
        library.classify(COLOURS[::-1]),
        library.classify(COLOURS, top=1),
        library.classify(COLOURS, paths=album),
        library.classify(COLOURS, activation="sigmoid"),
    ]
    photo(album / "new.png", mark=9)
    library.sync()
    others.append(library.classify(COLOURS))
    (album / "new.png").unlink()
    library.sync()
    others.append(library.classify(COLOURS))
    assert len({key, *(other.run.key for other in others)}) == 1 + len(others)


@pytest.mark.usefixtures("no_model")
def test_a_copied_library_gives_the_same_answers(library: Library, tmp_path: Path) -> None:
    answer = library.classify(COLOURS)
    library.close()
    shutil.copytree(library.path, tmp_path / "elsewhere")
    shutil.rmtree(library.path)
    with Library.open(tmp_path / "elsewhere") as copy:
        again = copy.classify(COLOURS)
        assert again.run.key == answer.run.key
        assert again.to_dicts() == answer.to_dicts()


# --- search -----------------------------------------------------------------------------------------------------------


def hits(found: Sequence[Any]) -> list[str]:
    return [Path(hit.path).stem for hit in found]


def test_search_by_text(library: Library, album: Path) -> None:
    found = library.search("something red")
    assert hits(found)[0] == "red"
    assert len(found) == 4
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert found[0].copies == (str(album / "sea" / "red again.png"),)
    assert found[0].score > 0.99
    assert found[0].to_dict() == {
        "path": str(album / "red.png"),
        "score": found[0].score,
        "copies": [str(album / "sea" / "red again.png")],
    }


@pytest.mark.parametrize(("top", "n"), [(1, 1), (3, 3), (99, 4), (0, 0)])
def test_search_top(library: Library, top: int, n: int) -> None:
    assert len(library.search("red", top=top)) == n


def test_search_within_paths(library: Library, album: Path) -> None:
    found = library.search("red", paths=album / "sea")
    assert hits(found)[0] == "red again"
    assert found[0].copies == ()
    assert len(found) == 3
    for ask in (
        lambda typo: library.search("red", paths=typo),
        lambda typo: library.similar(album / "red.png", paths=typo),
        lambda typo: Search(library.session).page(np.eye(8, dtype=np.float32)[0], top=3, paths=typo),
        lambda typo: library.classify(COLOURS, paths=typo, sync=False),
        lambda typo: library.lab.lint(COLOURS, paths=typo),
        lambda typo: library.neighbours.graph(paths=typo),
    ):
        with pytest.raises(NotInLibrary, match="nothing") as caught:
            ask([album / "nothing", album / "sea"])
        assert caught.value.paths == (str(album / "nothing"),)


def test_search_by_image_in_every_form(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    path = album / "sea" / "blue.png"
    with Image.open(path) as image:
        for query in (path, str(path), "sea/blue.png", path.read_bytes(), image.copy()):
            assert hits(library.search(query, top=1)) == ["blue"]
    with pytest.raises(ImageError) as caught:
        library.search(Path("sea/nothing.png"))
    assert caught.value.reason is SkipReason.VANISHED


@pytest.mark.parametrize("term", ["./beach", "../beach", "~/beach", "/beach", "beach.jpg", "my beach.HEIC", "x/y.NEF"])
def test_a_mistyped_file_name_is_no_text(library: Library, encoder: FakeEncoder, term: str) -> None:
    for ask in (
        lambda: library.search(term),
        lambda: library.search("red", plus=[term]),
        lambda: library.search("red", minus=term),
        lambda: library.photos.is_image(term),
    ):
        with pytest.raises(BadQuery, match=re.escape(f"text:{term}")):
            ask()
    assert library.search(f"text:{term} is red")


@pytest.mark.parametrize("term", ["red and/or blue", "a .jpg file", "1/2", "v1.2", "red."])
def test_words_are_no_file_names(library: Library, term: str) -> None:
    assert len(library.search(term)) == 4


def test_a_file_that_is_no_photo_may_have_been_meant_as_a_word(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album)
    Path("red").write_text("a red letter", encoding="utf-8")
    with pytest.raises(ImageError, match="text:red"):
        library.search("red")
    with pytest.raises(BadQuery, match="is a folder"):
        library.search("./sea")


@pytest.mark.parametrize("error", [StorageFull, LibraryReadOnly, LibraryBusy])
def test_a_question_is_answered_where_its_words_cannot_be_kept(
    library: Library, encoder: FakeEncoder, album: Path, monkeypatch: pytest.MonkeyPatch, error: type[ZsindexError]
) -> None:
    made = {
        StorageFull: StorageFull(library.path),
        LibraryReadOnly: LibraryReadOnly(library.path, "store"),
        LibraryBusy: LibraryBusy(library.path, holder="a sync", waited_s=1),
    }[error]

    def fail(*_: object, **__: object) -> None:
        raise made

    monkeypatch.setattr(type(library.session.storage.reads), "save_prompts", fail)
    monkeypatch.setattr("zsindex.storage.photos.SqlPhotos.save_images", fail)
    outside = photo(album.parent / "outside.png", "green", mark=9)
    for ask, first in (
        (lambda: library.search("a red one"), "red"),
        (lambda: library.similar(outside), "green"),
        (lambda: library.search(outside, plus="some green"), "green"),
    ):
        with pytest.warns(NotKept, match="were not stored"):
            assert hits(ask())[0] == first
    with pytest.warns(NotKept):
        assert len(library.classify(["red thing", "blue thing"])) == 5


def test_search_text_that_looks_like_a_file(
    library: Library, encoder: FakeEncoder, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album)
    shutil.copy("sea/blue.png", "red")
    library.search("red")
    assert encoder.texts == []
    library.search("text:red")
    assert encoder.texts == ["red"]
    for query in ("a/b c", "x" * 5000, "~no such user", "sea"):
        library.search(query, truncate=True)
        assert encoder.texts[-1] == query


def test_search_with_plus_and_minus(library: Library, album: Path) -> None:
    white, blue = (library.embed_texts([text])[0] for text in ("white", "blue"))
    query = white - blue
    query /= np.linalg.norm(query)
    found = library.search("white", minus=["blue"])
    images = library.embed_images([hit.path for hit in found])
    np.testing.assert_allclose([hit.score for hit in found], images @ query, atol=1e-6)
    assert hits(library.search("red", plus=["blue", "blue", album / "sea" / "blue.png"], top=1)) == ["blue"]
    # A single term need not be wrapped, and is not taken letter by letter.
    assert library.search("white", minus="blue") == found
    assert library.search("red", plus=album / "white.png") == library.search("red", plus=[album / "white.png"])


def test_what_is_added_up_is_looked_for_where_it_lies(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    given, search = [], VectorIndex.search
    monkeypatch.setattr(VectorIndex, "search", lambda *a, **o: given.append(o["terms"]) or search(*a, **o))
    library.search("red", plus="blue", minus="white")
    library.search("red")
    assert np.array_equal(given[0], library.embed_texts(["red", "blue"]))
    assert given[1] is None


def test_a_query_for_nothing(library: Library) -> None:
    for query in ("", "  ", "text:", "text: "):
        with pytest.raises(BadQuery, match="empty"):
            library.search(query)
    with pytest.raises(BadQuery, match="cancel"):
        library.search("red", minus=["red"])
    with pytest.raises(PromptTooLong):
        library.search("red " * 20)
    assert hits(library.search("red " * 20, truncate=True, top=1)) == ["red"]


def test_a_photo_whose_disk_is_away_is_a_term_all_the_same(
    library: Library, album: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    green = album / "sea" / "green.png"
    similar, found = library.similar(green), library.search(str(green))
    album.rename(tmp_path / "unplugged")

    assert library.similar(green) == similar
    assert library.search(str(green)) == found
    assert library.photos.is_image(str(green))
    assert not library.photos.is_image(f"text:{green}")
    with pytest.raises(BadQuery, match="nor a photo of the library"):
        library.photos.is_image(str(green.with_name("grey.png")))
    with pytest.raises(ImageError, match=r"grey\.png"):
        library.similar(green.with_name("grey.png"))
    # Known, but without a vector of this model.
    with Library.open(library.path, encoder=FakeEncoder("other")) as other:
        other.sync(photo(tmp_path / "other.png", "green", mark=7))
        with pytest.raises(ImageError, match="green"):
            other.similar(green)
    assert encoder.image_count == 4


def test_similar_leaves_the_photo_out_but_not_its_copies(library: Library, album: Path, tmp_path: Path) -> None:
    found = library.similar(album / "red.png")
    assert hits(found)[0] == "red again"
    assert found[0].score > 0.999
    assert found[0].copies == ()
    assert len(found) == 4
    assert hits(library.similar(str(album / "white.png"))) != []
    assert "white" not in hits(library.similar(album / "white.png"))
    outside = photo(tmp_path / "outside.png", "white", mark=77)
    assert hits(library.similar(outside, top=1)) == ["white"]
    assert "red" in hits(library.similar((album / "red.png").read_bytes()))
    assert str(outside) not in library.photos.paths()
    assert library.similar(album / "red.png", paths=[album / "red.png"]) == []


# --- vectors ----------------------------------------------------------------------------------------------------------


def test_images_are_embedded_once_in_whatever_form(
    library: Library, encoder: FakeEncoder, album: Path, tmp_path: Path
) -> None:
    before = encoder.image_count
    inside = album / "red.png"
    data = inside.read_bytes()
    vectors = library.embed_images([inside, str(inside), data, album / "white.png"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, 8)
    np.testing.assert_array_equal(vectors[:3], [vectors[0]] * 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.image_count == before
    outside = photo(tmp_path / "outside.png", "yellow", mark=1)
    with Image.open(outside) as image:
        first = library.embed_images([outside, image, outside.read_bytes(), image.copy(), outside])
    assert encoder.image_count == before + 2  # once as a file, once as pixels
    np.testing.assert_array_equal(first, [first[0]] * 5)
    with Library.open(library.path) as later:
        np.testing.assert_array_equal(later.embed_images([outside]), first[:1])
    assert str(outside) not in library.photos.paths()


def test_many_images_keep_their_order_over_batches(library: Library, encoder: FakeEncoder, tmp_path: Path) -> None:
    paths = [photo(tmp_path / "many" / f"{n}.png", (9 * n, 0, 255 - 9 * n), mark=n) for n in range(1, 12)]
    order = [*paths, *paths[::-1]]
    before = encoder.image_count
    vectors = library.embed_images(order)
    assert encoder.image_count == before + 11
    np.testing.assert_array_equal(vectors[:11], vectors[:10:-1])
    assert len({tuple(row) for row in vectors.tolist()}) == 11
    assert library.embed_images([]).shape == (0, 8)


def test_an_image_that_cannot_be_embedded_is_named(library: Library, tmp_path: Path) -> None:
    bad = damaged(tmp_path / "bad.jpg")
    good = photo(tmp_path / "good.png")
    with pytest.raises(ImageError, match=r"bad\.jpg") as caught:
        library.embed_images([good, bad])
    assert (caught.value.reason, caught.value.path) == (SkipReason.NOT_AN_IMAGE, str(bad))
    with pytest.raises(ImageError, match="image number 2") as caught:
        library.embed_images([good, b"nothing"])
    with pytest.raises(ImageError, match="nowhere"):
        library.embed_images([tmp_path / "nowhere.png"])
    cut = photos.truncated(tmp_path / "cut.jpg")
    with pytest.raises(ImageError) as caught:
        library.embed_images([cut])
    assert caught.value.reason is SkipReason.TRUNCATED


class NoNumbers(FakeEncoder):
    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        return super().encode_images(pixels) * np.float32("nan")


def test_a_vector_that_is_no_number_is_not_stored(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    with Library.open(tmp_path / "library", encoder=NoNumbers()) as library:
        with pytest.raises(ImageError, match=r"a\.png") as caught:
            library.embed_images([path])
        assert caught.value.reason is SkipReason.ENCODE_FAILED
        assert library.check().vectors == 0


def test_texts_are_embedded_once(library: Library, encoder: FakeEncoder) -> None:
    texts = ["red", "cafe\u0301", " red ", "caf\u00e9", "blue"]
    vectors = library.embed_texts(texts)
    assert encoder.texts == ["red", "caf\u00e9", "blue"]
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, 8))
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[1], vectors[3])
    np.testing.assert_array_equal(vectors[0], vector_of((255, 0, 0)))
    with Library.open(library.path) as later:
        np.testing.assert_array_equal(later.embed_texts(texts), vectors)
    assert library.embed_texts([]).shape == (0, 8)


def test_a_cut_prompt_serves_only_those_who_allow_it(library: Library, encoder: FakeEncoder) -> None:
    long = "red " * 20
    with pytest.raises(PromptTooLong) as caught:
        library.embed_texts(["blue", long])
    assert (caught.value.tokens, caught.value.context_length) == (22, 16)
    cut = library.embed_texts([long, "blue"], truncate=True)
    asked = len(encoder.texts)
    np.testing.assert_array_equal(library.embed_texts([long, "blue"], truncate=True), cut)
    np.testing.assert_array_equal(library.embed_texts(["blue"]), cut[1:])  # it was short enough
    assert len(encoder.texts) == asked
    with pytest.raises(PromptTooLong):
        library.embed_texts([long])
    with pytest.raises(PromptTooLong):
        library.classify([long.strip()], template="{}")


# --- models -----------------------------------------------------------------------------------------------------------


class Retrained(FakeEncoder):
    """The same name with other weights."""

    @property
    def info(self) -> ModelInfo:
        return replace(super().info, fingerprint="f" * 64)


def test_a_model_that_has_changed_behind_its_name(
    library: Library, encoder: FakeEncoder, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = library.classify(COLOURS)
    library.close()
    serve(monkeypatch, Retrained())
    with Library.open(library.path) as later:
        assert later.classify(COLOURS).to_dicts() == known.to_dicts()  # from the cache, under the old one
        photo(album / "new.png", mark=7)
        for ask in (lambda: later.embed_texts(["new"]), lambda: later.embed_images([album / "new.png"]), later.sync):
            with pytest.raises(ModelChanged) as caught:
                ask()
            assert (caught.value.expected, caught.value.got) == (encoder.info.fingerprint, "f" * 64)
        # The way out that the message names:
        assert later.use_model("fake").fingerprint == "f" * 64
        assert later.sync().encoded == 5
        assert [(m.fingerprint, m.images, m.default) for m in later.models()] == [
            (encoder.info.fingerprint, 4, False),
            ("f" * 64, 5, True),
        ]
    with Library.open(library.path) as later:
        assert later.model.fingerprint == "f" * 64
    # And back: the newest model of that name is no longer the chosen one.
    serve(monkeypatch, encoder)
    with Library.open(library.path, model="fake") as later:
        later.use_model("fake")
    with Library.open(library.path) as later:
        assert later.model.fingerprint == encoder.info.fingerprint
        assert later.sync().encoded == 1
        assert later.embed_texts(["newer still"]).shape == (1, 8)


def test_use_model_changes_the_default_and_keeps_the_rest(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = library.classify(COLOURS).to_dicts()
    serve(monkeypatch, FakeEncoder(name="other"))
    info = library.use_model("other")
    assert info.spec.name == "other"
    assert library.spec == info.spec
    with pytest.raises(NoVectors, match="--model other"):
        library.classify(COLOURS)
    assert library.sync().encoded == 4
    assert library.classify(COLOURS).to_dicts() == known  # the two fakes see alike
    assert {m.name: m.default for m in library.models()} == {"fake": False, "other": True}
    with Library.open(library.path) as later:
        assert later.spec.name == "other"
    with Library.open(library.path, model="fake") as later:
        assert later.classify(COLOURS).to_dicts() == known


def test_a_model_that_was_only_named_is_recorded_but_not_made_the_default(library: Library) -> None:
    with Library.open(library.path, encoder=FakeEncoder(name="other")) as other:
        assert other.model.spec.name == "other"
    assert {m.name: m.default for m in library.models()} == {"fake": True, "other": False}


# --- read-only --------------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(library: Library, encoder: FakeEncoder) -> Iterator[Library]:
    library.classify(COLOURS)
    library.labels.save("colours", COLOURS)
    library.close()
    with Library.open(library.path, encoder=encoder, read_only=True) as opened:
        yield opened


def test_a_read_only_library_answers_what_is_cached(read_only: Library, encoder: FakeEncoder, album: Path) -> None:
    asked = list(encoder.texts)
    assert read_only.read_only
    assert read_only.status().read_only
    assert len(read_only.classify(label_set="colours")) == 5
    assert len(read_only.classify(COLOURS, paths=album / "sea")) == 3
    assert len(read_only.similar(album / "red.png")) == 4
    assert read_only.check().ok
    assert not read_only.sync(dry_run=True).to_read
    assert read_only.prune(dry_run=True).files == 0
    assert encoder.texts == asked


def test_a_read_only_library_computes_without_storing(read_only: Library, encoder: FakeEncoder, tmp_path: Path) -> None:
    before = stored(read_only.path, to_the_byte=True)
    path = photo(tmp_path / "new.png", mark=9)
    for _ in range(2):
        assert library_sizes(read_only) == (4, 4)
        assert read_only.embed_texts(["new"]).shape == (1, 8)
        assert read_only.embed_images([path]).shape == (1, 8)
    assert encoder.texts[-2:] == ["new", "new"]
    assert encoder.image_count == 6
    assert stored(read_only.path, to_the_byte=True) == before


def library_sizes(library: Library) -> tuple[int, int]:
    [model] = library.models()
    return model.images, model.prompts


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (lambda library: library.sync(), "cannot sync"),
        (lambda library: library.labels.save("a", ["b"]), "cannot save a label set"),
        (lambda library: library.labels.remove("colours"), "cannot remove a label set"),
        (lambda library: library.prune(), "cannot prune"),
        (lambda library: library.check(fix=True), "cannot fix"),
        (lambda library: library.use_model("nano"), "cannot choose the default model"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_what_a_read_only_library_refuses(read_only: Library, action: Callable[[Library], object], says: str) -> None:
    with pytest.raises(LibraryReadOnly, match=f"^{says}: .*read-only") as caught:
        action(read_only)
    assert caught.value.path == read_only.place


def test_a_read_only_library_refuses_unknown_paths(read_only: Library, tmp_path: Path) -> None:
    with pytest.raises(NotInLibrary, match="it is read-only"):
        read_only.classify(COLOURS, paths=[photo(tmp_path / "new.png")])


def test_a_read_only_library_under_a_model_that_it_does_not_know(read_only: Library, album: Path) -> None:
    with Library.open(read_only.path, encoder=FakeEncoder(name="other"), read_only=True) as other:
        for ask in questions(other, album / "red.png"):
            with pytest.raises(NoVectors):
                ask()
        assert other.embed_images([album / "red.png"]).shape == (1, 8)
        assert [m.name for m in other.models()] == ["fake"]


# --- several at once --------------------------------------------------------------------------------------------------


def test_many_threads_may_ask_at_once(library: Library, encoder: FakeEncoder, album: Path) -> None:
    expected = library.classify(COLOURS).to_dicts()

    def ask(n: int) -> object:
        assert library.classify(COLOURS).to_dicts() == expected
        assert library.classify(["red", f"thing {n % 5}"]).labels == ("red", f"thing {n % 5}")
        assert hits(library.search(f"red {n}", top=1)) == ["red"]
        assert len(library.similar(album / "red.png")) == 4
        photo(album.parent / "extra" / f"{n}.png", mark=100 + n)
        return library.embed_images([album.parent / "extra" / f"{n}.png"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(24)))
    assert library.check().ok
    [model] = library.models()
    assert model.images == 4 + 24


@dataclass
class Exclusive(FakeEncoder):
    """A model that notices when it is used by two threads at once. It waits for that, but not for ever."""

    started: threading.Event = field(default_factory=threading.Event)
    met: threading.Event = field(default_factory=threading.Event)
    _inside: threading.Lock = field(default_factory=threading.Lock)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        with self._inside:
            self.started.set()
            self.met.wait(0.3)
            return super().encode_images(pixels)

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        if self._inside.locked():
            self.met.set()
        return super().encode_texts(texts, truncate=truncate)


def test_questions_during_a_sync_do_not_use_the_model_at_the_same_time(tmp_path: Path, album: Path) -> None:
    encoder = Exclusive()
    with Library.open(tmp_path / "other", encoder=encoder) as library, ThreadPoolExecutor(1) as pool:
        running = pool.submit(library.sync, album)
        assert encoder.started.wait(WAIT_S)
        library.embed_texts(["red"])
        running.result()
        assert not encoder.met.is_set()
        assert len(library.classify(["red"])) == 5


# --- label sets -------------------------------------------------------------------------------------------------------


def test_label_sets_are_kept(library: Library) -> None:
    saved = library.labels.save("colours", {"red": ["deep red", "{} paint"], "blue": None}, template="a {}")
    assert saved.name == "colours"
    assert saved.prompts == (("deep red", "red paint"), ("a blue",))
    library.labels.save("animals", ["テンチ", "cafe\u0301"])
    with Library.open(library.path) as later:
        assert later.labels.get("colours") == saved
        assert [s.name for s in later.labels.list()] == ["animals", "colours"]
        assert later.labels.get("animals").labels == ("テンチ", "caf\u00e9")
        assert later.status().label_sets == ["animals", "colours"]
    replaced = library.labels.save("colours", ["green"])
    assert library.labels.get("colours") == replaced
    again = library.classify(label_set="colours", template="one {}")
    assert (again.run.label_set, again.run.templates) == ("colours", ("one {}",))
    library.labels.remove("colours")
    for ask in (library.labels.get, library.labels.remove):
        with pytest.raises(UnknownLabelSet, match="'colours'; the library has animals") as caught:
            ask("colours")
        assert caught.value.known == ("animals",)
    with pytest.raises(DuplicateLabels):
        library.labels.save("animals", ["a", "a"])
    assert library.labels.get("animals").labels == ("テンチ", "caf\u00e9")


# --- upkeep -----------------------------------------------------------------------------------------------------------


def test_status_counts(library: Library, album: Path, encoder: FakeEncoder, tmp_path: Path) -> None:
    damaged(album / "bad.jpg")
    (album / "empty.jpg").touch()
    (album / "empty too.jpg").touch()
    (album / "white.png").unlink()
    library.sync()
    library.embed_texts(["a", "b"])
    library.embed_images([photo(tmp_path / "outside.png", mark=3)])
    status = library.status()
    assert (status.files, status.images, status.duplicates, status.missing) == (4, 3, 1, 1)
    assert status.skipped == {"empty": 2, "not-an-image": 1}
    assert list(status.skipped) == ["empty", "not-an-image"]
    assert status.roots == [str(album)]
    [model] = status.models
    assert (model.name, model.fingerprint, model.dim) == ("fake", encoder.info.fingerprint, 8)
    assert (model.images, model.prompts, model.bytes, model.default) == (5, 2, 7 * 8 * 4, True)
    assert status.database_bytes > 0
    assert status.index_bytes > 0
    engine = "postgresql" if on_server.asked() else "sqlite"
    assert set(status.versions) >= {"zsindex", "python", engine, "torch", "open_clip_torch", "faiss-cpu", "pillow"}
    assert status.to_dict()["models"][0]["images"] == 5


def test_prune_forgets_what_is_gone(library: Library, album: Path, tmp_path: Path) -> None:
    (album / "white.png").unlink()
    (album / "sea" / "red again.png").unlink()
    library.sync()
    library.embed_images([photo(tmp_path / "outside.png", mark=3)])
    nothing = dict.fromkeys((one.name for one in fields(PruneReport) if one.name != "dry_run"), 0)
    of_vectors = 2 * FakeEncoder().info.dim * np.dtype(np.float32).itemsize
    expected = {**nothing, "files": 2, "images": 2, "vectors": 2, "vector_bytes": of_vectors}
    assert library.prune(dry_run=True).to_dict() == {**expected, "dry_run": True}
    assert library.status().missing == 2
    assert library.prune().to_dict() == {**expected, "dry_run": False}
    assert library.prune().to_dict() == {**nothing, "dry_run": False}
    status = library.status()
    assert (status.files, status.images, status.missing, status.models[0].images) == (3, 3, 0, 3)
    assert library.check().ok
    assert len(library.classify(COLOURS)) == 3


def test_prune_forgets_models_but_not_the_default(library: Library, album: Path) -> None:
    other = FakeEncoder(name="other")
    with Library.open(library.path, encoder=other) as second:
        second.sync(album)
        second.embed_texts(["a"])
    for name in ("fake", "nothing", "f" * 12):
        with pytest.raises(UnknownModel):
            library.prune(models=[name])
    report = library.prune(models=[other.info.fingerprint[:12]])
    assert (report.models, report.vectors, report.prompts, report.files) == (1, 4, 1, 0)
    assert [m.name for m in library.models()] == ["fake"]
    assert len(library.classify(COLOURS)) == 5


def test_prune_of_the_model_in_use(library: Library, album: Path) -> None:
    """It is no longer there, so it is recorded anew as soon as it is needed."""
    with Library.open(library.path, encoder=FakeEncoder(name="other")) as other:
        other.sync(album)
        assert other.prune(models=["other"]).models == 1
        with pytest.raises(NoVectors):
            other.classify(COLOURS)
        assert other.sync(album).encoded == 4
        assert len(other.classify(COLOURS)) == 5
        assert other.check().ok


@pytest.mark.parametrize("act", [Library.check, Library.prune])
def test_an_index_folder_that_cannot_be_listed_is_told_as_what_it_is(
    library: Library, monkeypatch: pytest.MonkeyPatch, act: Callable[[Library], object]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("zsindex.index.files.strays", refuse)
    with pytest.raises(StorageFailed, match=r"Input/output error.*run the same command again"):
        act(library)


def test_check_finds_and_fixes_damaged_vectors(library: Library, encoder: FakeEncoder) -> None:
    from sqlalchemy import text

    library.classify(COLOURS)
    assert library.check().to_dict() == {
        "ok": True,
        "problems": (),
        "fixed": (),
        "remaining": (),
        "vectors": 8,
        "damaged": (),
    }
    with library.session.storage.database.write("damage a vector") as connection:
        connection.execute(text("UPDATE embeddings SET vector = :zeros WHERE seq = 1"), {"zeros": bytes(32)})
    report = library.check()
    assert not report.ok
    assert report.problems == (f"1 stored vectors of fake are damaged: {', '.join(report.damaged)}",)
    fixed = library.check(fix=True)
    assert fixed.ok
    assert fixed.fixed == ("took 1 of them from the index, which is whole", "rebuilt the index of fake")
    assert library.sync().encoded == 0
    assert library.check().ok


def test_a_search_skips_what_has_vanished_and_what_never_was_a_file(tmp_path: Path) -> None:
    """The index still has their vectors; the result has as many photos as were asked for, all the same."""
    folder = tmp_path / "pictures"
    for i in range(12):
        paint(folder / f"{i:02}.png", (i * 20, 5, 5))
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(folder)
        library.embed_images([paint(tmp_path / f"other{i}.png", (i * 20, 6, 6)) for i in range(12)])
        for i in range(6):
            (folder / f"{i:02}.png").unlink()
        library.sync(folder)
        there = set(library.photos.paths())
        assert len(there) == 6
        for top in (1, 3, 6, 100):
            for hits in (library.search("red", top=top), library.search("red", top=top, paths=folder)):
                assert len(hits) == min(top, 6)
                assert {hit.path for hit in hits} <= there
        itself = str(folder / "07.png")
        assert {hit.path for hit in library.similar(itself, top=100)} == there - {itself}
        assert library.search("red", top=4) == library.search("red", top=4, exact=True)


# --- what the label lab stands on -------------------------------------------------------------------------------------


def test_a_view_holds_the_photos_with_vectors_in_order(library: Library, album: Path) -> None:
    view = library.view()
    assert relative(view.paths, album) == ALBUM
    rows, back = view.unique
    assert (len(view), len(rows)) == (5, 4)  # one is there twice
    np.testing.assert_array_equal(view.take(range(5)), library.embed_images(view.paths))
    every_image = np.concatenate([block for _, block in view.blocks(size=3)])
    np.testing.assert_array_equal(every_image[back], view.take(range(5)))
    assert view.index_of[str(album / "sea" / "blue.png")] == 2
    assert relative(library.view(album / "sea").paths, album) == ALBUM[2:]
    assert library.view(album / "nowhere").paths == []
    texts = view.text_vectors(label_set({"a": ["red", "blue"], "b": ["sea"]}, negatives={"n": ["white"]}))
    expected = scores.label_vectors(library.embed_texts(["red", "blue", "sea", "white"]), [2, 1, 1])
    np.testing.assert_array_equal(texts, expected)


def test_a_view_does_not_change_with_the_library(library: Library, album: Path) -> None:
    before = library.view()
    vectors, snapshot = before.take(range(5)), before.snapshot
    (album / "red.png").unlink()
    library.sync()
    assert len(before) == 5
    np.testing.assert_array_equal(before.take(range(5)), vectors)
    assert library.view().snapshot != snapshot
    assert len(library.view()) == 4


def test_photos_are_listed_once_a_second_while_they_are_stored(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[int] = []
    reads = type(library.session.storage.reads)
    files = reads.files

    def counted(self: Reads, *arguments: Any) -> FileTable:
        listings.append(1)
        return files(self, *arguments)

    monkeypatch.setattr(reads, "files", counted)
    seconds, step = 100.0, 0.0
    seen: list[int] = []

    def ask(_: Progress) -> None:
        nonlocal seconds
        seconds += step
        seen.append(len(syncing.view()))

    opened = Session.open(library.path, encoder=FakeEncoder(), batch_size=1, workers=1, clock=lambda: seconds)
    with Library(opened) as syncing:
        n = len(syncing.view())
        for step, mark in ((0.0, 500), (0.4, 600)):
            for i in range(12):
                photo(album / "new" / f"{mark + i}.png", mark=mark + i)
            seen.clear()
            listings.clear()
            syncing.sync(album, progress=ask)
            assert len(seen) > 6
            assert len(listings) <= 0.4 * len(seen) if step else not listings
            assert set(seen) == {n} if not step else len(set(seen)) > 2
            assert len(syncing.view()) == n + 12  # all, as soon as nothing is being stored
            n += 12


def test_beside_a_sync_a_state_lasts_as_long_as_its_answers_call_for(library: Library, album: Path) -> None:
    """Else what many ask would be calculated anew for each batch, and never be there before the next one."""
    seconds = 100.0
    opened = Session.open(library.path, encoder=FakeEncoder(), clock=lambda: seconds)

    def stored() -> int:
        """How many photos there are, once there is one more."""
        n = 900 + len(library.view())
        photo(album / f"{n}.png", mark=n)
        library.sync(album)
        return len(library.view())

    with Library(opened) as asked, opened.index.while_storing():
        first = len(asked.view())
        second = stored()
        assert len(asked.view()) == first < second
        seconds += 1.1
        assert len(asked.view()) == second
        with opened.index.while_answering(asked.view()):
            seconds += 1.5
        third = stored()
        seconds += 4.4  # 5.9 after it was read, of 6
        assert len(asked.view()) == second
        seconds += 0.2
        assert len(asked.view()) == third
        with opened.index.while_answering(asked.view()):
            seconds += 9
        fourth = stored()
        seconds += 0.9
        assert len(asked.view()) == third
        seconds += 0.2  # however long answers take
        assert len(asked.view()) == fourth


def test_groups_and_negatives_are_answers_in_the_api_too(library: Library) -> None:
    labels = label_set(["red", "green", "blue"], groups={"cold": ["green", "blue"]}, negatives=["white"])
    answer = library.classify(labels, top=9)
    plain = library.classify(["red", "green", "blue", "white"]).scores
    assert answer.labels == ("red", "cold", "(none of these)")
    np.testing.assert_allclose(answer.scores, np.stack([plain[:, 0], plain[:, 1:3].sum(1), plain[:, 3]], 1), atol=1e-6)
    shown = [[p.score for p in result.predictions] for result in answer]
    np.testing.assert_allclose(shown, -np.sort(-answer.scores), atol=1e-6)
    assert answer.run.key != library.classify(["red", "green", "blue"], top=9).run.key


@pytest.mark.usefixtures("no_model")
def test_another_model_of_the_same_library(tmp_path: Path, album: Path) -> None:
    for name in ("one", "two"):
        with Library.open(tmp_path / "library", encoder=FakeEncoder(name)) as library:
            library.sync(album)
            library.embed_texts(["This is a photo of red."])
    with Library.open(tmp_path / "library") as library:
        assert library.model.spec.name == "one"
        with library.with_model("two") as other:
            assert other.model.spec.name == "two"
            assert len(other.classify(["red"])) == 5
        with pytest.raises(UnknownModel, match="three"):
            library.with_model("three")
        assert library.model.spec.name == "one"
        assert len(library.classify(["red"])) == 5


def test_names_that_stand_for_versions_and_built_in_sets_are_refused(library: Library) -> None:
    for name in ("", " ", "a@2"):
        with pytest.raises(ValueError, match=r"cannot be named|needs a name"):
            library.labels.save(name, COLOURS)
    assert library.labels.save("a@b", COLOURS).name == "a@b"
    for name, templates in [("default", "a {}"), ("", "a {}"), ("{}", "a {}"), ("none", [])]:
        with pytest.raises(ValueError, match="template"):
            library.templates.save(name, templates)
    assert library.templates.save("mine", ["plain", "a {}"]) == ("{}", "a {}")
    assert library.classify(["red"], template="mine").run.templates == ("{}", "a {}")
    assert library.templates.get("mine") == ("{}", "a {}")
    assert library.templates.get("plain") == ("{}",)
    library.templates.remove("mine")
    with pytest.raises(UnknownTemplateSet, match="none is saved"):
        library.templates.get("mine")
    with pytest.raises(BadTemplate, match="openai-80"):
        library.classify(["red"], template="mine")
    with pytest.raises(UnknownTemplateSet):
        library.templates.remove("mine")
