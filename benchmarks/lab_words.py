"""What lint, diff and suggest say of label sets, on ImageNet photos with known classes. Prints Markdown tables.

    python benchmarks/lab_words.py [PHOTOS] [--labels FILE] [--model MODEL]

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. FILE is CLIP_benchmark's `en_classnames.json`. The library is a temporary one.

- Diff: the classes of the photos, once by the names of CLIP_benchmark and once by the words of the file names, which
  are WordNet's. The labels are the wordnet ids, so that a flip is another class and not another word.
- Lint: a set of everyday labels, clean and with planted faults; then sets that others published, as they are.
- Templates: what it brings to leave out those that lint warns of. Lint does not see the truth; this table does.
- Suggest: what it proposes where half of the everyday labels are taken away.

Labels, templates and faults were written down before anything was measured with them, but for the hub. That is one of
those that `--hubs` finds: words of WordNet that, beside the everyday labels, are among the three best for most photos.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate
from timm.data import ImageNetInfo

from zsindex import Library, label_set, parse_labels
from zsindex.classification.templates import BUILT_IN
from zsindex.lab.vocabulary import words as words_of

HERE = Path(__file__).resolve().parent
BESIDE_PROJECT = HERE.parents[1] / "shared/photos/imagenet-sample"
LABELS_BESIDE = HERE.parents[1] / "shared/labels/clip_benchmark/en_classnames.json"

EVERYDAY = (
    "dog", "cat", "bird", "fish", "insect", "snake", "monkey", "bear", "car", "truck", "boat", "airplane", "train",
    "bicycle", "building", "bridge", "furniture", "musical instrument", "clothing", "shoe", "hat", "fruit", "vegetable",
    "bread", "drink", "flower", "mushroom", "mountain", "beach", "tool", "computer", "telephone", "clock", "ball",
)  # fmt: skip
PLANTED = {
    "a collision": {"automobile": ["This is a photo of automobile."]},
    # Of WordNet's nouns one of those that are among the three best labels most often.
    "a hub": {"favorite son": ["This is a photo of favorite son."]},
    "an over-long prompt": {"violin": ["This is a photo of violin, " + "a wooden instrument with four strings, " * 12]},
}
BAD_TEMPLATE = "the dog next to the cat and the big bird in front of the house, and {}"
TAKEN_AWAY = ("bird", "snake", "flower", "mushroom", "clothing", "musical instrument", "fruit", "vegetable", "mountain")


def main() -> None:
    """Parse the command line and print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--labels", default=LABELS_BESIDE, type=Path, help="en_classnames.json (default: %(default)s)")
    parser.add_argument("--model", default="nano", help="(default: %(default)s)")
    parser.add_argument("--hubs", action="store_true", help="only look for hubs among WordNet's nouns")
    args = parser.parse_args()
    photos = sorted(args.photos.glob("n*_*.JPEG"))
    if not photos or not args.labels.is_file():
        parser.error(f"photos in {args.photos} and the file {args.labels} are needed; name others")
    truth = {str(path.resolve()): path.name.split("_")[0] for path in photos}
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library", model=args.model) as library:
        library.sync([path.resolve() for path in photos])
        if args.hubs:
            hubs(library)
            return
        compare_names(library, truth, args.labels)
        plant(library)
        others(library, args.labels)
        leave_out(library, truth, args.labels)
        propose(library)


def classes(truth: Mapping[str, str], labels: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The classes of the photos, wordnet id to name: CLIP_benchmark's, and the file names'."""
    names = json.loads(labels.read_text(encoding="utf-8"))["imagenet1k"]
    name_of = dict(zip(ImageNetInfo().label_names(), names, strict=True))
    wanted = sorted(set(truth.values()))
    words = {Path(path).stem.partition("_")[0]: Path(path).stem.partition("_")[2] for path in truth}
    return {w: name_of[w] for w in wanted}, {w: words[w].replace("_", " ") for w in wanted}


def accuracy(library: Library, labels: Mapping[str, Sequence[str]], truth: Mapping[str, str]) -> float:
    """The share of photos whose best label is the true one."""
    return sum(result.label == truth[result.path] for result in library.classify(labels, top=1)) / len(truth)


def compare_names(library: Library, truth: Mapping[str, str], file: Path) -> None:
    """Diff of two sets of names for the same classes."""
    published, wordnet = classes(truth, file)
    before, after = (
        {w: [f"This is a photo of {name}."] for w, name in names.items()} for names in (wordnet, published)
    )
    result = library.lab.diff(before, after)
    outcome = Counter((truth[flip.path] == flip.before, truth[flip.path] == flip.after) for flip in result.flips)
    print("### Diff: WordNet's words and CLIP_benchmark's names for the same classes\n")
    rows = [
        ("classes, photos", f"{len(before)}, {len(result)}"),
        ("names that differ", sum(published[w] != wordnet[w] for w in published)),
        ("photos that flip", f"{len(result.flipped)} ({result.share:.1%})"),
        ("of these from wrong to right", outcome[False, True]),
        ("from right to wrong", outcome[True, False]),
        ("from wrong to wrong", outcome[False, False]),
        ("mean movement of the scores", f"{result.moved.mean():.3f}"),
        ("top-1 by WordNet's words", f"{accuracy(library, before, truth):.1%}"),
        ("top-1 by CLIP_benchmark's names", f"{accuracy(library, after, truth):.1%}"),
    ]
    print(tabulate(rows, ("", ""), tablefmt="github"))
    print("\nFlips that move most:\n")
    flips = [
        (f"{f.moved:.2f}", wordnet[f.before], published[f.after], wordnet[truth[f.path]]) for f in result.flips[:8]
    ]
    print(tabulate(flips, ("moved", "before", "after", "truth"), tablefmt="github", disable_numparse=True))


def plant(library: Library) -> None:
    """Lint of a clean set, and with each fault in turn."""
    clean = {label: [f"This is a photo of {label}."] for label in EVERYDAY}
    rows = [("none", "", "; ".join(warnings(library, clean)) or "no warning")]
    for what, labels in PLANTED.items():
        rows.append((what, next(iter(labels)), "; ".join(warnings(library, {**clean, **labels}))))
    templates = ["This is a photo of {}.", "{}", "a {} in a video game.", BAD_TEMPLATE]
    report = library.lab.lint(list(EVERYDAY), template=templates)
    found = [
        f"{f.kind}: {f.words[0]}" for f in report.findings if f.kind.startswith("template") and f.severity == "warning"
    ]
    rows.append(("a useless template", BAD_TEMPLATE, "; ".join(found)))
    print(f"\n### Lint: {len(EVERYDAY)} everyday labels, with planted faults\n")
    print(tabulate(rows, ("fault", "planted", "warnings"), tablefmt="github"))


def warnings(library: Library, labels: Mapping[str, Sequence[str]]) -> list[str]:
    """What lint warns of, in short."""
    return [
        f"{f.kind}: {', '.join(f.words[:1] if f.kind == 'too-long' else f.words)}"
        for f in library.lab.lint(labels).findings
        if f.severity == "warning"
    ]


def others(library: Library, file: Path) -> None:
    """Lint of a published set."""
    text = file.read_text(encoding="utf-8")
    report = library.lab.lint(parse_labels(text, source=file.name, key="imagenet1k"))
    print("\n### Lint: CLIP_benchmark's names of all 1,000 classes, as they are\n")
    kinds = Counter((f.severity, f.kind) for f in report.findings)
    print(tabulate([(*kind, n) for kind, n in kinds.items()], ("severity", "kind", "findings"), tablefmt="github"))
    print()
    for finding in report.findings:
        if finding.severity == "warning":
            print(f"- {' and '.join(finding.words)}: {finding.message}")


def leave_out(library: Library, truth: Mapping[str, str], file: Path) -> None:
    """Accuracy with and without the templates that lint warns of."""
    published, _ = classes(truth, file)
    rows = []
    for name in ("openai-7", "openai-80"):
        templates = BUILT_IN[name]
        # Lint with the everyday labels, the accuracy with the classes.
        report = library.lab.lint(list(EVERYDAY), template=name)
        flagged = {f.words[0] for f in report.findings if f.kind in ("template-disagrees", "template-drowns-labels")}
        kept = [template for template in templates if template not in flagged]
        rows.append(
            (
                name,
                len(templates),
                f"{accuracy(library, filled(published, templates), truth):.1%}",
                len(flagged),
                f"{accuracy(library, filled(published, kept), truth):.1%}",
                f"{accuracy(library, filled(published, sorted(flagged)), truth):.1%}" if flagged else "",
            )
        )
        print(f"\nTemplates of {name} that lint warns of: {', '.join(f'`{t}`' for t in templates if t in flagged)}")
    print("\n### Leaving out the templates that lint warns of\n")
    header = (
        "template set",
        "templates",
        "top-1 with all",
        "warned of",
        "top-1 without these",
        "top-1 with only these",
    )
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


def filled(names: Mapping[str, str], templates: Iterable[str]) -> dict[str, list[str]]:
    """Prompts per class."""
    return {w: list(label_set([name], templates=list(templates)).prompts[0]) for w, name in names.items()}


def propose(library: Library) -> None:
    """What is proposed for labels that were taken away, out of all everyday labels and some words that fit nothing."""
    left = [label for label in EVERYDAY if label not in TAKEN_AWAY]
    vocabulary = [*TAKEN_AWAY, "love", "democracy", "Tuesday", "grammar", "silence", "seventeen", "opinion", "velocity"]
    found = library.lab.suggest(left, vocabulary, share=0.25, names=3, examples=0)
    rows = [
        (group.images, group.label, ", ".join(f"{n.word} ({n.fits_better:.0%})" for n in group.names))
        for group in found.groups
    ]
    print(f"\n### Suggest: {', '.join(TAKEN_AWAY)} taken away\n")
    print(f"The quarter of the photos that the other {len(left)} labels fit least:\n")
    print(tabulate(rows, ("photos", "label now", "proposed (fits better than any label)"), tablefmt="github"))


def hubs(library: Library) -> None:
    """The nouns that are among the three best labels for most photos, each beside the everyday labels by itself."""
    view = library.view()
    images = view.take(range(len(view)))
    words = words_of("wordnet:")
    texts = library.embed_texts([f"This is a photo of {word}." for word in [*EVERYDAY, *words]], truncate=True)
    third_best, best = np.sort(images @ texts[: len(EVERYDAY)].T, axis=1)[:, [-3, -1]].T
    cosines = images @ texts[len(EVERYDAY) :].T
    among, wins = (cosines > third_best[:, None]).mean(axis=0), (cosines > best[:, None]).mean(axis=0)
    rows = [(words[n], f"{among[n]:.0%}", f"{wins[n]:.0%}") for n in np.argsort(-among, kind="stable")[:10]]
    print(tabulate(rows, ("noun", "among the best three", "wins"), tablefmt="github"))


if __name__ == "__main__":
    main()
