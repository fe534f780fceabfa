"""Exported text towers of transformers' checkpoints: torch's vectors, without torch and without transformers."""

from __future__ import annotations

import json
import logging
import os
import shutil
import string
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("transformers", reason="transformers is an extra")

from tests import transformers_models
from zsindex import Library
from zsindex.classification.prompts import WordsUnfamiliar
from zsindex.config import CACHE_VARIABLE
from zsindex.errors import ModelChanged, PromptTooLong
from zsindex.models import loading, transformers
from zsindex.models.encoder import Encoder
from zsindex.models.openvino import export, runtime
from zsindex.models.openvino.runtime import TowerEncoder
from zsindex.models.tokenizer import MASKED, FastTokenizer, Layout
from zsindex.models.transformers import TransformersEncoder
from zsindex.photos import samples
from zsindex.records import ModelSpec

# CLIP's causal tower; Gemma's tokenizer, on the left, whole; XLM-R's, and a tower that looks both ways.
EXPORTED = ("clip", "siglip2", "altclip")
TEXTS = [
    "a dog",
    "",
    "a photo of a red fire engine in front of a small house",
    "柴犬の写真",
    "CAFÉ &amp; naïve 🙂 </s> <|endoftext|>",
    "many words " * 60,
    "猫" * 200,
    *(" ".join(["cat"] * n) for n in range(1, 24)),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints."""
    root = tmp_path_factory.mktemp("transformers")
    made = {family: transformers_models.save(family, root / family) for family in (*EXPORTED, "siglip")}
    # As SigLIP 2's real ones: the model is not told what is padded.
    unmasked = shutil.copytree(made["siglip2"], root / "unmasked")
    settings_of_tokens = json.loads((unmasked / "tokenizer_config.json").read_text(encoding="utf-8"))
    (unmasked / "tokenizer_config.json").write_text(
        json.dumps({**settings_of_tokens, "model_input_names": ["input_ids"]}), encoding="utf-8"
    )
    return {**made, "unmasked": unmasked}


def spec_of(folder: Path) -> ModelSpec:
    return ModelSpec(f"local-dir:{folder}")


def original_of(folder: Path) -> TransformersEncoder:
    return transformers.load(spec_of(folder), folder, device="cpu")


def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the original fails from here on."""

    def refuse(*_: object, **__: object) -> Encoder:
        raise AssertionError("the original was loaded")

    monkeypatch.setattr(transformers, "load", refuse)


@pytest.mark.parametrize("family", [*EXPORTED, "unmasked"])
def test_texts_without_torch_have_torchs_vectors(
    family: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = original_of(folders[family])
    loading.load(spec_of(folders[family]), device="cpu")
    no_torch(monkeypatch)
    exported = loading.load(spec_of(folders[family]), device="cpu")
    assert isinstance(exported, TowerEncoder)
    assert exported.info == original.info
    assert ("attention_mask" in original.tokens(["a"])) == (family != "unmasked")
    expected = original.encode_texts(TEXTS, truncate=True)
    np.testing.assert_allclose(exported.encode_texts(TEXTS, truncate=True), expected, rtol=0, atol=1e-5)
    alone = np.concatenate([exported.encode_texts([text], truncate=True) for text in TEXTS])
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)
    assert exported.encode_texts([]).shape == (0, original.info.dim)
    assert [exported.count_tokens(text) for text in TEXTS] == [original.count_tokens(text) for text in TEXTS]
    assert exported.unfamiliar([*TEXTS, "собака", "คน"]) == original.unfamiliar([*TEXTS, "собака", "คน"])
    with pytest.raises(PromptTooLong) as theirs:
        original.encode_texts(["short", TEXTS[5]])
    with pytest.raises(PromptTooLong) as ours:
        exported.encode_texts(["short", TEXTS[5]])
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("family", EXPORTED)
@settings(deadline=None, max_examples=60)
@given(
    text=st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.text(string.printable, max_size=60),
        st.lists(st.sampled_from(["<s>", "</s>", "<pad>", "<eos>", "<|endoftext|>", "▁", "cat", "犬", " ", "é"])).map(
            "".join
        ),
    )
)
def test_tokens_are_transformers(family: str, folders: dict[str, Path], text: str) -> None:
    original, ours = tokenizers(folders[family])
    expected = original.tokens([text])
    ids = np.where(expected["attention_mask"].numpy() == 0, MASKED, expected["input_ids"].numpy())
    found, counts = ours([text])
    np.testing.assert_array_equal(found[:, : ids.shape[1]], ids)
    assert (found[:, ids.shape[1] :] == MASKED).all()
    assert counts.tolist() == [original.count_tokens(text)]


_TOKENIZERS: dict[Path, tuple[TransformersEncoder, FastTokenizer]] = {}


def tokenizers(folder: Path) -> tuple[TransformersEncoder, FastTokenizer]:
    if folder not in _TOKENIZERS:
        loading.load(spec_of(folder), device="cpu")
        found = runtime.find(spec_of(folder))
        assert found is not None
        assert found.manifest.fast_tokenizer is not None
        layout = Layout(**found.manifest.fast_tokenizer)
        length = found.manifest.context_length
        fast = FastTokenizer.open(found.folder / runtime.TOKENIZER, layout, context_length=length)
        _TOKENIZERS[folder] = original_of(folder), fast
    return _TOKENIZERS[folder]


HEAVY = ["torch", "transformers", "open_clip", "torchvision", "sentencepiece"]
PROGRAM = f"""
import json, sys, warnings
import zsindex
folder, model, *labels = sys.argv[1:]
warnings.simplefilter("ignore")
with zsindex.Library.open(folder, model=model) as library:
    answer = library.classify(labels, top=len(labels)).to_dicts()
    usage = library.usage
    imported = [name for name in {HEAVY!r} if name in sys.modules]
    print(json.dumps([imported, answer, usage["model_loads"], usage["prompts_encoded"]]))
"""


@pytest.mark.parametrize("family", EXPORTED)
def test_a_new_process_answers_new_labels_without_torch(
    family: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = str(samples.photos()[0])
    with Library.open(tmp_path / "library", model=str(folders[family])) as library:
        library.sync([photo])
    labels = ["a cat", "a dog", "柴犬", "café"]

    def ask() -> list[object]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "library"), str(folders[family]), *labels]
        result = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=dict(os.environ))
        found: list[object] = json.loads(result.stdout)
        return found

    new, cached = ask(), ask()
    assert new[0] == cached[0] == []
    assert new[2:] == [1, len(labels)]
    assert cached[2:] == [0, 0]
    assert cached[1] == new[1]
    monkeypatch.setenv(CACHE_VARIABLE, "off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WordsUnfamiliar)
        with Library.open(tmp_path / "fresh", model=str(folders[family])) as library:
            library.sync([photo])
            expected = library.classify(labels, top=len(labels)).to_dicts()
    scores = [[p["score"] for p in row["predictions"]] for row in (new[1][0], expected[0])]  # type: ignore[index]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5, rel=0)


def test_what_cannot_be_exported_is_left_to_torch_and_said_once(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A slow tokenizer. That there is nothing to export is remembered: finding it out loads the model."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    spec, original = spec_of(folders["siglip"]), original_of(folders["siglip"])
    caplog.set_level(logging.INFO, "zsindex")
    encoder = loading.load(spec, device="cpu")
    assert caplog.text.count("needs torch for its text tower, for its tokenizer is a SiglipTokenizer") == 1
    assert caplog.text.count("its image tower, for") == 1
    assert encoder.info == original.info
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS[:4]), original.encode_texts(TEXTS[:4]))
    assert caplog.text.count("needs torch") == 1
    caplog.clear()
    monkeypatch.setattr(export, "export_transformers", lambda *_: pytest.fail("tried again"))
    again = loading.load(spec, device="cpu")
    assert caplog.text.count("needs torch") == 1
    assert again.count_tokens("a dog") == original.count_tokens("a dog")


@pytest.mark.parametrize("fault", ["tokens", "vectors"])
def test_what_does_not_agree_is_left_out(
    fault: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    if fault == "tokens":
        encode = FastTokenizer.__call__

        def other(self: FastTokenizer, texts: list[str]) -> object:
            tokens, counts = encode(self, texts)
            tokens[0, 0] += 1
            return tokens, counts

        monkeypatch.setattr(FastTokenizer, "__call__", other)
    else:
        monkeypatch.setattr(export, "MAX_DEVIATION", 0.0)
    spec = spec_of(folders["siglip2"])
    encoder, original = loading.load(spec, device="cpu"), original_of(folders["siglip2"])
    found = runtime.find(spec)
    assert found is not None
    assert not found.manifest.text
    assert {"tokens": "other tokens", "vectors": "differ by"}[fault] in found.manifest.left_out["text"]
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS[:3]), original.encode_texts(TEXTS[:3]))


def test_images_are_the_originals(folders: dict[str, Path]) -> None:
    encoder, original = loading.load(spec_of(folders["siglip2"]), device="cpu"), original_of(folders["siglip2"])
    assert isinstance(encoder, TowerEncoder)
    assert encoder.runtime == "torch"
    photo = Image.open(samples.photos()[0])
    pixels = original.preprocess(photo)
    np.testing.assert_array_equal(encoder.preprocess(photo), pixels)
    np.testing.assert_array_equal(encoder.encode_images([pixels]), original.encode_images([pixels]))


def test_low_precision_is_torchs(folders: dict[str, Path]) -> None:
    """An export computes texts in fp32; transformers in what images are computed in, and so says the fingerprint."""
    loading.load(spec_of(folders["clip"]), device="cpu")
    low = loading.load(replace(spec_of(folders["clip"]), precision="bf16"), device="cpu")
    assert isinstance(low, TransformersEncoder)
    assert loading.fastest_precision(spec_of(folders["clip"])) == "fp32"


# --- only for as long as it is the checkpoint's -----------------------------------------------------------------------


@pytest.fixture
def exported(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of the test's own with its export, both copied: tracing takes seconds."""
    loading.load(spec_of(folders["clip"]), device="cpu")
    found = runtime.find(spec_of(folders["clip"]))
    assert found is not None
    model = shutil.copytree(folders["clip"], tmp_path / "model")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    folder = runtime.folder_of(spec_of(model))
    assert folder is not None
    shutil.copytree(found.folder, folder)
    sources = [runtime.identity_of(str(file)) for file in [model, *sorted(model.iterdir())]]
    replace(found.manifest, sources=sources).write(folder)
    assert runtime.find(spec_of(model)) is not None
    return model


def test_it_stands_for_the_folder_and_all_its_files(folders: dict[str, Path]) -> None:
    loading.load(spec_of(folders["clip"]), device="cpu")
    found = runtime.find(spec_of(folders["clip"]))
    assert found is not None
    sources = {path for path, *_ in found.manifest.sources}
    assert sources == {str(folders["clip"]), *(str(file) for file in folders["clip"].iterdir())}


@pytest.mark.parametrize("change", ["weights", "tokenizer", "another file", "transformers"])
def test_a_change_ends_it(change: str, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match change:
        case "weights":
            os.utime(exported / "model.safetensors", ns=(1, 1))
        case "tokenizer":
            with (exported / "tokenizer.json").open("a") as file:
                file.write("\n")
        case "another file":
            (exported / "open_clip_config.json").write_text("{}", encoding="utf-8")
        case "transformers":
            version = runtime.version
            monkeypatch.setattr(runtime, "version", lambda name: "5.0.0" if name == "transformers" else version(name))
    assert runtime.find(spec_of(exported)) is None


def test_the_original_must_be_the_one_that_was_exported(exported: Path) -> None:
    """Weights that were replaced without a trace in size and time stamp."""
    encoder = loading.load(spec_of(exported), device="cpu")
    weights = exported / "model.safetensors"
    status, of_folder = weights.stat(), exported.stat()
    other = transformers_models.save("clip", exported.parent / "other", seed=1)
    weights.write_bytes((other / weights.name).read_bytes())
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.utime(exported, ns=(of_folder.st_atime_ns, of_folder.st_mtime_ns))
    with pytest.raises(ModelChanged):
        encoder.preprocess(Image.new("RGB", (40, 40)))


def test_it_stands_for_what_a_name_in_the_hubs_cache_means(folders: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "models--org--name"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("1" * 40, encoding="utf-8")
    (root / "refs" / "other").write_text("2" * 40, encoding="utf-8")
    snapshot = shutil.copytree(folders["clip"], root / "snapshots" / ("1" * 40))
    files = original_of(snapshot).files
    assert str(root / "refs" / "main") in files
    assert str(root / "refs" / "other") not in files
