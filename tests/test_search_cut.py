"""Searches that stop: what is there is found and nothing else, what is not there gives nothing, wherever one asks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.libraries import digest_of, new_library, open_storage, photo
from tests.storage import postgres_server
from tests.web.conftest import HOST, URL
from zsindex.classification.results import Hits
from zsindex.errors import BadQuery, NoVectors
from zsindex.index import snapshots
from zsindex.lab import cut as rule
from zsindex.lab.cut import Usual, everyday, sample
from zsindex.lab.vocabulary import BASIC
from zsindex.library import Library
from zsindex.records import FloatArray, ModelInfo
from zsindex.services.search import Place
from zsindex.services.stopping import Stopping
from zsindex.session import model as session_model
from zsindex.storage.rows import FileOutcome
from zsindex.web import Limits, Security, create_app
from zsindex.web.cursors import KeptStop, SearchCursor
from zsindex.web.problems import Problem

DIM = 64
# So many photos show each; the rest of a library shows one everyday word each.
SHOWN = {"zebra": 12, "violin": 1, "volcano": 130}
USUAL = 200


def vector_of(text: str) -> FloatArray:
    """A direction of its own for each text."""
    seed = int.from_bytes(digest_of(text)[:4], "big")
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class WordEncoder(FakeEncoder):
    """Every text has a direction of its own, and a photo the sum of those of what it shows."""

    logit_scale: float = 25.0

    @property
    def info(self) -> ModelInfo:
        return replace(super().info, dim=DIM)

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        self.texts.extend(texts)
        return np.stack([vector_of(text) for text in texts])


def photos_of(shown: Mapping[str, int], usual: int, *, both: Sequence[str] = ()) -> list[FileOutcome]:
    """Photos that show one thing each, or everyday words; and one that shows `both`."""
    random = np.random.default_rng(1)

    def outcome(name: str, *things: str) -> FileOutcome:
        vector = sum((vector_of(thing) for thing in things), np.zeros(DIM)) + 0.08 * random.standard_normal(DIM)
        return photo(f"/photos/{name}.png", vector=(vector / np.linalg.norm(vector)).astype(np.float32))

    found = [outcome(f"{thing} {i}", thing) for thing, n in shown.items() for i in range(n)]
    found += [outcome(f"usual {i}", BASIC[i % len(BASIC)]) for i in range(usual)]
    return found + ([outcome(" and ".join(both), *both)] if both else [])


def make(folder: Path, photos: Sequence[FileOutcome]) -> Path:
    new_library(folder)
    with open_storage(folder, create=False) as storage:
        model = storage.photos.add_model(WordEncoder().info, make_default=True)
        storage.photos.save(photos, model.id)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cut") / "library", photos_of(SHOWN, USUAL, both=("zebra", "violin")))


@pytest.fixture
def library(folder: Path) -> Iterator[Library]:
    with Library.open(folder, encoder=WordEncoder()) as opened:
        yield opened


def names(hits: Sequence[object]) -> list[str]:
    return [Path(hit.path).stem for hit in hits]  # type: ignore[attr-defined]


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_how_near_photos_are_to_everyday_words_is_the_logarithm_of_a_sum() -> None:
    random = np.random.default_rng(0)
    images, words = (random.standard_normal((n, 5)).astype(np.float32) for n in (7, 4))
    expected = [np.log(sum(np.exp(3.0 * float(image @ word)) for word in words)) / 3.0 for image in images]
    np.testing.assert_allclose(everyday(images, words, 3.0), expected, rtol=1e-6)
    # Nothing overflows under the scale of a model.
    assert np.isfinite(everyday(1e3 * images, words, 100.0)).all()


def test_what_a_text_exceeds_is_the_formula_of_the_module() -> None:
    images, words = np.stack([vector_of(f"p{i}") for i in range(30)]), np.stack([vector_of(w) for w in "abc"])
    usual, text = Usual.of(images, words, 10.0), vector_of("text")
    cosines, of_words = images @ text, (words @ images.T).mean(axis=1)
    own = np.log(np.exp(10.0 * (images @ words.T)).sum(axis=1)) / 10.0
    near = min(cosines.mean(), np.quantile(of_words, rule.COMMON)) - of_words.mean()
    expected = 10.0 * (
        cosines
        - rule.NEARNESS * near
        - rule.SHARE * np.maximum(own, np.quantile(own, rule.LEAST))
        - (1 - rule.SHARE) * own.mean()
    )
    np.testing.assert_allclose(usual.exceeds(usual.of_text(text), usual.own(images), cosines), expected, atol=1e-4)


def test_nothing_below_the_lowest_similarity_fits() -> None:
    images, words = np.stack([vector_of(f"p{i}") for i in range(500)]), np.stack([vector_of(w) for w in BASIC])
    usual = Usual.of(images, words, 25.0)
    n_fitting = 0
    for text in np.stack([vector_of(f"t{i}") for i in range(50)]):
        cosines = 3 * (images @ text)
        fits = usual.exceeds(usual.of_text(text), usual.own(images), cosines) >= rule.FITS
        n_fitting += fits.sum()
        assert (cosines[fits] >= usual.lowest(usual.of_text(text)) - 1e-6).all()
    assert n_fitting > 100


def test_what_is_usual_survives_being_written_down() -> None:
    images, words = np.stack([vector_of(f"p{i}") for i in range(30)]), np.stack([vector_of(w) for w in "abc"])
    usual = Usual.of(images, words, 10.0)
    again = Usual.from_json(json.loads(json.dumps(usual.to_json())), words, 10.0)
    text = vector_of("text")
    assert again.of_text(text) == usual.of_text(text)
    assert (again.own(images) == usual.own(images)).all()
    assert again.lowest(0.1) == usual.lowest(0.1)


def test_a_sample_is_spread_over_all_and_does_not_depend_on_their_order() -> None:
    ids = np.random.default_rng(0).permutation(10_000)
    found = sample(ids)
    assert len(np.unique(found)) == rule.SAMPLE
    assert (found[0], found[-1]) == (0, 9999)
    assert np.diff(found).max() <= 3
    assert (sample(np.sort(ids)) == found).all()
    assert sample(np.array([3, 1, 2])).tolist() == [1, 2, 3]


# --- what a search finds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("thing", "n"), [("zebra", 13), ("violin", 2), ("volcano", 130)])
def test_what_is_there_is_found_and_nothing_else(library: Library, thing: str, n: int) -> None:
    hits = library.search(thing, cut="auto", top=500)
    assert len(hits) == hits.fitting == n
    assert not hits.more
    assert all(thing in name for name in names(hits))
    assert all(hit.fits for hit in hits)
    plain = library.search(thing, top=n)
    assert [(hit.path, hit.score) for hit in hits] == [(hit.path, hit.score) for hit in plain]
    assert hits.note == f"{n} photos fit"


@pytest.mark.parametrize("thing", ["submarine", "a photo of an aardvark", "what nobody ever took a photo of"])
def test_of_what_is_not_there_nothing_fits_and_the_nearest_are_shown(library: Library, thing: str) -> None:
    hits = library.search(thing, cut="auto", top=5)
    assert hits.fitting == 0
    assert [hit.fits for hit in hits] == [False] * 5
    assert names(hits) == names(library.search(thing, top=5))
    assert hits.note == "nothing fits; these are the nearest"


def test_with_fewer_than_fit_it_is_said_how_many_do(library: Library) -> None:
    hits = library.search("zebra", cut="auto", top=3)
    assert len(hits) == 3
    assert (hits.fitting, hits.more) == (13, False)
    assert hits.note == "13 photos fit; these are the nearest 3"
    hits = library.search("volcano", cut="auto", top=3)
    assert (hits.fitting, hits.more) == (rule.LOOKED_AT, True)
    assert hits.note == "at least 100 photos fit; these are the nearest 3"


def test_one_photo_is_one() -> None:
    assert Hits([], cut="auto", fitting=1).note == "1 photo fits; these are the nearest 0"
    assert Hits([], cut="auto", fitting=0).note == "nothing fits"
    assert Hits([]).note == ""


def test_a_cut_may_be_a_similarity(library: Library) -> None:
    scores = [hit.score for hit in library.search("zebra", top=20)]
    # The one at the cut is in.
    hits = library.search("zebra", cut=scores[4], top=20)
    assert [hit.score for hit in hits] == scores[:5]
    assert hits.fitting == 5
    assert library.search("zebra", cut=1.0, top=4).fitting == 0
    assert len(library.search("zebra", cut=-1, top=20)) == 20


def test_equal_photos_fit_together(tmp_path: Path) -> None:
    vector = vector_of("zebra")
    twins = [photo(f"/photos/twin {i}.png", vector=vector) for i in range(7)]
    folder = make(tmp_path / "library", [*photos_of({}, 50), *twins])
    with Library.open(folder, encoder=WordEncoder()) as opened:
        for cut in ("auto", opened.search("zebra", top=1)[0].score):
            hits = opened.search("zebra", cut=cut, top=50)
            assert names(hits) == [f"twin {i}" for i in range(7)]


def test_photos_of_something_are_left_out(library: Library) -> None:
    hits = library.search("zebra", cut="auto", without="violin", top=50)
    assert sorted(names(hits)) == sorted(f"zebra {i}" for i in range(12))
    assert hits.fitting == 12
    # Several; and without a cut, or by a similarity.
    assert not {"violin", "volcano"} & {
        name.split()[0] for name in names(library.search("zebra", without=["violin", "volcano"], top=400))
    }
    assert len(library.search("zebra", without=["violin", "volcano"], top=400)) == 12 + USUAL
    hits = library.search("zebra", without="violin", cut=0.5, top=50)
    assert sorted(names(hits)) == sorted(f"zebra {i}" for i in range(12))


def test_all_that_fits_may_be_left_out(library: Library) -> None:
    hits = library.search("zebra", cut="auto", without="zebra", top=4)
    assert hits.fitting == 0
    assert len(hits) == 4
    assert not any("zebra" in name for name in names(hits))


def test_beyond_what_is_left_out_something_may_fit(tmp_path: Path) -> None:
    """More photos than are looked at first show both; one shows the first alone, and is further away."""
    vector, both = vector_of("zebra"), vector_of("zebra") + 0.9 * vector_of("violin")
    photos = [photo(f"/photos/both {i}.png", vector=(both / np.linalg.norm(both))) for i in range(150)]
    alone = vector + 1.1 * vector_of("apple")
    alone /= np.linalg.norm(alone)
    folder = make(tmp_path / "library", [*photos_of({}, 300), *photos, photo("/photos/alone.png", vector=alone)])
    with Library.open(folder, encoder=WordEncoder()) as opened:
        assert "alone" not in names(opened.search("zebra", top=150))
        hits = opened.search("zebra", cut="auto", without="violin", top=3)
        assert names(hits) == ["alone"]
        assert hits.fitting == 1


def test_what_no_photo_shows_leaves_nothing_out(library: Library) -> None:
    assert library.search("zebra", without="submarine", top=50) == library.search("zebra", top=50)


def test_more_is_looked_for_where_much_is_left_out(library: Library) -> None:
    vector = library.embed_texts("volcano")[0]
    assert vector.shape == (DIM,)
    hits = library.search("volcano", without="volcano", top=20)
    assert len(hits) == 20
    assert not any("volcano" in name for name in names(hits))


def test_only_photos_of_a_folder_are_judged_for_it(library: Library) -> None:
    paths = [f"/photos/usual {i}.png" for i in range(60)]
    hits = library.search("zebra", cut="auto", paths=paths, top=5)
    assert hits.fitting == 0
    assert set(names(hits)) <= {f"usual {i}" for i in range(60)}
    assert library.search("zebra", cut="auto", paths=[*paths, "/photos/zebra 3.png"]).fitting == 1


@pytest.mark.parametrize("n", [1, 2, 5, rule.MIN_PHOTOS - 1])
def test_of_too_few_photos_nothing_can_be_told(tmp_path: Path, n: int) -> None:
    folder = make(tmp_path / "library", photos_of({"zebra": 1}, n - 1))
    with Library.open(folder, encoder=WordEncoder()) as opened:
        for query in ("zebra", "submarine"):
            hits = opened.search(query, cut="auto", without="zebra")
            assert hits == opened.search(query)
            assert len(hits) == n
            assert (hits.fitting, hits.tells) == (None, False)
            assert hits.note == "there are too few photos to tell which of them fit; these are the nearest"
        assert opened.search("zebra", cut=0.5).fitting == 1


def test_an_empty_library_has_nothing_to_cut(tmp_path: Path) -> None:
    with Library.open(new_library(tmp_path / "library"), encoder=WordEncoder()) as opened:
        for cut in ("auto", 0.5):
            with pytest.raises(NoVectors):
                opened.search("zebra", cut=cut)


def test_images_have_no_cut_of_their_own(library: Library) -> None:
    image = Path("/photos/zebra 3.png")
    with pytest.raises(BadQuery, match="for words only; give a similarity"):
        library.search(image, cut="auto")
    with pytest.raises(BadQuery, match="for words only"):
        library.search("zebra", plus=[image], cut="auto")
    assert library.search(image, cut=0.99).fitting == 1
    assert "violin" not in " ".join(names(library.search(image, without="violin")))


@pytest.mark.parametrize("cut", [1.1, -2, float("nan"), "x", True])
def test_what_is_no_cut_is_refused(library: Library, cut: float) -> None:
    with pytest.raises(ValueError, match="cut must be a number from -1 to 1"):
        library.search("zebra", cut=cut)
    with pytest.raises(BadQuery, match="empty"):
        library.search("zebra", without=" ")


# --- what is usual ----------------------------------------------------------------------------------------------------


def test_what_is_usual_is_measured_once_for_each_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    of = Usual.of
    monkeypatch.setattr(Usual, "of", lambda images, *rest: measured.append(len(images)) or of(images, *rest))
    folder = make(tmp_path / "library", photos_of({"zebra": 3}, 40))
    encoder = WordEncoder()
    with Library.open(folder, encoder=encoder) as opened:
        for query in ("zebra", "submarine", "zebra"):
            opened.search(query, cut="auto")
        assert measured == [43]
    assert len(encoder.texts) == len(BASIC) + 2
    with Library.open(folder, encoder=WordEncoder()) as opened:
        first = opened.search("zebra", cut="auto")
        assert measured == [43]  # it is kept in the library
        with open_storage(folder, create=False) as storage:
            storage.photos.save([photo("/photos/new.png", vector=vector_of("zebra"))], storage.reads.models()[0].id)
        assert opened.search("zebra", cut="auto").fitting == (first.fitting or 0) + 1
        assert measured == [43, 44]
    with Library.open(folder, encoder=WordEncoder(), read_only=True) as opened:
        opened.search("zebra", cut="auto")
    assert measured == [43, 44]


def test_a_library_that_cannot_be_written_is_answered(tmp_path: Path) -> None:
    folder = make(tmp_path / "library", photos_of({"zebra": 3}, 40))
    with Library.open(folder, encoder=WordEncoder(), read_only=True) as opened:
        assert opened.search("zebra", cut="auto").fitting == 3


def test_a_search_without_a_cut_asks_for_no_everyday_words(tmp_path: Path) -> None:
    encoder = WordEncoder()
    with Library.open(make(tmp_path / "library", photos_of({"zebra": 3}, 40)), encoder=encoder) as opened:
        assert opened.search("zebra").note == ""
        assert opened.search("zebra", cut=0.3, without="violin").fitting == 3
    assert encoder.texts == ["zebra", "violin"]


# --- the same answers everywhere --------------------------------------------------------------------------------------

QUESTIONS: list[dict[str, object]] = [
    {"query": "zebra", "cut": "auto", "top": 5},
    {"query": "zebra", "cut": "auto", "without": ["violin"], "top": 50},
    {"query": "submarine", "cut": "auto", "top": 5},
    {"query": "volcano", "cut": "auto", "top": 30},
    {"query": "violin", "cut": 0.5, "top": 5},
    {"query": "zebra", "without": ["violin", "volcano"], "top": 20},
]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(session_model, "load_encoder", lambda spec, **_: WordEncoder())

    def invoke(question: Mapping[str, object], *more: str) -> Result:
        options = [] if question.get("cut") is None else ["--cut", str(question["cut"])]
        for text in question.get("without", ()):  # type: ignore[attr-defined]
            options += ["--not", text]
        command = ["--library", str(folder), "search", str(question["query"]), "--top", str(question["top"])]
        result = CliRunner().invoke(cli, [*command, *options, *more])
        assert result.exit_code == 0, result.output
        return result

    return invoke


def ask(library: Library, question: Mapping[str, object]) -> Hits:
    options = {name: value for name, value in question.items() if name != "query"}
    return library.search(f"text:{question['query']}", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_command_line_answers_as_python_does(library: Library, run: object, question: dict[str, object]) -> None:
    expected = ask(library, question)
    result = run(question, "--format", "json")  # type: ignore[operator]
    assert json.loads(result.stdout) == [hit.to_dict() for hit in expected]
    assert result.stderr.lower() == (expected.note + "\n" if expected.note else "")


def test_what_does_not_fit_is_marked_and_no_name_for_other_programs(run: object, tmp_path: Path) -> None:
    absent = {"query": "submarine", "cut": "auto", "top": 3}
    lines = run(absent).stdout.splitlines()  # type: ignore[operator]
    assert [line.endswith("(does not fit)") for line in lines] == [True] * 3
    assert run(absent, "--format", "paths").stdout == ""  # type: ignore[operator]
    rows = list(csv.DictReader(run(absent, "--format", "csv").stdout.splitlines()))  # type: ignore[operator]
    assert [row["fits"] for row in rows] == ["False"] * 3
    file = tmp_path / "hits.parquet"
    run({"query": "zebra", "cut": "auto", "top": 3}, "--format", "parquet", "-o", str(file))  # type: ignore[operator]
    assert pq.read_table(file)["fits"].to_pylist() == [True] * 3
    assert "fits" not in run({"query": "zebra", "top": 3}, "--format", "csv").stdout  # type: ignore[operator]


@pytest.fixture
def client(library: Library, tmp_path: Path) -> Iterator[TestClient]:
    security, limits = Security(hosts=frozenset({HOST})), Limits(requests_per_s=0.0)
    app = create_app(library, security=security, limits=limits, thumbnails=tmp_path / "thumbnails")
    with TestClient(app, base_url=URL) as found:
        yield found


def plain(hits: Sequence[Mapping[str, object]]) -> list[tuple[object, ...]]:
    return [(hit["path"], pytest.approx(hit["score"], abs=1e-6), hit.get("fits")) for hit in hits]


@pytest.mark.parametrize("question", QUESTIONS)
def test_http_answers_as_python_does(library: Library, client: TestClient, question: dict[str, object]) -> None:
    expected = ask(library, question)
    parameters = {"q" if name == "query" else name: value for name, value in question.items()}
    got = client.get("/v1/search", params=parameters).json()  # type: ignore[arg-type]
    body = {**question, "plus": [{"text": question["query"]}]}
    del body["query"]
    assert client.post("/v1/search", json=body).json() == got
    assert plain(got["hits"]) == [(hit.path, pytest.approx(hit.score, abs=1e-6), hit.fits) for hit in expected]
    fit = {"fitting": expected.fitting, "more": expected.more, "tells": expected.tells, "note": expected.note}
    assert got["fit"] == fit


@pytest.mark.parametrize(
    ("parameters", "n"),
    [
        ({"q": "volcano", "cut": "auto"}, 130),
        ({"q": "volcano", "cut": 0.4}, 130),
        ({"q": "zebra", "cut": "auto", "without": "violin"}, 12),
        ({"q": "zebra", "without": ["violin", "volcano"]}, 12 + USUAL),
        ({"q": "submarine", "cut": "auto"}, 7),
    ],
)
def test_pages_hold_every_photo_that_fits_once(client: TestClient, parameters: dict[str, object], n: int) -> None:
    page = client.get("/v1/search", params={**parameters, "top": 7}).json()  # type: ignore[arg-type, dict-item]
    found = [hit["path"] for hit in page["hits"]]
    while page["next"] is not None:
        page = client.get("/v1/search", params={"cursor": page["next"]}).json()
        found += [hit["path"] for hit in page["hits"]]
        assert page["hits"] or page["next"] is None
    whole = client.get("/v1/search", params={**parameters, "top": 500 if n > 7 else 7}).json()  # type: ignore[arg-type, dict-item]
    assert found == [hit["path"] for hit in whole["hits"]]
    assert len(set(found)) == len(found) == n


def test_a_service_over_an_empty_library_finds_nothing(tmp_path: Path) -> None:
    security, limits = Security(hosts=frozenset({HOST})), Limits(requests_per_s=0.0)
    with Library.open(new_library(tmp_path / "library"), encoder=WordEncoder()) as opened:
        app = create_app(opened, security=security, limits=limits, thumbnails=tmp_path / "thumbnails")
        with TestClient(app, base_url=URL) as client:
            for parameters in ({"cut": "auto"}, {"cut": "0.5"}, {"without": "zebra"}):
                answer = client.get("/v1/search", params={"q": "zebra", **parameters})
                assert answer.status_code == 200
                assert (answer.json()["hits"], answer.json()["next"]) == ([], None)


def test_http_refuses_what_is_no_cut(client: TestClient, library: Library) -> None:
    for cut in ("x", "2", "nan"):
        assert client.get("/v1/search", params={"q": "zebra", "cut": cut}).status_code == 422
    image_id = library.search("zebra", top=1)[0].image_id
    refused = client.post("/v1/search", json={"plus": [{"image_id": image_id}], "cut": "auto"})
    assert refused.status_code == 400 or refused.status_code == 422
    assert "for words only" in refused.json()["detail"]
    assert client.get("/v1/search", params={"q": "zebra", "without": ["a"] * 9}).status_code == 422


def test_a_cursor_keeps_where_a_search_stops_and_is_not_trusted() -> None:
    vector, other = vector_of("a"), vector_of("b")
    kept = KeptStop(0.25, True, ((other, 0.125, False),))
    cursor = SearchCursor("f", vector, Place(1, 2, 0.5, 3), None, None, 7, kept=kept)
    again = SearchCursor.from_text(cursor.to_text(), fingerprint="f", dim=DIM).kept
    assert again is not None
    assert (again.at, again.auto) == (0.25, True)
    [(text, at, auto)] = again.without
    assert (text == other).all()
    assert (at, auto) == (0.125, False)
    for damaged in (
        replace(kept, at="x"),
        replace(kept, at=float("nan")),
        replace(kept, at=1e9),
        replace(kept, auto=1),
        replace(kept, without=((2 * other, 0.1, True),)),
        replace(kept, without=((other[:5], 0.1, True),)),
        replace(kept, without=((other, True, True),)),
    ):
        text = replace(cursor, kept=damaged).to_text()
        with pytest.raises(Problem, match="not a valid cursor"):
            SearchCursor.from_text(text, fingerprint="f", dim=DIM)


# --- wherever the vectors lie -----------------------------------------------------------------------------------------


def test_cells_give_the_same_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    monkeypatch.setattr(snapshots, "CELLS_FROM", 1)
    folder = make(tmp_path / "library", photos_of(SHOWN, USUAL, both=("zebra", "violin")))
    with Library.open(folder, encoder=WordEncoder()) as opened:
        base = opened.view().vectors.base
        assert base is not None
        assert base.cells is not None
        for question in QUESTIONS:
            found, expected = ask(opened, question), ask(library, question)
            assert [(hit.path, hit.fits) for hit in found] == [(hit.path, hit.fits) for hit in expected]
            assert (found.fitting, found.more) == (expected.fitting, expected.more)


@pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))
def test_a_server_gives_the_same_cut(folder: Path, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    server = postgres_server.running()
    url = server.new_library()
    Library.copy(folder, url)
    has_pgvector = bool(server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"))
    for where in ("here", "server"):
        with Library.open(url, encoder=WordEncoder(), search=where) as opened:
            if where == "server" and has_pgvector:
                opened.search_index.build()
            for question in QUESTIONS:
                found, expected = ask(opened, question), ask(library, question)
                assert [(hit.path, hit.fits) for hit in found] == [(hit.path, hit.fits) for hit in expected]
                assert (found.fitting, found.more) == (expected.fitting, expected.more)
            usual, mine = Stopping(opened.session).usual(), Stopping(library.session).usual()
            np.testing.assert_allclose(usual.mean, mine.mean, atol=1e-7)
            assert usual.everyday == pytest.approx(mine.everyday, abs=1e-6)
