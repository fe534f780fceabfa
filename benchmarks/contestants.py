"""The programs that benchmarks/versus.py compares, each run in a process of its own.

    python benchmarks/contestants.py NAME '{"option": …}' ANSWER

Writes JSON to the file ANSWER, because the processes that a contestant starts may print: seconds for importing, for
loading and warming up the model, and for each label set over all photos; and what else is worth knowing. Each
contestant imports what it needs inside its function, because importing is timed, and because clip-retrieval lives in an
environment that has no zsindex.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TEMPLATE = "This is a photo of {}."
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Answer = dict[str, Any]


class Clock:
    """Seconds since it was made or asked last."""

    def __init__(self) -> None:
        self._then = time.perf_counter()

    def __call__(self) -> float:
        now = time.perf_counter()
        seconds, self._then = now - self._then, now
        return seconds


# --- zsindex ----------------------------------------------------------------------------------------------------------


def zsindex(photos: str, model: str, decode: str, precision: str, label_sets: list[list[str]], library: str) -> Answer:
    """The first label set syncs the folder; the others find the vectors there. The library stays."""
    clock = Clock()
    import faiss
    import openvino
    import tokenizers

    from zsindex.library import Library, load_encoder
    from zsindex.records import DecodeMode, ModelSpec

    del faiss, openvino, tokenizers
    importing = clock()
    encoder = load_encoder(
        ModelSpec(model, decode=DecodeMode(decode), precision=precision), device="cpu", batch_size=None
    )
    encoder.encode_images([encoder.preprocess(_grey())])
    encoder.encode_texts(["a"])
    loading = clock()
    seconds = []
    with Library.open(library, encoder=encoder) as opened:
        for position, labels in enumerate(label_sets):
            clock()
            if position == 0:
                opened.sync(photos)
            result = opened.classify(labels, top=1)
            seconds.append(clock())
        scores = result.scores
        vectors = opened.embed_images(opened.photos.paths())
    assert len(scores) == len(vectors)
    return {
        "import_s": importing,
        "load_s": loading,
        "label_sets_s": seconds,
        "photos": len(vectors),
        "runtime": getattr(encoder, "runtime", "torch"),
        "vectors": vectors,
    }


def zsindex_texts(model: str, texts: list[str]) -> Answer:
    """Encode texts by zsindex."""
    clock = Clock()
    from zsindex.library import load_encoder
    from zsindex.records import ModelSpec

    importing = clock()
    encoder = load_encoder(ModelSpec(model), device="cpu", batch_size=None)
    encoder.encode_texts(["a"])
    return {"import_s": importing, "load_s": clock(), **_texts_timed(texts, encoder.encode_texts)}


# --- open_clip --------------------------------------------------------------------------------------------------------


def open_clip_loop(
    photos: str, model: str, label_sets: list[list[str]], batch_size: int, workers: int, keep: bool
) -> Answer:
    """A careful loop: batches, inference_mode, all cores.

    Args:
        workers: 0 decodes in the loop, else a DataLoader does in so many processes.
        keep: keep the vectors in memory for later label sets, instead of looking at the photos again.
    """
    clock = Clock()
    import open_clip
    import torch
    from PIL import Image

    importing = clock()
    torch.set_num_threads(CORES)
    clip, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{model}")
    clip.eval()
    files = _files(photos)

    class Photos(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, position: int) -> Any:
            with Image.open(files[position]) as image:
                return preprocess(image)

    def encode_photos() -> Any:
        batches = torch.utils.data.DataLoader(Photos(), batch_size=batch_size, num_workers=workers)
        return torch.cat([clip.encode_image(batch, normalize=True) for batch in batches])

    with torch.inference_mode():
        clip.encode_image(preprocess(_grey())[None])
        clip.encode_text(tokenize(["a"]))
        loading = clock()
        seconds, images = [], None
        for labels in label_sets:
            clock()
            texts = clip.encode_text(tokenize([TEMPLATE.format(label) for label in labels]), normalize=True)
            images = encode_photos() if images is None or not keep else images
            (clip.logit_scale.exp() * images @ texts.T).softmax(dim=-1)
            seconds.append(clock())
    assert images is not None
    return {
        "import_s": importing,
        "load_s": loading,
        "label_sets_s": seconds,
        "photos": len(files),
        "vectors": images.numpy(),
    }


def open_clip_texts(model: str, texts: list[str]) -> Answer:
    """Encode texts by open_clip, which pads each to the model's context."""
    clock = Clock()
    import open_clip
    import torch

    importing = clock()
    torch.set_num_threads(CORES)
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{model}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{model}")
    clip.eval()

    def encode(some: Sequence[str]) -> Any:
        with torch.inference_mode():
            parts = tokenize(list(some)).split(64)
            return torch.cat([clip.encode_text(part, normalize=True) for part in parts]).numpy()

    encode(["a"])
    return {"import_s": importing, "load_s": clock(), **_texts_timed(texts, encode)}


# --- transformers -----------------------------------------------------------------------------------------------------


def pipeline(photos: str, model: str, label_sets: list[list[str]], batch_size: int) -> Answer:
    """The pipeline zero-shot-image-classification, given the list of photos."""
    clock = Clock()
    import torch
    import transformers

    importing = clock()
    torch.set_num_threads(CORES)
    transformers.logging.set_verbosity_error()
    classify = transformers.pipeline("zero-shot-image-classification", model=model, device="cpu")
    files = _files(photos)
    classify(_grey(), candidate_labels=["a", "b"])
    loading = clock()
    seconds = []
    for labels in label_sets:
        clock()
        results = classify(files, candidate_labels=labels, batch_size=batch_size)
        seconds.append(clock())
        assert len(results) == len(files)
    return {"import_s": importing, "load_s": loading, "label_sets_s": seconds, "photos": len(files)}


# --- clip-retrieval ---------------------------------------------------------------------------------------------------


def clip_retrieval(photos: str, checkpoint: str, architecture: str, batch_size: int, output: str) -> Answer:
    """clip-retrieval's inference over the folder, as its command line runs it; it classifies nothing.

    Its own log gives the seconds: reading, encoding and writing of all batches, without loading and warming up.
    """
    clock = Clock()
    from clip_retrieval.clip_inference.main import main as clip_inference

    importing = clock()
    clip_inference(
        input_dataset=photos,
        output_folder=output,
        batch_size=batch_size,
        num_prepro_workers=CORES,
        enable_text=False,
        clip_model=f"open_clip:{architecture}/{checkpoint}",
    )
    total = clock()
    logs = [json.loads(log.read_text(encoding="utf-8")) for log in Path(output, "stats").glob("[0-9]*.json")]
    seconds = sum(log["total_duration"] for log in logs)
    return {
        "import_s": importing,
        "load_s": total - seconds,
        "label_sets_s": [seconds],
        "photos": sum(log["sample_count"] for log in logs),
    }


# --- common -----------------------------------------------------------------------------------------------------------


def _files(folder: str) -> list[str]:
    return sorted(str(file) for file in Path(folder).iterdir())


def _grey() -> Any:
    from PIL import Image

    return Image.new("RGB", (320, 240), "grey")


def _texts_timed(texts: list[str], encode: Callable[[Sequence[str]], Any]) -> Answer:
    """The best of three runs over the same texts; nothing in here remembers them."""
    clock, seconds = Clock(), []
    for _ in range(3):
        clock()
        vectors = encode(texts)
        seconds.append(clock())
    return {"texts_s": min(seconds), "texts": len(texts), "vectors": vectors}


def main() -> None:
    name, options = sys.argv[1], json.loads(sys.argv[2])
    save = options.pop("save_vectors", None)
    answer = globals()[name](**options)
    vectors = answer.pop("vectors", None)
    if save is not None:
        import numpy as np

        np.save(save, vectors)
    Path(sys.argv[3]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
