"""Checkpoints of transformers: the scores of its own pipeline, and nothing of a checkpoint taken on trust."""

from __future__ import annotations

import json
import shutil
import unicodedata
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data

pytest.importorskip("transformers", reason="transformers is an extra")

from tests import transformers_models
from zsindex import Library
from zsindex.classification.prompts import WordsUnfamiliar
from zsindex.config import CACHE_VARIABLE
from zsindex.errors import CheckpointError, PromptTooLong, UnknownModel, ZsindexWarning
from zsindex.models import loading
from zsindex.models import transformers as transformers_encoder
from zsindex.models.transformers import TransformersEncoder
from zsindex.records import ModelSpec

LABELS = ["a cat", "a cup of coffee", "Rocket", "柴犬", "猫と犬", "café au lait", "a page of text, 12 lines"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("transformers")
    return {family: transformers_models.save(family, root / family) for family in transformers_models.FAMILIES}


def encoder_of(folder: Path) -> TransformersEncoder:
    return transformers_encoder.load(ModelSpec(f"local-dir:{folder}"), folder, device="cpu")


@cache
def original(folder: Path) -> TransformersEncoder:
    """The encoder of a folder that no test changes."""
    return encoder_of(folder)


def photographs() -> list[Image.Image]:
    """Of odd sizes, upright and wide, with an odd margin around the crop, and one in grey."""
    astronaut = Image.fromarray(data.astronaut())
    return [
        astronaut,
        astronaut.crop((0, 0, 201, 512)),
        Image.fromarray(data.rocket()),
        Image.fromarray(data.chelsea()),
        Image.fromarray(data.camera()),
    ]


def pipeline_answers(folder: Path, images: list[Image.Image], labels: list[str]) -> list[list[dict[str, Any]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        classify = transformers.pipeline("zero-shot-image-classification", model=str(folder), device="cpu")
        answers: list[list[dict[str, Any]]] = classify(images, candidate_labels=labels)
    return answers


@pytest.mark.parametrize("family", transformers_models.FAMILIES)
def test_scores_equal_the_pipelines(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    images = photographs()
    expected = pipeline_answers(folders[family], images, LABELS)
    files = [tmp_path / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        image.save(file)
    with Library.open(tmp_path / "library", model=str(folders[family])) as library:
        library.sync(files)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WordsUnfamiliar)  # Japanese is new to some
            found = library.classify(LABELS, top=len(LABELS))
    assert [prediction.path for prediction in found] == [str(file) for file in files]
    for prediction, theirs in zip(found, expected, strict=True):
        by_label = {answer["label"]: answer["score"] for answer in theirs}
        assert [p.score for p in prediction.predictions] == pytest.approx(list(by_label.values()), abs=1e-5, rel=0)
        assert [p.score for p in prediction.predictions] == pytest.approx(
            [by_label[p.label] for p in prediction.predictions], abs=1e-5, rel=0
        )  # labels that are the same unknown token change places in the pipeline, by the noise of its batches
    best = np.array([[answer["score"] for answer in row] for row in expected])
    assert best.std(axis=1).min() > 1e-3  # labels are told apart
    assert best.std(axis=0).max() > 1e-3  # and so are images


@pytest.mark.parametrize("family", transformers_models.MULTILINGUAL)
def test_multilingual_labels_are_read_as_the_pipeline_reads_them(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    decomposed = "か\u3099ゆう"  # with a combining mark: zsindex composes it
    labels = ["猫", "犬と柴犬", "コーヒーを一杯", "CAFÉ", "café", "がゆう"]
    expected = pipeline_answers(folders[family], photographs()[:1], labels)[0]
    photographs()[0].save(tmp_path / "photo.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZsindexWarning)  # the small vocabulary lacks letters, and CAFÉ is near café
        with Library.open(tmp_path / "library", model=str(folders[family])) as library:
            library.sync([tmp_path / "photo.png"])
            found = library.classify([*labels[:-1], decomposed], top=len(labels))
    scores = {answer["label"]: answer["score"] for answer in expected}
    mine = {unicodedata.normalize("NFC", p.label): p.score for p in next(iter(found)).predictions}
    assert mine == pytest.approx(scores, abs=1e-5, rel=0)
    # Upper and lower case are two labels; the tokenizer may make one of them, but nothing before it does.
    assert {"CAFÉ", "café"} <= mine.keys()


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", transformers_models.FAMILIES)
def test_a_text_has_one_vector_whatever_it_is_asked_with(family: str, folders: dict[str, Path]) -> None:
    encoder = original(folders[family])
    texts = ["a cat", "This is a photo of a dog, of a cat, and of a cup of coffee.", "猫"]
    together = encoder.encode_texts(texts)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    for text, vector in zip(texts, together, strict=True):
        assert np.abs(encoder.encode_texts([text])[0] - vector).max() <= 1e-6
    assert encoder.encode_texts([]).shape == (0, encoder.info.dim)


@pytest.mark.parametrize("family", transformers_models.FAMILIES)
def test_a_long_text_is_refused_unless_it_may_be_cut(family: str, folders: dict[str, Path]) -> None:
    encoder = original(folders[family])
    limit = encoder.info.context_length
    long = "dog " * 120
    assert encoder.count_tokens(long) > limit
    with pytest.raises(PromptTooLong, match=f"reads {limit}"):
        encoder.encode_texts(["a cat", long])
    assert encoder.encode_texts([long], truncate=True).shape == (1, encoder.info.dim)
    # The longest that is said to be read is read.
    words = next(n for n in range(120, 0, -1) if encoder.count_tokens("dog " * n) <= limit)
    assert encoder.encode_texts(["dog " * words]).shape == (1, encoder.info.dim)


def test_siglip_cuts_as_the_pipeline_does(folders: dict[str, Path]) -> None:
    """The pipeline cuts texts for SigLIP, and says nothing."""
    encoder = original(folders["siglip2"])
    image = photographs()[0]
    long = "cat and dog " * 60
    answers = pipeline_answers(folders["siglip2"], [image], [long, "a cat"])[0]
    vectors = encoder.encode_texts([f"This is a photo of {label}." for label in (long, "a cat")], truncate=True)
    cosines = encoder.encode_images([encoder.preprocess(image)]) @ vectors.T
    assert encoder.info.logit_bias is not None
    mine = 1 / (1 + np.exp(-(encoder.info.logit_scale * cosines[0] + encoder.info.logit_bias)))
    theirs = {answer["label"]: answer["score"] for answer in answers}
    assert mine == pytest.approx([theirs[long], theirs["a cat"]], abs=1e-5)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["clip", "siglip", "align"])
@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1)])
def test_a_thin_picture_is_scaled_in_bounded_memory(
    family: str, size: tuple[int, int], folders: dict[str, Path]
) -> None:
    encoder = original(folders[family])
    pixels = encoder.preprocess(Image.new("RGB", size, "red"))
    expected = encoder.preprocess(Image.new("RGB", (64, 64), "red"))
    assert np.abs(pixels - expected).max() < 0.05


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_near(precision: str, folders: dict[str, Path]) -> None:
    exact = original(folders["clip"])
    low = loading.load(ModelSpec(f"local-dir:{folders['clip']}", precision=precision), device="cpu")
    assert low.info.fingerprint != exact.info.fingerprint
    pixels = [exact.preprocess(image) for image in photographs()]
    for mine, theirs in (
        (low.encode_images(pixels), exact.encode_images(pixels)),
        (low.encode_texts(LABELS), exact.encode_texts(LABELS)),
    ):
        assert mine.dtype == np.float32
        assert (mine * theirs).sum(axis=1).min() > 0.98


# --- what a model is --------------------------------------------------------------------------------------------------


def changed(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_the_fingerprint_is_one_of_contents(folders: dict[str, Path], tmp_path: Path) -> None:
    expected = original(folders["clip"]).info.fingerprint
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    assert encoder_of(copy).info.fingerprint == expected
    changed(copy, "config.json", _name_or_path="elsewhere", transformers_version="5.0.0")
    assert encoder_of(copy).info.fingerprint == expected
    changed(copy, "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5])
    assert encoder_of(copy).info.fingerprint != expected


def test_other_weights_or_words_are_another_model(folders: dict[str, Path], tmp_path: Path) -> None:
    other = transformers_models.save("clip", tmp_path / "other", seed=1)
    assert encoder_of(other).info.fingerprint != original(folders["clip"]).info.fingerprint
    cased = shutil.copytree(folders["clip"], tmp_path / "cased")
    document = json.loads((cased / "tokenizer.json").read_text(encoding="utf-8"))
    document["normalizer"] = {"type": "NFC"}  # no lower-casing any more
    (cased / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    tokens = encoder_of(cased).tokenizer("A CAT")["input_ids"]
    differ = tokens != original(folders["clip"]).tokenizer("A CAT")["input_ids"]
    assert differ == (encoder_of(cased).info.fingerprint != original(folders["clip"]).info.fingerprint)


def test_pickled_weights_are_loaded_as_plain_tensors(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    assert encoder_of(copy).info.fingerprint == original(folders["clip"]).info.fingerprint
    torch.save({**weights, "more": Path("/")}, copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        encoder_of(copy)


def test_two_places_of_a_checkpoint_share_their_vectors(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, and a repository in the hub's cache, offline."""
    monkeypatch.setenv(CACHE_VARIABLE, "off")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    root = tmp_path / "hub" / "models--org--name"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("1" * 40, encoding="utf-8")
    shutil.copytree(folders["clip"], root / "snapshots" / ("1" * 40))
    photographs()[0].save(tmp_path / "photo.png")
    with Library.open(tmp_path / "library", model=str(folders["clip"])) as library:
        assert library.sync([tmp_path / "photo.png"]).encoded == 1
    for name in ("org/name", "hf:org/name", "hf-hub:org/name", f"org/name@{'1' * 40}"):
        with Library.open(tmp_path / "library", model=name) as library:
            assert library.sync([tmp_path / "photo.png"]).encoded == 0
            assert len(library.models()) == 1


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("siglip2", "no fixed size"),
        ("blip-2", "not a dual encoder"),
        ("videoprism", "not one of the dual encoders"),
        ("bert", "does not compare pictures with words"),
        (None, "what its config.json describes"),
    ],
)
def test_what_is_no_dual_encoder_is_refused(
    family: str | None, reason: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    changed(copy, "config.json", model_type=family)
    with pytest.raises(UnknownModel, match=reason):
        encoder_of(copy)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_code_of_a_checkpoint_is_never_run(file: str, folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\nclass Model: ...", encoding="utf-8")
    changed(copy, file, auto_map={"AutoModel": "evil.Model", "AutoProcessor": "evil.Model"})
    with pytest.raises(CheckpointError, match="trust_remote_code"):
        encoder_of(copy)
    assert not (tmp_path / "was-run").exists()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def without_a_tower(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "vision" not in n}, file, metadata={"format": "pt"})


def without_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def without_sense(folder: Path) -> None:
    (folder / "config.json").write_text("[", encoding="utf-8")


@pytest.mark.parametrize("damage", [without_weights, cut_short, without_a_tower, without_a_tokenizer, without_sense])
def test_a_damaged_checkpoint_is_no_traceback(
    damage: Callable[[Path], None], folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    damage(copy)
    with pytest.raises(CheckpointError):
        encoder_of(copy)


# --- parts that are missing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["clip", "siglip2"])
@pytest.mark.parametrize("settings", [True, False])
def test_a_checkpoint_without_its_vocabulary_is_refused(
    family: str, settings: bool, folders: dict[str, Path], tmp_path: Path
) -> None:
    """transformers makes a tokenizer without words of it, and every prompt would have the same vector."""
    folder = tmp_path / "partly"
    left_out = ["tokenizer.json", *([] if settings else ["tokenizer_config.json"])]
    shutil.copytree(folders[family], folder, ignore=shutil.ignore_patterns(*left_out))
    with pytest.raises(CheckpointError, match="tokenizer"):
        encoder_of(folder)


def test_a_vocabulary_in_files_of_its_own_is_one(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(folders["clip"], folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]), encoding="utf-8")
    text = ["a photo of a cat"]
    np.testing.assert_allclose(
        encoder_of(folder).encode_texts(text), original(folders["clip"]).encode_texts(text), atol=1e-6
    )
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        encoder_of(folder)


def test_weights_of_other_shapes_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(folders["clip"], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "projection_dim": 20}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"do not have the shape .* config\.json gives: text_projection\.weight"):
        encoder_of(folder)


def test_a_checkpoint_without_its_image_processor_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "partly"
    shutil.copytree(folders["clip"], folder, ignore=shutil.ignore_patterns("*processor_config.json"))
    with pytest.raises(CheckpointError, match=r"no image processor \(preprocessor_config\.json"):
        encoder_of(folder)
