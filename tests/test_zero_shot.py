"""The drop-in for the transformers pipeline: what it takes, what it returns, what it fetches, what it leaves behind."""

from __future__ import annotations

import base64
import gc
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zsindex
from tests.fakes import FakeEncoder
from tests.scenes import damaged, photo
from tests.waiting import WAIT_S
from zsindex.errors import BadTemplate, FetchError, ImageError, NoLabels, PromptTooLong
from zsindex.library import Library
from zsindex.records import SkipReason
from zsindex.zero_shot import inputs
from zsindex.zero_shot.pipeline import ZeroShotImageClassifier, pipeline

COLOURS = ["red", "green", "blue"]


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def detector(tmp_path: Path, new_library: Path, encoder: FakeEncoder) -> Iterator[ZeroShotImageClassifier]:
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=encoder) as library:
        yield pipeline(library=library)


@pytest.fixture
def blue(tmp_path: Path) -> Path:
    return photo(tmp_path / "blue.png", "blue")


def best(answer: Any) -> str:
    return str(answer[0]["label"])


# --- shape ------------------------------------------------------------------------------------------------------------


def test_one_image_gives_a_list_of_labels_best_first(detector: ZeroShotImageClassifier, blue: Path) -> None:
    answer = detector(str(blue), candidate_labels=COLOURS)
    assert sorted(entry["label"] for entry in answer) == sorted(COLOURS)
    assert all(list(entry) == ["score", "label"] for entry in answer)
    assert all(type(entry["score"]) is float for entry in answer)
    scores = [entry["score"] for entry in answer]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-6)
    assert best(answer) == "blue"


def test_a_list_gives_a_list_of_lists(detector: ZeroShotImageClassifier, blue: Path, tmp_path: Path) -> None:
    red = photo(tmp_path / "red.png", "red")
    one = detector(blue, COLOURS)
    assert detector([blue], COLOURS) == [one]
    assert [best(answer) for answer in detector((blue, red, blue), COLOURS)] == ["blue", "red", "blue"]
    assert detector([], COLOURS) == []


def test_all_labels_come_back_in_their_order_where_they_tie(detector: ZeroShotImageClassifier, blue: Path) -> None:
    labels = ["deep red", "blue", "bright red", "blue", "red"]
    answer = detector(blue, candidate_labels=labels, hypothesis_template="{}")
    assert [entry["label"] for entry in answer] == ["blue", "blue", "deep red", "bright red", "red"]


def test_one_label(detector: ZeroShotImageClassifier, blue: Path) -> None:
    assert detector(blue, ["red"]) == [{"score": 1.0, "label": "red"}]


def test_labels_as_one_text_with_commas(detector: ZeroShotImageClassifier, blue: Path) -> None:
    assert detector(blue, " red,green , blue,") == detector(blue, COLOURS)
    assert [entry["label"] for entry in detector(blue, "dark blue")] == ["dark blue"]


def test_the_template_is_that_of_transformers(
    detector: ZeroShotImageClassifier, encoder: FakeEncoder, blue: Path
) -> None:
    detector(blue, ["red"])
    detector(blue, ["red"], hypothesis_template="a {} thing")
    assert encoder.texts == ["This is a photo of red.", "a red thing"]


def test_scores_are_those_of_the_library(detector: ZeroShotImageClassifier, blue: Path) -> None:
    detector.library.sync(blue)
    [result] = detector.library.classify(COLOURS, top=3)
    expected = {prediction.label: prediction.score for prediction in result.predictions}
    found = {entry["label"]: entry["score"] for entry in detector(blue, COLOURS)}
    assert found == pytest.approx(expected, abs=1e-6)


def test_sigmoid_for_models_that_were_trained_so(tmp_path: Path, blue: Path) -> None:
    with Library.open(tmp_path / "siglip", encoder=FakeEncoder(name="siglip", logit_bias=-3.0)) as library:
        [entry] = pipeline(library=library)(blue, ["blue"])
        cosine = float(library.embed_images([blue])[0] @ library.embed_texts(["blue"])[0])
        assert entry["score"] == pytest.approx(1 / (1 + np.exp(3 - 10 * cosine)), abs=1e-6)


def test_missing_and_wrong_arguments(detector: ZeroShotImageClassifier, blue: Path) -> None:
    for nothing in (None, [], "", " , "):
        with pytest.raises(NoLabels):
            detector(blue, nothing)
    with pytest.raises(ValueError, match="give an image"):
        detector(candidate_labels=COLOURS)
    with pytest.raises(TypeError, match="'top_k'"):
        detector(blue, COLOURS, top_k=1)  # type: ignore[call-arg]
    with pytest.raises(BadTemplate):
        detector(blue, COLOURS, hypothesis_template="a photo")
    with pytest.raises(PromptTooLong):
        detector(blue, ["red " * 20])


def test_the_older_name_of_the_argument(detector: ZeroShotImageClassifier, blue: Path) -> None:
    assert detector(images=blue, candidate_labels=COLOURS) == detector(blue, COLOURS)


# --- images in every form ---------------------------------------------------------------------------------------------


def as_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_every_form_of_an_image(detector: ZeroShotImageClassifier, blue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(blue.parent)
    monkeypatch.setenv("HOME", str(blue.parent))
    text = as_base64(blue)
    with Image.open(blue) as image:
        forms = [
            str(blue),
            blue,
            "blue.png",
            "~/blue.png",
            image,
            blue.read_bytes(),
            text,
            "\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
            f"data:image/png;base64,{text}",
        ]
        answers = detector(forms, COLOURS)
    assert answers == [answers[0]] * len(forms)
    assert best(answers[0]) == "blue"


@pytest.mark.parametrize("size", [1, 8, 16, 24, 32, 48])
def test_base64_of_any_length(detector: ZeroShotImageClassifier, tmp_path: Path, size: int) -> None:
    # As a file name some of these are too long, which must not be taken for a failure.
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    noise[..., 2] = 255
    path = tmp_path / "noise.bmp"
    Image.fromarray(noise).save(path)
    assert detector(as_base64(path), COLOURS) == detector(path, COLOURS)


def test_images_are_encoded_once(detector: ZeroShotImageClassifier, encoder: FakeEncoder, blue: Path) -> None:
    for labels in (COLOURS, ["white", "black"]):
        detector([str(blue), blue, as_base64(blue)], labels)
    detector(blue, COLOURS, hypothesis_template="a {}")
    assert encoder.image_count == 1


@pytest.mark.parametrize(
    "text",
    [
        "no such file.jpg",
        "",
        "data:image/png;base64,????",
        "data:",
        "x" * 5000 + "!",
        "ftp://host/a.jpg",
        "a\0b",
        "~nobody",
    ],
)
def test_a_text_that_is_no_image(detector: ZeroShotImageClassifier, text: str) -> None:
    with pytest.raises(ImageError) as caught:
        detector(text, COLOURS)
    assert len(str(caught.value)) < 300


def test_a_text_that_is_base64_of_no_image(detector: ZeroShotImageClassifier, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        detector(as_base64(damaged(tmp_path / "bad.jpg")), COLOURS)
    assert caught.value.reason is SkipReason.NOT_AN_IMAGE


def test_a_bad_file_is_named(detector: ZeroShotImageClassifier, blue: Path, tmp_path: Path) -> None:
    bad = damaged(tmp_path / "bad.jpg")
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        detector([blue, bad], COLOURS)
    with pytest.raises(ImageError) as caught:
        detector(str(tmp_path), COLOURS)
    assert caught.value.reason is SkipReason.NOT_A_FILE


# --- URLs -------------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A small web server of this process."""

    url: str
    content: dict[str, bytes]
    release: threading.Event = field(default_factory=threading.Event)
    agents: list[str] = field(default_factory=list)


@pytest.fixture
def site(blue: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    content = {"/blue.png": blue.read_bytes(), "/page.html": b"<html>not an image</html>", "/nothing": b""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.agents.append(self.headers["User-Agent"])
            if self.path == "/hangs":
                here.release.wait(30)
            elif self.path == "/moved.png":
                self.send_response(302)
                self.send_header("Location", "/blue.png")
                self.end_headers()
            elif self.path == "/loop":
                self.send_response(302)
                self.send_header("Location", "/loop")
                self.end_headers()
            elif self.path == "/to-a-file":
                self.send_response(302)
                self.send_header("Location", blue.as_uri())
                self.end_headers()
            elif self.path == "/to-ftp":
                self.send_response(302)
                self.send_header("Location", "ftp://127.0.0.1:1/blue.png")
                self.end_headers()
            elif self.path == "/cut-short":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"abc")
            elif self.path == "/drips":
                self.send_response(200)
                self.end_headers()
                while not here.release.wait(0.02):
                    try:
                        self.wfile.write(b"a")
                    except OSError:
                        break
            elif self.path == "/drips-headers":
                self.send_response(200)
                while not here.release.wait(0.02):
                    try:
                        self.send_header("X-More", "a")
                        self.flush_headers()
                    except OSError:
                        break
            elif self.path == "/garbage":
                self.wfile.write(b"this is not HTTP\r\n\r\n")
            elif self.path == "/chunks-cut-short":
                self.protocol_version = "HTTP/1.1"
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"ff\r\nabc")
                self.close_connection = True
            elif self.path in here.content:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(here.content[self.path])
            else:
                self.send_error(404)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Site(f"http://127.0.0.1:{server.server_address[1]}", content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    here.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["/blue.png", "/moved.png"])
def test_a_url(detector: ZeroShotImageClassifier, site: Site, blue: Path, path: str) -> None:
    assert detector(site.url + path, COLOURS, timeout=30) == detector(blue, COLOURS)
    assert detector([site.url + path], COLOURS) == [detector(blue, COLOURS)]
    assert site.agents[0] == f"zsindex/{zsindex.__version__}"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/missing.png", "the server answered 404 Not Found"),
        ("/loop", "302"),
        ("/to-a-file", "30[12]|not allowed"),
        ("/to-ftp", "unknown url type: ftp"),
        ("/cut-short", "closed the connection early"),
        ("/garbage", "this is not HTTP"),
        ("/chunks-cut-short", "."),
    ],
)
def test_a_url_that_cannot_be_read(detector: ZeroShotImageClassifier, site: Site, path: str, why: str) -> None:
    with pytest.raises(FetchError, match=why) as caught:
        detector(site.url + path, COLOURS, timeout=30)
    assert "\n" not in str(caught.value)
    assert caught.value.url == site.url + path
    assert str(caught.value).startswith(f"cannot read {site.url}{path}: ")


def test_a_url_that_does_not_answer(detector: ZeroShotImageClassifier, site: Site) -> None:
    with pytest.raises(FetchError, match=r"timed out|longer than 0\.1 s"):
        detector(f"{site.url}/hangs", COLOURS, timeout=0.1)


@pytest.mark.parametrize("path", ["/drips", "/drips-headers"])
def test_a_url_that_answers_byte_by_byte_for_ever(
    detector: ZeroShotImageClassifier, site: Site, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = inputs._read
    monkeypatch.setattr(inputs, "_read", lambda url, timeout: read(url, WAIT_S))  # no byte is late, all of them are
    with pytest.raises(FetchError, match=r"longer than 0\.2 s"):
        detector(f"{site.url}{path}", COLOURS, timeout=0.2)


@pytest.mark.parametrize("timeout", [None, 30])
def test_a_url_with_letters_and_spaces(
    detector: ZeroShotImageClassifier, site: Site, blue: Path, timeout: float | None
) -> None:
    site.content["/%E9%9D%92%20blue.png?a=%C3%BC"] = blue.read_bytes()
    for url in ("/青 blue.png?a=ü", "/%E9%9D%92%20blue.png?a=%C3%BC#part"):
        assert detector(site.url + url, COLOURS, timeout=timeout) == detector(blue, COLOURS)


@pytest.mark.parametrize(
    "url", ["http://", "http://127.0.0.1:1/a.png", "http://a b/c.png", "http://[::1/x", "https://:x/"]
)
@pytest.mark.usefixtures("site")
def test_a_url_that_leads_nowhere(detector: ZeroShotImageClassifier, url: str) -> None:
    with pytest.raises(FetchError) as caught:
        detector(url, COLOURS, timeout=5)
    assert caught.value.url == url


@pytest.mark.parametrize(("path", "reason"), [("/page.html", SkipReason.NOT_AN_IMAGE), ("/nothing", SkipReason.EMPTY)])
def test_a_url_that_is_no_image(detector: ZeroShotImageClassifier, site: Site, path: str, reason: SkipReason) -> None:
    with pytest.raises(ImageError) as caught:
        detector(site.url + path, COLOURS)
    assert caught.value.reason is reason


def test_a_url_that_is_too_large(
    detector: ZeroShotImageClassifier, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_DOWNLOAD_BYTES", len(site.content["/blue.png"]) - 1)
    with pytest.raises(FetchError, match="larger than"):
        detector(f"{site.url}/blue.png", COLOURS)


# --- where it caches --------------------------------------------------------------------------------------------------


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, encoder: FakeEncoder) -> list[str]:
    """Names of the models that are loaded; all of them are the fake one."""
    names: list[str] = []

    def load(spec: Any, **options: Any) -> FakeEncoder:
        names.append(str(spec))
        return encoder

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    return names


def test_by_default_in_a_temporary_library_that_goes_with_it(loaded: list[str], blue: Path) -> None:
    detector = zsindex.pipeline("zero-shot-image-classification")
    assert best(detector(blue, COLOURS)) == "blue"
    assert loaded == ["nano"]
    folder = detector.library.path
    assert Library.exists(folder)
    del detector
    gc.collect()
    assert not folder.exists()
    assert not folder.parent.exists()


def test_in_a_folder_that_stays(loaded: list[str], encoder: FakeEncoder, blue: Path, tmp_path: Path) -> None:
    for model in ("some/model", None):  # the second time it is the library's own
        detector = pipeline(model=model, library=tmp_path / "kept")
        assert best(detector(blue, COLOURS)) == "blue"
        del detector
        gc.collect()
    assert loaded == ["some/model"]
    assert encoder.image_count == 1
    assert Library.exists(tmp_path / "kept")


def test_in_a_library_that_is_open_and_stays_open(tmp_path: Path, encoder: FakeEncoder, blue: Path) -> None:
    with Library.open(tmp_path / "library", encoder=encoder) as library:
        detector = pipeline(library=library)
        detector(blue, COLOURS)
        del detector
        gc.collect()
        assert library.embed_texts(["This is a photo of red."]).shape == (1, 8)
        for options in ({"model": "nano"}, {"device": "cpu"}, {"dtype": "float16"}):
            with pytest.raises(ValueError, match="leave them out"):
                pipeline(library=library, **options)


def test_other_tasks_are_refused() -> None:
    with pytest.raises(
        ValueError, match="the only task is 'zero-shot-image-classification', not 'image-classification'"
    ):
        pipeline("image-classification")
