"""A library of made-up vectors: as large as one likes within seconds, because nothing is decoded and no model runs.

The other scripts import this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from zsindex import ModelInfo, ModelSpec, label_set
from zsindex.classification import prompts
from zsindex.index.snapshots import VectorIndex
from zsindex.records import Candidate, Facts, FloatArray
from zsindex.storage.rows import FileOutcome, ImageRecord
from zsindex.storage.sqlite.storage import SqliteStorage

LABEL_SET = "made-up"


def model_info(dim: int) -> ModelInfo:
    """A model that nobody can load: everything that is asked must be in the cache."""
    return ModelInfo(
        spec=ModelSpec("made-up"),
        fingerprint=hashlib.sha256(f"made-up {dim}".encode()).hexdigest(),
        dim=dim,
        logit_scale=100.0,
        logit_bias=None,
        context_length=77,
        image_size=(224, 224),
        weights_sha256="0" * 64,
    )


def unit_vectors(n: int, dim: int, *, seed: int) -> FloatArray:
    """Random rows of length 1: float32, shape (n, dim)."""
    rows = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def label_names(n: int) -> list[str]:
    """Labels whose prompts `make` stores."""
    return [f"label {i:04}" for i in range(n)]


def make(
    library: Path,
    batches: Iterable[Sequence[Candidate]],
    *,
    dim: int,
    n_labels: int,
    facts: Callable[[str], Facts] | None = None,
) -> None:
    """Make a library that knows these files, each an image of its own with a random vector, and a set of labels.

    Args:
        batches: files that are stored in one transaction each.
        dim: length of the vectors.
        n_labels: labels whose prompts are cached, and kept as the label set `LABEL_SET`.
        facts: what each file's metadata says, by its path; None: none of it was read.
    """
    storage = SqliteStorage.open(library, create=True)
    try:
        model = storage.photos.add_model(model_info(dim), make_default=True)
        for seed, batch in enumerate(batches, start=1):
            storage.photos.save(
                [
                    FileOutcome(
                        file,
                        ImageRecord(
                            hashlib.sha256(file.path.encode()).digest(),
                            4,
                            3,
                            "JPEG",
                            vector,
                            facts=None if facts is None else facts(file.path),
                        ),
                    )
                    for file, vector in zip(batch, unit_vectors(len(batch), dim, seed=seed), strict=True)
                ],
                model.id,
            )
        labels = label_set(label_names(n_labels))
        texts = [prompt for of_label in labels.prompts for prompt in of_label]
        storage.reads.save_prompts(
            texts, unit_vectors(len(texts), dim, seed=0), model.id, truncated=[False] * len(texts)
        )
        storage.labels.save_label_set(LABEL_SET, prompts.to_document(labels))
        VectorIndex.rebuild(storage, model)
    finally:
        storage.close()
