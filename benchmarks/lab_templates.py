"""Templates weighted per label, without labels: CARPRT beside the plain ensemble. Prints Markdown tables.

    python benchmarks/lab_templates.py [CLOTHING] [--library LIBRARY]

CARPRT (ICLR 2026) asks each template on its own. The mean logit of the photos that it answers with a label, softmax
over the templates at a temperature, is the template's weight for that label. The questions are those of `questions.py`,
with three sets of templates; weights come from all photos of a question. The temperature is chosen on the photos to
learn from, and the figures are those of the others.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from lab_few_shot import BESIDE_PROJECT, interval, show
from questions import Asked, questions

from zsindex import Library
from zsindex.classification.templates import BUILT_IN, put
from zsindex.records import FloatArray

TEMPLATES = {
    "openai-7": BUILT_IN["openai-7"],
    "openai-80": BUILT_IN["openai-80"],
    "default, plain, openai-7": (*BUILT_IN["default"], *BUILT_IN["plain"], *BUILT_IN["openai-7"]),
}
TEMPERATURES = (0.1, 0.3, 1.0, 3.0, 10.0)


def unit(rows: FloatArray) -> FloatArray:
    lengths: FloatArray = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / lengths


def text_vectors(library: Library, asked: Asked, templates: tuple[str, ...]) -> FloatArray:
    """A vector for each template and label, of several words their mean: float32 (templates, labels, dim)."""
    names = [name for of_label in asked.words for name in of_label]
    found = np.asarray(library.embed_texts([put(name, template) for template in templates for name in names]))
    found = found.reshape(len(templates), len(names), -1)
    ends = np.cumsum([0, *map(len, asked.words)])
    means = [found[:, start:end].mean(axis=1) for start, end in pairwise(ends)]
    return unit(np.stack(means, axis=1))


def relevance(texts: FloatArray, photos: FloatArray, scale: float) -> FloatArray:
    """The mean logit of the photos that a template answers with a label; 0 if there are none: (templates, labels)."""
    found = np.zeros(texts.shape[:2], dtype=np.float32)
    for of_template, row in zip(texts, found, strict=True):
        logits = scale * photos @ of_template.T
        best = logits.argmax(axis=1)
        sums = np.bincount(best, weights=logits.max(axis=1), minlength=len(row))
        row[:] = sums / np.maximum(np.bincount(best, minlength=len(row)), 1)
    return found


def weighted(texts: FloatArray, relevant: FloatArray, temperature: float) -> FloatArray:
    weights = np.exp((relevant - relevant.max(axis=0)) / temperature)
    return np.einsum("tc,tcd->cd", weights / weights.sum(axis=0), texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    photos = Path(os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT))
    parser.add_argument("clothing", nargs="?", default=photos.parent / "clothing", type=Path, help="(%(default)s)")
    parser.add_argument("--library", type=Path, help="where to keep the vectors")
    parser.add_argument("--model", default="nano", help="default: %(default)s")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        Library.open(args.library or Path(temporary, "library"), model=args.model) as library,
    ):
        library.sync([args.clothing, photos])
        measure(library, photos, args.clothing)


def measure(library: Library, photos: Path, clothing: Path) -> None:
    gains: dict[tuple[str, str], list[tuple[FloatArray, FloatArray]]] = {}
    plain_right: dict[tuple[str, str], FloatArray] = {}
    summed_right: dict[tuple[str, str], FloatArray] = {}
    photos_of: dict[str, FloatArray] = {}
    for asked in questions(library, photos, clothing):
        scale = float(np.linalg.norm(asked.head.weights[0]))
        photos_of[asked.name] = asked.test_vectors
        halves = ((asked.vectors, asked.truth), (asked.test_vectors, asked.test_truth))
        for name, templates in TEMPLATES.items():
            texts = text_vectors(library, asked, templates)
            relevant = relevance(texts, np.concatenate([asked.vectors, asked.test_vectors]), scale)

            def right(
                classes: FloatArray, halves: tuple[tuple[FloatArray, FloatArray], ...] = halves
            ) -> list[FloatArray]:
                return [((x @ classes.T).argmax(axis=1) == truth).astype(np.float64) for x, truth in halves]

            plain, summed = right(unit(texts.mean(axis=0))), right(texts.mean(axis=0))
            plain_right[asked.name, name], summed_right[asked.name, name] = plain[1], summed[1]
            for temperature in TEMPERATURES:
                found = right(unit(weighted(texts, relevant, temperature)))
                first, second = (ours - theirs for ours, theirs in zip(found, plain, strict=True))
                gains.setdefault((asked.name, name), []).append((first, second))
    mean_of = [
        [np.mean([of[t][half].mean() for of in gains.values()]) for t in range(len(TEMPERATURES))] for half in (0, 1)
    ]
    chosen = int(np.argmax(mean_of[0]))
    rows = [
        [
            str(temperature),
            f"{100 * mean_of[0][t]:+.2f}",
            f"{100 * mean_of[1][t]:+.2f}",
            f"{100 * min(of[t][1].mean() for of in gains.values()):+.1f}",
        ]
        for t, temperature in enumerate(TEMPERATURES)
    ]
    show(rows, ["temperature", "mean gain, to choose by", "on the others", "worst of the others"])
    normalising = np.mean([plain_right[key].mean() - summed_right[key].mean() for key in gains])
    print(
        f"The mean as zsindex normalises it, less the mean as it is: {100 * normalising:+.2f} points on the others.\n"
    )
    print(f"Temperature {TEMPERATURES[chosen]:g}, on the others:\n")
    rows = [
        [question, name, interval(plain_right[question, name]), interval(of[chosen][1])]
        for (question, name), of in gains.items()
    ]
    show(rows, ["question", "templates", "plain ensemble, %", "gain"])
    show(
        [[name, interval(by_photo(name, gains, photos_of, chosen))] for name in TEMPLATES],
        ["templates", "gain, each photo the mean of its questions"],
    )


def by_photo(
    name: str,
    gains: dict[tuple[str, str], list[tuple[FloatArray, FloatArray]]],
    photos_of: dict[str, FloatArray],
    chosen: int,
) -> FloatArray:
    """The gain of each test photo. It is asked several questions, whose answers belong together."""
    of_photo = defaultdict(list)
    for (question, templates), of in gains.items():
        if templates == name:
            for photo, gain in zip(photos_of[question], of[chosen][1], strict=True):
                of_photo[photo.tobytes()].append(gain)
    return np.array([np.mean(found) for found in of_photo.values()])


if __name__ == "__main__":
    main()
