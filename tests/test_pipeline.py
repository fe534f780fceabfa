"""Every argument of the pipeline's call and of its factory, each row of docs/guide.md's tables, beside the real one.

Both are asked with the same small model of random weights, and the real one is run: what it does is not taken from its
documentation.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

pytest.importorskip("transformers", reason="transformers is an extra")

import zsindex
from tests import transformers_models
from tests.beside import LABELS, TASK, Both
from tests.test_reference import one_thread  # noqa: F401  small models are slower in several
from zsindex.errors import BadTemplate, DeviceError, ImageError, NoLabels, PromptTooLong
from zsindex.zero_shot.pipeline import AnswerStream, pipeline


def plain(answer: Any) -> Any:
    """An answer as lists, however it came."""
    if isinstance(answer, AnswerStream) or hasattr(answer, "loader"):
        return [plain(one) for one in answer]
    return answer


def assert_equal(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for mine, their in zip(ours, theirs, strict=True):
            assert_equal(mine, their)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs) == ["score", "label"]
        assert ours["label"] == theirs["label"]
        assert type(ours["label"]) is type(theirs["label"])
        assert type(ours["score"]) is type(theirs["score"]) is float
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)
    else:
        raise AssertionError(theirs)


# --- the call ---------------------------------------------------------------------------------------------------------


class DataSet(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """As people write them: it has a length, and does not say that an index is beyond it."""

    def __init__(self, images: list[str]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> str:
        return self.images[index % len(self.images)]


Call = Callable[[Any, list[str]], Any]


def as_base64(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


def key_dataset(photos: list[str]) -> Any:
    from transformers.pipelines.pt_utils import KeyDataset

    return KeyDataset([{"image": path, "id": n} for n, path in enumerate(photos)], "image")


SAME: dict[str, Call] = {
    "a path": lambda ask, p: ask(p[0], candidate_labels=LABELS),
    "labels by position": lambda ask, p: ask(p[0], LABELS),
    "a PIL image": lambda ask, p: ask(Image.open(p[0]), candidate_labels=LABELS),
    "base64": lambda ask, p: ask(as_base64(p[0]), candidate_labels=LABELS),
    "a data URI": lambda ask, p: ask(f"data:image/png;base64,{as_base64(p[0])}", candidate_labels=LABELS),
    "a list": lambda ask, p: ask(p, candidate_labels=LABELS),
    "a list of one": lambda ask, p: ask(p[:1], candidate_labels=LABELS),
    "a generator": lambda ask, p: ask((path for path in p), candidate_labels=LABELS),
    "a data set": lambda ask, p: ask(DataSet(p), candidate_labels=LABELS),
    "a KeyDataset": lambda ask, p: ask(key_dataset(p), candidate_labels=LABELS),
    "images= beside image": lambda ask, p: ask(p[1], candidate_labels=LABELS, images=p[0]),
    "one label": lambda ask, p: ask(p[0], candidate_labels=["fox"]),
    "a label twice": lambda ask, p: ask(p[0], candidate_labels=["fox", "bear", "fox"]),
    "a tuple of labels": lambda ask, p: ask(p[0], candidate_labels=("fox", "bear")),
    "a mapping's labels": lambda ask, p: ask(p[0], candidate_labels={"fox": 1, "bear": 2}),
    "numbers as labels": lambda ask, p: ask(p[0], candidate_labels=[1, 2.5, "3"]),
    "a blank label": lambda ask, p: ask(p[0], candidate_labels=["", "fox"]),
    "labels with spaces around": lambda ask, p: ask(p[0], candidate_labels=[" fox ", "bear"]),
    "a label in two spellings of Unicode": lambda ask, p: ask(p[0], candidate_labels=["cafe\u0301", "caf\xe9"]),
    "labels with braces": lambda ask, p: ask(p[0], candidate_labels=["{}", "{x}"]),
    "hypothesis_template": lambda ask, p: ask(p[0], candidate_labels=LABELS, hypothesis_template="a drawing of a {}"),
    "hypothesis_template with {0}": lambda ask, p: ask(p[0], LABELS, hypothesis_template="a {0}, a {0}"),
    "hypothesis_template with a format": lambda ask, p: ask(p[0], LABELS, hypothesis_template="a {!r}"),
    "hypothesis_template that is only the label": lambda ask, p: ask(p[0], LABELS, hypothesis_template="{}"),
    "timeout": lambda ask, p: ask(p[0], candidate_labels=LABELS, timeout=5),
    "tokenizer_kwargs": lambda ask, p: ask(
        p[0], candidate_labels=LABELS, tokenizer_kwargs={"padding": "max_length", "truncation": True, "max_length": 32}
    ),
    "batch_size": lambda ask, p: ask(p, candidate_labels=LABELS, batch_size=2),
    "batch_size of one image": lambda ask, p: ask(p[0], candidate_labels=LABELS, batch_size=8),
    "batch_size of a generator": lambda ask, p: ask((path for path in p), LABELS, batch_size=2),
    "num_workers": lambda ask, p: ask(p, candidate_labels=LABELS, num_workers=0),
}


@pytest.mark.parametrize("case", SAME)
def test_the_answer_is_the_pipelines(both: Both, case: str) -> None:
    photos = [str(path) for path in both.photos]
    theirs, ours = SAME[case](both.theirs, photos), SAME[case](both.ours, photos)
    assert isinstance(ours, list) is isinstance(theirs, list)  # or both are iterators
    assert_equal(plain(ours), plain(theirs))


# The error of the real one, if any, and what is answered here in its place: as to another call, or with an error.
DIFFERENT: dict[str, tuple[Call, type[BaseException] | None, Any]] = {
    "a tuple of images": (lambda ask, p: ask(tuple(p), LABELS), TypeError, lambda ask, p: ask(p, LABELS)),
    "a path object": (lambda ask, p: ask(Path(p[0]), LABELS), TypeError, lambda ask, p: ask(p[0], LABELS)),
    "bytes": (lambda ask, p: ask(Path(p[0]).read_bytes(), LABELS), TypeError, lambda ask, p: ask(p[0], LABELS)),
    "an array": (
        lambda ask, p: ask(np.asarray(Image.open(p[0])), LABELS),
        TypeError,
        lambda ask, p: ask(Image.open(p[0]), LABELS),
    ),
    "another iterator": (
        lambda ask, p: ask(iter(p), LABELS),
        TypeError,
        lambda ask, p: ask((path for path in p), LABELS),
    ),
    "no images": (lambda ask, p: ask([], LABELS), IndexError, []),
    "an empty tuple": (lambda ask, p: ask((), LABELS), IndexError, []),
    "images= alone": (
        lambda ask, p: ask(images=p[0], candidate_labels=LABELS),
        TypeError,
        lambda ask, p: ask(p[0], LABELS),
    ),
    "images=None": (lambda ask, p: ask(p[0], LABELS, images=None), ValueError, lambda ask, p: ask(p[0], LABELS)),
    "no image": (lambda ask, p: ask(None, LABELS), ValueError, ValueError),
    "nested lists": (lambda ask, p: ask([p, p], LABELS), TypeError, TypeError),
    "a number": (lambda ask, p: ask(5, LABELS), TypeError, TypeError),
    "a row of a data set": (lambda ask, p: ask({"image": p[0]}, LABELS), TypeError, TypeError),
    "a missing file": (lambda ask, p: ask("nothing.png", LABELS), ValueError, ImageError),
    "no labels": (lambda ask, p: ask(p[0], []), IndexError, NoLabels),
    "labels None": (lambda ask, p: ask(p[0], None), TypeError, NoLabels),
    "labels left out": (lambda ask, p: ask(p[0]), TypeError, NoLabels),
    "a label None": (lambda ask, p: ask(p[0], [None, "fox"]), None, TypeError),
    "labels as one text": (lambda ask, p: ask(p[0], "fox, bear"), None, lambda ask, p: ask(p[0], ["fox", "bear"])),
    "labels from a generator": (
        lambda ask, p: ask(p[0], (label for label in LABELS)),
        None,
        lambda ask, p: ask(p[0], LABELS),
    ),
    "a template without a place": (lambda ask, p: ask(p[0], LABELS, hypothesis_template="a photo"), None, BadTemplate),
    "an empty template": (lambda ask, p: ask(p[0], LABELS, hypothesis_template=""), None, BadTemplate),
    "a template with braces only": (lambda ask, p: ask(p[0], LABELS, hypothesis_template="{{}}"), None, BadTemplate),
    "a template with a stray brace": (
        lambda ask, p: ask(p[0], LABELS, hypothesis_template="a { {}"),
        ValueError,
        lambda ask, p: ask(p[0], LABELS, hypothesis_template="a {{ {}"),
    ),
    "a template with {label}": (
        lambda ask, p: ask(p[0], LABELS, hypothesis_template="a {label}"),
        KeyError,
        lambda ask, p: ask(p[0], LABELS, hypothesis_template="a {}"),
    ),
    "a template with two places": (
        lambda ask, p: ask(p[0], LABELS, hypothesis_template="{} or {}"),
        IndexError,
        lambda ask, p: ask(p[0], LABELS, hypothesis_template="{0} or {0}"),
    ),
    "a list of templates": (lambda ask, p: ask(p[0], LABELS, hypothesis_template=["{}"]), AttributeError, TypeError),
    "a prompt that is too long": (lambda ask, p: ask(p[0], ["fox " * 60, "bear"]), ValueError, PromptTooLong),
    "tokenizer_kwargs that cut": (
        lambda ask, p: ask(p[0], ["fox " * 60, "bear"], tokenizer_kwargs={"truncation": True}),
        ValueError,
        lambda ask, p: ask(p[0], ["fox " * 60, "bear"], tokenizer_kwargs={"truncation": "longest_first"}),
    ),
    "tokenizer_kwargs of another length": (
        lambda ask, p: ask(p[0], LABELS, tokenizer_kwargs={"max_length": 4, "truncation": True}),
        None,
        ValueError,
    ),
    "tokenizer_kwargs that are no dict": (
        lambda ask, p: ask(p[0], LABELS, tokenizer_kwargs=5),
        None,
        TypeError,
    ),
    "tokenizer_kwargs that are unknown": (lambda ask, p: ask(p[0], LABELS, tokenizer_kwargs={"x": 4}), None, TypeError),
    "batch_size 0": (lambda ask, p: ask(p, LABELS, batch_size=0), ValueError, ValueError),
    "batch_size -1": (lambda ask, p: ask(p, LABELS, batch_size=-1), ValueError, ValueError),
    "batch_size as a text": (lambda ask, p: ask(p, LABELS, batch_size="2"), ValueError, ValueError),
    "num_workers -1": (lambda ask, p: ask(p, LABELS, num_workers=-1), ValueError, ValueError),
    "timeout as a text": (lambda ask, p: ask(p[0], LABELS, timeout="soon"), None, ValueError),
    "an unknown argument": (lambda ask, p: ask(p[0], LABELS, top_k=1), None, TypeError),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_is_different_on_purpose(both: Both, case: str) -> None:
    call, raised, instead = DIFFERENT[case]
    photos = [str(path) for path in both.photos]
    if raised is None:
        plain(call(both.theirs, photos))
    else:
        with pytest.raises(raised):
            call(both.theirs, photos)
    if isinstance(instead, type):
        with pytest.raises(instead):
            call(both.ours, photos)
    elif callable(instead):
        expected = plain(instead(both.ours, photos))
        assert plain(call(both.ours, photos)) == expected
        if "cut" not in case:  # which the real one does not
            assert_equal(expected, plain(instead(both.theirs, photos)))
    else:
        assert call(both.ours, photos) == instead


def test_an_empty_generator(both: Both) -> None:
    assert list(both.theirs((path for path in []), LABELS)) == []
    assert list(both.ours((path for path in []), LABELS)) == []


def test_an_argument_that_is_unknown_is_named(both: Both) -> None:
    for call in (both.ours, lambda *a, **o: pipeline(TASK, "nano", **o)):
        with pytest.raises(TypeError, match="'nonsense'"):
            call(str(both.photos[0]), LABELS, nonsense=1)


FRESH = """
import json, sys
from zsindex import pipeline
folder, library, photo = sys.argv[1:]
detector = pipeline(model=folder, task="zero-shot-image-classification", library=library)
answer = detector(photo, candidate_labels=["fox", "bear", "seagull", "owl"])
heavy = [name for name in ("torch", "transformers", "open_clip", "openvino", "faiss") if name in sys.modules]
print(json.dumps([answer, detector.library.usage, heavy, "PIL" in sys.modules]))
"""


def test_a_fresh_process_answers_from_the_cache_and_loads_no_model(both: Both) -> None:
    photo = str(both.photos[0])
    expected = both.ours(photo, LABELS)
    command = [sys.executable, "-c", FRESH, both.folder, str(both.library), photo]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    answer, usage, heavy, sees = json.loads(done.stdout)
    assert answer == expected
    assert usage["model_loads"] == usage["images_encoded"] == usage["prompts_encoded"] == 0
    assert usage["images_reused"] == 1
    assert usage["prompts_reused"] == len(LABELS)
    assert heavy == []
    assert sees  # or nothing would be seen


def ours_and_theirs(folder: Path, images: list[Any], labels: list[str]) -> tuple[Any, Any]:
    """Answers of both for a checkpoint; ours from a temporary library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        theirs = transformers.pipeline(TASK, model=str(folder), device="cpu")(images, candidate_labels=labels)
    return pipeline(TASK, model=str(folder), device="cpu")(images, candidate_labels=labels), theirs


def test_a_sigmoid_for_siglip_whose_long_prompts_are_cut(both: Both, tmp_path: Path) -> None:
    folder = transformers_models.save("siglip2", tmp_path / "siglip")
    labels = ["a cat", "a dog", "a photo of " * 40]
    ours, theirs = ours_and_theirs(folder, [str(path) for path in both.photos], labels)
    assert_equal(ours, theirs)
    assert sum(one["score"] for one in ours[0]) != pytest.approx(1, abs=0.01)


def profiled(image: Image.Image, folder: Path) -> str:
    """A file whose profile swaps colours for whoever reads it."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    image.save(folder / "profile.png", icc_profile=profile.tobytes())
    return str(folder / "profile.png")


def test_photos_look_as_in_transformers(both: Both, tmp_path: Path) -> None:
    colours = Image.fromarray(data.astronaut()).resize((150, 100))
    clear = colours.copy()
    clear.putalpha(Image.linear_gradient("L").resize(colours.size))
    palette = colours.quantize(16)
    turned = colours.copy()
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif(), quality=95)
    clear.save(tmp_path / "clear.png")
    palette.save(tmp_path / "palette.png")
    images = [
        colours,
        clear,
        palette,
        colours.convert("L"),
        clear.convert("LA"),
        colours.convert("1"),
        colours.convert("CMYK"),
        colours.convert("YCbCr"),
        str(tmp_path / "turned.jpg"),
        str(tmp_path / "clear.png"),
        str(tmp_path / "palette.png"),
        profiled(colours, tmp_path),
    ]
    ours, theirs = ours_and_theirs(Path(both.folder), images, LABELS)
    assert_equal(ours, theirs)


def test_a_library_that_is_there_keeps_its_way_with_photos(both: Both, tmp_path: Path) -> None:
    with zsindex.Library.open(tmp_path / "library", model=both.folder, icc="convert", transparency="show") as library:
        assert library.model
    kept, new = pipeline(TASK, model=both.folder, library=tmp_path / "library"), pipeline(TASK, model=both.folder)
    assert (kept.library.spec.icc, kept.library.spec.transparency) == ("convert", "show")
    assert (new.library.spec.icc, new.library.spec.transparency) == ("ignore", "reference")


# --- generators and data sets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "read"), [({}, [1, 2]), ({"batch_size": 2}, [2, 2])])
def test_a_generator_is_consumed_as_answers_are_asked_for(both: Both, options: Any, read: list[int]) -> None:
    seen: list[str] = []

    def camera() -> Iterator[str]:
        while True:  # it never ends
            for path in both.photos:
                seen.append(str(path))
                yield str(path)

    answers = both.ours(camera(), LABELS, **options)
    assert not seen
    for photo, n in zip(both.photos, read, strict=False):
        assert_equal(next(answers), both.theirs(str(photo), LABELS))
        assert len(seen) == n


def test_a_data_set_has_a_length_and_can_be_gone_through_again(both: Both) -> None:
    photos = [str(path) for path in both.photos]
    for ask in (both.theirs, both.ours):
        answers = ask(DataSet(photos), candidate_labels=LABELS)
        assert len(answers) == len(photos)
        assert list(answers) == list(answers)


def test_a_bad_image_in_a_generator_comes_at_its_turn(both: Both) -> None:
    answers = both.ours((path for path in (str(both.photos[0]), "nothing.png")), LABELS)
    assert len(next(answers)) == len(LABELS)
    with pytest.raises(ImageError, match=r"nothing\.png"):
        next(answers)


def test_labels_are_looked_at_before_the_first_image(both: Both) -> None:
    with pytest.raises(NoLabels):
        both.ours((path for path in both.photos), [])


def test_an_open_file_is_an_image_and_not_its_lines(both: Both) -> None:
    photo = both.photos[0]
    expected = both.ours(photo, LABELS)
    with photo.open("rb") as file:
        assert both.ours(file, LABELS) == expected
    assert both.ours([io.BytesIO(photo.read_bytes())], LABELS) == [expected]
    with pytest.raises(TypeError, match="binary mode"):
        both.ours(io.StringIO("text"), LABELS)


@pytest.mark.parametrize("text", ["", " ", "data:image/png;base64,"])
def test_a_text_without_anything_is_no_image(both: Both, text: str) -> None:
    with pytest.raises(ImageError, match="neither an existing file, nor"):
        both.ours(text, LABELS)


# --- arrays -----------------------------------------------------------------------------------------------------------


def levels(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1), (64, 64, 2), (64, 64, 3), (64, 64, 4)])
@pytest.mark.parametrize("kind", ["uint8", "int64", "floats to 1", "floats to 255", "uint16"])
def test_arrays(both: Both, shape: tuple[int, ...], kind: str) -> None:
    array = levels(shape)
    forms = {
        "uint8": array,
        "int64": array.astype(np.int64),
        "floats to 1": (array / 255).astype(np.float32),
        "floats to 255": array.astype(np.float64),
        "uint16": array.astype(np.uint16) * 257,
    }
    image = Image.fromarray(array[:, :, 0] if shape[2:] == (1,) else array)
    assert_equal(both.ours(forms[kind], LABELS), both.ours(image, LABELS))
    if shape[2:] == (3,):
        assert_equal(both.ours(forms[kind], LABELS), both.theirs(image, LABELS))


def test_an_array_of_yes_and_no(both: Both) -> None:
    mask = levels((64, 64)) > 127
    assert both.ours(mask, LABELS) == both.ours(mask.astype(np.uint8) * 255, LABELS)


def test_an_array_of_images_is_several(both: Both) -> None:
    arrays = levels((2, 64, 64, 3))
    assert list(both.ours(arrays, LABELS)) == both.ours(list(arrays), LABELS)
    names = np.array([str(path) for path in both.photos])
    assert list(both.ours(names, LABELS)) == both.ours(list(names), LABELS)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 64, 64)),
        np.zeros((0, 64, 3)),
        np.zeros(5),
        np.full((4, 4), -1),
        np.full((4, 4), 256),
        np.full((4, 4), 1.5),
        np.full((4, 4), np.nan),
        np.full((4, 4), np.inf),
        np.zeros((4, 4), complex),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}{array.ravel()[:1]}",
)
def test_arrays_that_are_no_images(both: Both, array: Any) -> None:
    with pytest.raises((ImageError, TypeError)):
        both.ours(array, LABELS)
    with pytest.raises((ImageError, TypeError)):
        both.ours([array], LABELS)


def test_a_tensor_is_an_array(both: Both) -> None:
    array = levels((64, 64, 3))
    assert both.ours(torch.from_numpy(array), LABELS) == both.ours(array, LABELS)


# --- the factory ------------------------------------------------------------------------------------------------------


def test_every_argument_of_the_factory_is_ours_too(both: Both) -> None:
    theirs = list(inspect.signature(both.transformers.pipeline).parameters)
    ours = list(inspect.signature(pipeline).parameters)
    assert ours[: len(theirs) - 1] == theirs[:-1]  # also their order; the last is **kwargs
    assert theirs[-1] == "kwargs"


@pytest.fixture
def ask(both: Both, tmp_path: Path) -> Callable[..., Any]:
    """Makes a pipeline of either kind over a library that knows the model, and asks it."""

    def ask(make: Any, model: str, call: dict[str, Any] | None = None, **options: Any) -> Any:
        if make is pipeline:
            shutil.copytree(both.library, tmp_path / "library", dirs_exist_ok=True)
            options["library"] = tmp_path / "library"
        return make(TASK, model=model, **options)(str(both.photos[0]), **(call or {"candidate_labels": LABELS}))

    return ask


# Each alone where it has an effect; what has none, together.
FACTORY: list[dict[str, Any]] = [
    {"device": None},
    {"device": -1},
    {"device": 0},
    {"device": "cpu"},
    {"device": torch.device("cpu")},
    {"dtype": None},
    {"dtype": "float32"},
    {"dtype": torch.float32},
    {"torch_dtype": torch.float32},
    {"torch_dtype": torch.bfloat16, "dtype": "float32"},
    {"model_kwargs": {"dtype": torch.float32}, "dtype": "auto"},
    {"hypothesis_template": "a drawing of a {}", "timeout": 3, "tokenizer_kwargs": {"padding": True}, "batch_size": 4},
    {
        "args_parser": None,
        "binary_output": True,
        "code_revision": "x",
        "framework": "tf",
        "local_files_only": True,
        "num_workers": 0,
        "pipeline_class": None,
        "revision": "v1",  # of a folder there is only one
        "token": False,
        "trust_remote_code": True,
        "use_auth_token": False,
        "use_fast": False,
        "video_processor": None,
    },
]


@pytest.mark.parametrize("options", FACTORY, ids=str)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, in which sums come out otherwise")
def test_an_argument_of_the_factory(both: Both, ask: Callable[..., Any], options: dict[str, Any]) -> None:
    theirs = ask(both.transformers.pipeline, both.folder, **options)
    assert_equal(ask(pipeline, both.folder, **options), theirs)


PARTS = ["config", "tokenizer", "image_processor", "feature_extractor", "processor"]


def test_the_models_own_parts_by_name(both: Both, ask: Callable[..., Any]) -> None:
    own = dict.fromkeys(PARTS, both.folder)
    assert_equal(ask(pipeline, both.folder, **own), ask(both.transformers.pipeline, both.folder, **own))


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_other_models_are_refused(both: Both, part: str) -> None:
    for other in ("somewhere else", getattr(both.theirs, part, None) or object()):
        with pytest.raises(ValueError, match=f"{part}: a model must be used with its own"):
            pipeline(TASK, model=both.folder, **{part: other})


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precisions_are_models_of_their_own(both: Both, name: str) -> None:
    photo = str(both.photos[0])
    dtype = getattr(torch, name)
    theirs = both.transformers.pipeline(TASK, model=both.folder, dtype=dtype, device="cpu")(photo, LABELS)
    found = []
    for spelling in ({"dtype": dtype}, {"dtype": name}, {"torch_dtype": dtype}, {"model_kwargs": {"dtype": name}}):
        detector = pipeline(TASK, model=both.folder, library=both.library, device="cpu", **spelling)
        assert detector.library.spec.precision == {"float16": "fp16", "bfloat16": "bf16"}[name]
        found.append(detector(photo, LABELS))
    assert found[1:] == found[:-1]
    mine, their = ({one["label"]: one["score"] for one in answer} for answer in (found[0], theirs))
    assert mine == pytest.approx(their, abs=0.05)  # they round in the softmax, too


WRONG: list[tuple[dict[str, Any], type[BaseException], str]] = [
    ({"task": "image-classification"}, ValueError, "image-classification"),
    ({"device": 1.5}, TypeError, r"1\.5"),
    ({"device": True}, TypeError, "True"),
    ({"dtype": "float64"}, ValueError, "float64"),
    ({"dtype": torch.int8}, ValueError, "int8"),
    ({"dtype": "float32", "model_kwargs": {"dtype": "float32"}}, ValueError, "dtype"),
    ({"model_kwargs": {"quantization_config": 1}}, TypeError, "quantization_config"),
    ({"model": 5}, TypeError, "int"),
    ({"revision": "v1"}, ValueError, "v1"),
    ({"model": "ORG/NAME@v1", "revision": "v2"}, ValueError, "v2"),
    ({"model": "ORG/NAME", "local_files_only": True}, ValueError, "HF_HUB_OFFLINE"),
    ({"pipeline_class": object}, ValueError, "pipeline_class"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"num_workers": -1}, ValueError, "num_workers"),
]


@pytest.mark.parametrize(("options", "kind", "named"), WRONG, ids=str)
def test_arguments_of_the_factory_that_make_no_sense(options: dict[str, Any], kind: Any, named: str) -> None:
    with pytest.raises(kind, match=named):
        pipeline(**{"task": TASK, "model": "nano", **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda:1", 1, torch.device("cuda:1"), "nonsense"])
def test_a_device_that_is_not_there(both: Both, device: Any) -> None:
    with pytest.raises(DeviceError):
        pipeline(TASK, model=both.folder, device=device)


def test_a_model_object_is_refused_with_the_way_out(both: Both) -> None:
    with pytest.raises(TypeError, match="save_pretrained"):
        pipeline(TASK, model=both.theirs.model)


def test_a_path_object_names_a_model(both: Both, ask: Callable[..., Any]) -> None:
    theirs = ask(both.transformers.pipeline, Path(both.folder))
    assert_equal(ask(pipeline, Path(both.folder)), theirs)


def test_labels_may_be_given_once_for_all(both: Both, ask: Callable[..., Any]) -> None:
    mine = ask(pipeline, both.folder, {"candidate_labels": None}, candidate_labels=LABELS)
    assert mine == ask(pipeline, both.folder)


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(zsindex.ZsindexError):
        pipeline(TASK, model="no such model")
    assert list(tmp_path.iterdir()) == []


def test_a_revision_is_part_of_the_name(both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "zsindex.session.model.load_encoder", lambda spec, **_: both.ours.library.session.model.encoder()
    )
    for number, (revision, name) in enumerate({None: "ORG/NAME", "main": "ORG/NAME", "v1": "ORG/NAME@v1"}.items()):
        detector = pipeline(TASK, "ORG/NAME", revision=revision, library=tmp_path / str(number))
        assert detector.library.spec.name == name


def test_a_token_is_for_the_hub_alone(both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    seen = []

    def load(spec: Any, **options: Any) -> Any:
        seen.append(os.environ.get("HF_TOKEN"))
        return both.ours.library.session.model.encoder()

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    pipeline(TASK, "some/model", token="hf_secret", library=tmp_path / "library")
    assert seen == ["hf_secret"]


# --- what the cache saves ---------------------------------------------------------------------------------------------


def test_what_the_cache_saves(both: Both, tmp_path: Path) -> None:
    photos = [str(path) for path in both.photos]
    questions = [LABELS, ["cat", "dog", "horse", "cow"], LABELS]
    counted = {"images": 0, "texts": 0}
    model = both.theirs.model
    hooks = [
        model.vision_model.register_forward_hook(
            lambda _m, _a, kwargs, _o: counted.update(images=counted["images"] + len(kwargs["pixel_values"])),
            with_kwargs=True,
        ),
        model.text_model.register_forward_hook(
            lambda _m, _a, kwargs, _o: counted.update(texts=counted["texts"] + len(kwargs["input_ids"])),
            with_kwargs=True,
        ),
    ]
    for labels in questions:
        both.theirs(photos, candidate_labels=labels)
    for hook in hooks:
        hook.remove()
    rows = [f"| `transformers` | {counted['images']} | {counted['texts']} | 1 |"]
    for name in ("`zsindex`", "`zsindex`, the same questions in a new process with `library=`"):
        detector = pipeline(TASK, model=both.folder, library=tmp_path / "library", device="cpu")
        for labels in questions:
            detector(photos, candidate_labels=labels)
        usage = detector.library.usage
        rows.append(f"| {name} | {usage['images_encoded']} | {usage['prompts_encoded']} | {usage['model_loads']} |")
    guide = (Path(__file__).parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
    assert "\n".join(rows) in guide
