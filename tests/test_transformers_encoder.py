"""Checkpoints of transformers: the scores of its own pipeline, and nothing of a checkpoint taken on trust."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

pytest.importorskip("transformers", reason="transformers is an extra")

from tests import transformers_models
from zsindex import Library, loading
from zsindex.records import ModelSpec
from zsindex.transformers_encoder import TransformersEncoder

LABELS = ["a cat", "a cup of coffee", "Rocket", "柴犬", "猫と犬", "café au lait", "a page of text, 12 lines"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("transformers")
    return {family: transformers_models.save(family, root / family) for family in transformers_models.FAMILIES}


def encoder_of(folder: Path) -> TransformersEncoder:
    encoder = loading.load(ModelSpec(f"local-dir:{folder}"), device="cpu")
    assert isinstance(encoder, TransformersEncoder)
    return encoder


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
