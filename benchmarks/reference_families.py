"""Scores of each family of transformers' checkpoints, against its own pipeline. docs/reference.md has the result.

    python benchmarks/reference_families.py FOLDER

FOLDER holds photos named <id>_<class_name>.JPEG. The checkpoints have random weights, saved by transformers; each is
asked by zsindex through a library, and by transformers.pipeline("zero-shot-image-classification").
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import transformers_models
from zsindex import Library

PHOTOS, LABELS = 40, 20
JAPANESE = ["猫", "犬", "柴犬", "鳥", "車", "花", "コーヒー", "寿司", "写真", "山"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    photos = sorted(parser.parse_args().folder.glob("*.JPEG"))
    photos = photos[:: len(photos) // PHOTOS][:PHOTOS]
    classes = [path.stem.partition("_")[2].replace("_", " ") for path in photos]
    labels = [*dict.fromkeys(classes)][: LABELS - 5] + JAPANESE[:5]
    print(f"{len(photos)} photos, {len(labels)} labels, transformers {transformers.__version__}\n")
    print("| family | largest difference of a score | photos with the same order | types |")
    print("|---|---|---|---|")
    warnings.simplefilter("ignore")
    for family in transformers_models.FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            print(compare(family, Path(folder), photos, labels), flush=True)


def compare(family: str, folder: Path, photos: list[Path], labels: list[str]) -> str:
    checkpoint = transformers_models.save(family, folder / "checkpoint")
    classify = transformers.pipeline("zero-shot-image-classification", model=str(checkpoint), device="cpu")
    theirs = classify([str(path) for path in photos], candidate_labels=labels)
    with Library.open(folder / "library", model=str(checkpoint), device="cpu", icc="ignore") as library:
        library.sync(photos)
        mine = library.classify(labels, top=len(labels))
    largest, same, types = 0.0, 0, True
    for result, answers in zip(mine, theirs, strict=True):
        by_label = {answer["label"]: answer["score"] for answer in answers}
        largest = max(largest, *(abs(p.score - by_label[p.label]) for p in result.predictions))
        same += in_order([by_label[p.label] for p in result.predictions])
        types &= all(type(p.score) is float and type(p.label) is str for p in result.predictions)
    return f"| {family} | {largest:.1e} | {same} of {len(photos)} | {'the same' if types else 'others'} |"


def in_order(scores: list[float]) -> bool:
    """Whether the pipeline's scores fall in the order of zsindex, but for ties up to float noise."""
    return all(before >= after - 1e-6 for before, after in pairwise(scores))


if __name__ == "__main__":
    main()
