"""The guide's second half: the same lines, with transformers and with zsindex."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers", reason="transformers is an extra")

from tests.beside import Both
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.test_reference import one_thread  # noqa: F401  small models are slower in several
from zsindex import AutoModelForZeroShotImageClassification, AutoProcessor, pipeline
from zsindex.errors import ImageError, PromptTooLong
from zsindex.library import Library
from zsindex.zero_shot import by_hand

TEXTS = ["This is a photo of a tree.", "This is a photo of a car.", "This is a photo of a cat."]


def ask(auto_processor: Any, auto_model: Any, checkpoint: str, images: Any, **options: Any) -> Any:
    """The guide's lines, as they are."""
    model = auto_model.from_pretrained(checkpoint, **options)
    processor = auto_processor.from_pretrained(checkpoint)
    inputs = processor(images=images, text=TEXTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        return model(**inputs)


@pytest.fixture(scope="module")
def outputs(both: Both) -> tuple[Any, Any]:
    images = [Image.open(path) for path in both.photos]
    theirs = ask(
        both.transformers.AutoProcessor,
        both.transformers.AutoModelForZeroShotImageClassification,
        both.folder,
        images,
    )
    ours = ask(AutoProcessor, AutoModelForZeroShotImageClassification, both.folder, images, library=both.library)
    return theirs, ours


@pytest.mark.parametrize("name", ["logits_per_image", "logits_per_text", "image_embeds", "text_embeds"])
def test_outputs_are_those_of_transformers(outputs: tuple[Any, Any], name: str) -> None:
    theirs, ours = (getattr(one, name) for one in outputs)
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), atol=1e-4)


def test_from_logits_to_sorted_results(outputs: tuple[Any, Any]) -> None:
    found = []
    for one in outputs:
        logits = one.logits_per_image[0]
        probs = logits.softmax(dim=-1).numpy()
        scores = probs.tolist()
        result = [
            {"score": score, "label": label}
            for score, label in sorted(zip(probs, TEXTS, strict=True), key=lambda x: -x[0])
        ]
        found.append((type(probs), type(scores[0]), [r["label"] for r in result], [type(r["score"]) for r in result]))
        assert scores == pytest.approx(outputs[0].logits_per_image[0].softmax(dim=-1).tolist(), abs=1e-5)
    assert found[0] == found[1]


@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_softmax_and_sigmoid(outputs: tuple[Any, Any], dim: int) -> None:
    theirs, ours = (one.logits_per_image for one in outputs)
    np.testing.assert_allclose(ours.softmax(dim=dim).numpy(), theirs.softmax(dim=dim).numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.sigmoid().cpu().detach().numpy(), theirs.sigmoid().numpy(), atol=1e-5)


def test_the_scores_are_the_pipelines(both: Both) -> None:
    found = ask(
        AutoProcessor, AutoModelForZeroShotImageClassification, both.folder, both.photos[0], library=both.library
    )
    expected = both.ours(str(both.photos[0]), TEXTS, hypothesis_template="{}")
    assert dict(zip(TEXTS, found.logits_per_image[0].softmax(dim=-1).tolist(), strict=True)) == pytest.approx(
        {one["label"]: one["score"] for one in expected}, abs=1e-6
    )


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AutoModelForZeroShotImageClassification:
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda spec, **_: FakeEncoder(name=spec.name))
    return AutoModelForZeroShotImageClassification.from_pretrained("some/model")


def test_one_image_and_one_text(model: AutoModelForZeroShotImageClassification, tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained("some/model")
    blue = photo(tmp_path / "blue.png", "blue")
    for images, text in ((blue, "blue"), ([str(blue)], ["blue"]), (Image.open(blue), ("blue",))):
        inputs = processor(images=images, text=text).to(model.device)
        assert model.eval()(**inputs).logits_per_image.shape == (1, 1)
    assert model(**processor(images=[blue, blue], text=["red", "blue", "green"])).logits_per_image.shape == (2, 3)
    assert model.library.usage["images_encoded"] == 2  # the file, and its pixels


def test_what_it_refuses(model: AutoModelForZeroShotImageClassification, tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained("some/model")
    blue = photo(tmp_path / "blue.png", "blue")
    with pytest.raises(ValueError, match="give images, or text"):
        processor()
    for inputs in (processor(images=blue), processor(text="blue")):
        with pytest.raises(ValueError, match="give the processor both"):
            model(**inputs)
    with pytest.raises(ImageError):
        processor(images="no such file", text="blue")
    with pytest.raises(PromptTooLong):
        model(**processor(images=blue, text="red " * 20))
    assert model(**processor(images=blue, text="red " * 20, truncation=True)).logits_per_image.shape == (1, 1)
    with pytest.raises(ValueError, match="max_length"):
        model(**processor(images=blue, text="red", max_length=3))
    with pytest.raises(TypeError, match="nonsense"):
        processor(images=blue, text="red", nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="nonsense"):
        AutoModelForZeroShotImageClassification.from_pretrained("some/model", nonsense=1)
    with pytest.raises(TypeError, match="save_pretrained"):
        AutoProcessor.from_pretrained(object())  # type: ignore[arg-type]


def test_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda spec, **_: FakeEncoder(name=spec.name))
    model = AutoModelForZeroShotImageClassification.from_pretrained("some/model")
    folder = model.library.path
    assert folder.is_dir()
    del model
    gc.collect()
    assert not folder.exists()
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        assert AutoModelForZeroShotImageClassification.from_pretrained(None, library=library).library is library
        with pytest.raises(ValueError, match="leave them out"):
            AutoModelForZeroShotImageClassification.from_pretrained("nano", library=library)


def test_the_pipeline_has_the_vectors_already(model: AutoModelForZeroShotImageClassification, tmp_path: Path) -> None:
    blue = photo(tmp_path / "blue.png", "blue")
    pipeline(library=model.library)(blue, ["a tree"], hypothesis_template="This is a photo of {}.")
    before = model.library.usage
    model(**AutoProcessor.from_pretrained("some/model")(images=blue, text="This is a photo of a tree."))
    after = model.library.usage
    assert after["images_encoded"] == before["images_encoded"] == 1
    assert after["prompts_encoded"] == before["prompts_encoded"] == 1


def test_logits_are_arrays() -> None:
    logits = np.zeros((2, 3), dtype=np.float32).view(by_hand.Logits)
    assert type(logits.softmax().numpy()) is np.ndarray
    assert torch.equal(torch.as_tensor(logits), torch.zeros(2, 3))
