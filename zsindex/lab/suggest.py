"""Names for what the labels miss: groups of photos that no label fits, with words of a vocabulary that fit them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zsindex.classification.prompts import fill
from zsindex.classification.view import View
from zsindex.records import FloatArray, IdArray, LabelSet, Progress

MOST_GROUPS = 30
# Words that are encoded, and stored, at a time.
BATCH = 512


@dataclass(frozen=True, slots=True)
class SuggestedName:
    """A word proposed for a group.

    Attributes:
        word: from the vocabulary.
        lift: how much nearer the word is to the group than to the whole library: the difference of mean cosines.
        fits_better: share of the group's images that it fits better than any label does.
    """

    word: str
    lift: float
    fits_better: float


@dataclass(frozen=True, slots=True)
class UnfittedGroup:
    """Similar photos that no label fits.

    Attributes:
        images: number of images; `photos` are the paths of those nearest to the centre.
        cohesion: mean cosine of the images with the centre.
        label: the present answer of most of them.
        names: proposed words, best first.
    """

    images: int
    photos: tuple[str, ...]
    cohesion: float
    label: str
    names: tuple[SuggestedName, ...]


@dataclass(frozen=True, slots=True)
class Suggestions:
    """The result of `Library.lab.suggest`.

    Attributes:
        images: number of images, copies counted once; `unfit` of them were grouped.
        bound: the highest fit among those.
        vocabulary: number of words; `left` of them were not compared because it was stopped.
        groups: largest first; none if it was stopped.
    """

    images: int
    unfit: int
    bound: float
    vocabulary: int
    left: int
    groups: tuple[UnfittedGroup, ...]

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before all words were compared."""
        return self.left > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "interrupted": self.interrupted}


def suggest(
    view: View,
    labels: LabelSet,
    vocabulary: Sequence[str],
    images: IdArray,
    *,
    template: str,
    share: float,
    by: str,
    n_groups: int | None,
    names: int,
    examples: int,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> Suggestions:
    """Group the images that the labels fit least, and name the groups.

    Args:
        images: numbers of photos, one per image, in the order of `View.unique`.
        template: for the words.
        share: share of the images that count as not fitted, in (0, 1].
        by: ``cosine``, with the nearest label; or ``margin``, between the logits of the two nearest.
        n_groups: default: the square root of half the images, at most `MOST_GROUPS`.
        names, examples: words and photos for each group.
    """
    if not len(images):
        return Suggestions(0, 0, 0.0, len(vocabulary), 0, ())
    label_vectors = view.text_vectors(labels)
    fit, best = fits(view, label_vectors, by=by)
    n = min(len(fit), math.ceil(share * len(fit)))
    unfit = np.sort(np.argsort(fit, kind="stable")[:n])
    mean = _mean(view)
    vectors = view.take(images[unfit])
    k = min(n_groups or min(MOST_GROUPS, round(math.sqrt(n / 2)) or 1), n)
    centres, group_of = spherical_k_means(vectors, k)
    means = np.stack([vectors[group_of == g].mean(axis=0) for g in range(len(centres))])
    taken = {label.lower() for label in labels.concepts}
    words = [word for word in vocabulary if word.lower() not in taken]
    chosen, done = best_words(
        view.embed, words, means - mean, template=template, top=names, progress=progress, should_stop=should_stop
    )
    bound = float(fit[unfit].max())
    if done < len(words):
        return Suggestions(len(fit), n, bound, len(vocabulary), len(words) - done, ())
    groups = []
    nearest_label = (vectors @ label_vectors.T).max(axis=1)
    for g in np.argsort(-np.bincount(group_of, minlength=len(centres)), kind="stable").tolist():
        mine = np.flatnonzero(group_of == g)
        near = vectors[mine] @ centres[g]
        found = chosen[g]
        fitting = vectors[mine] @ view.embed([fill(template, word) for _, word in found]).T
        answers = np.bincount(best[unfit[mine]], minlength=len(label_vectors))
        groups.append(
            UnfittedGroup(
                images=len(mine),
                photos=tuple(
                    view.paths[photo] for photo in images[unfit[mine[np.argsort(-near, kind="stable")[:examples]]]]
                ),
                cohesion=float(near.mean()),
                label=labels.concepts[int(answers.argmax())],
                names=tuple(
                    SuggestedName(word, lift, float((fitting[:, i] > nearest_label[mine]).mean()))
                    for i, (lift, word) in enumerate(found)
                ),
            )
        )
    return Suggestions(len(fit), n, bound, len(vocabulary), 0, tuple(groups))


def fits(view: View, label_vectors: FloatArray, *, by: str) -> tuple[FloatArray, IdArray]:
    """How well the best label fits each image, in the order of `View.unique`: float32 (u,); and which it is, int64."""
    u = len(view.unique[0])
    fit, best = np.empty(u, dtype=np.float32), np.empty(u, dtype=np.int64)
    for where, block in view.blocks(1024):
        cosines = block @ label_vectors.T
        best[where] = cosines.argmax(axis=1)
        if by == "margin" and len(label_vectors) > 1:
            two = np.partition(cosines, -2, axis=1)[:, -2:]
            fit[where] = view.info.logit_scale * (two[:, 1] - two[:, 0])
        else:
            fit[where] = cosines.max(axis=1)
    return fit, best


def _mean(view: View) -> FloatArray:
    """Mean of all image vectors: float32 (dim,)."""
    total = np.zeros(view.info.dim)
    for _, block in view.blocks():
        total += block.sum(axis=0, dtype=np.float64)
    return (total / max(1, len(view.unique[0]))).astype(np.float32)


def spherical_k_means(
    vectors: FloatArray, k: int, *, iterations: int = 50, seed: int = 0
) -> tuple[FloatArray, IdArray]:
    """Group unit vectors by direction (Dhillon & Modha 2001), initialised with k-means++ (Arthur & Vassilvitskii 2007).

    Args:
        vectors: float32 (n, dim), L2-normalised rows, at least one.
        k: groups, from 1 to n; fewer if there are fewer distinct vectors.

    Returns:
        Unit centres float32 (k, dim), and the group of each vector, int64 (n,). No group is empty.
    """
    random = np.random.default_rng(seed)
    centres = _first_centres(vectors, k, random)
    group_of = np.zeros(len(vectors), dtype=np.int64)
    for step in range(iterations):
        assigned = (vectors @ centres.T).argmax(axis=1)
        if step and (assigned == group_of).all():
            break
        group_of = assigned
        sums = np.stack([vectors[group_of == g].sum(axis=0) for g in range(len(centres))])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        # A group that lost all its vectors, or whose vectors cancel out, stays where it was.
        centres = np.where(norms > 1e-6, sums / np.maximum(norms, 1e-6), centres).astype(np.float32)
    kept, group_of = np.unique(group_of, return_inverse=True)
    return centres[kept], group_of.astype(np.int64)


def _first_centres(vectors: FloatArray, k: int, random: np.random.Generator) -> FloatArray:
    chosen = [int(random.integers(len(vectors)))]
    distance = np.full(len(vectors), np.inf)
    while len(chosen) < k:
        # Squared distance of unit vectors, up to a factor.
        distance = np.minimum(distance, np.maximum(0.0, 1.0 - (vectors @ vectors[chosen[-1]]).astype(np.float64)))
        if distance.sum() < 1e-6 * len(vectors):
            break  # everything left equals something chosen
        chosen.append(int(random.choice(len(vectors), p=distance / distance.sum())))
    return vectors[chosen]


def best_words(
    embed: Callable[[Sequence[str]], FloatArray],
    words: Sequence[str],
    directions: npt.NDArray[np.floating],
    *,
    template: str,
    top: int,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> tuple[list[list[tuple[float, str]]], int]:
    """The words with the largest inner products with each of some directions, a batch of words at a time.

    Args:
        embed: gives vectors of texts, and caches what it encodes.
        directions: (g, dim).
        top: words per direction.

    Returns:
        For each direction (product, word), largest first; and the number of words compared before it was stopped.
    """
    found: list[list[tuple[float, int]]] = [[] for _ in directions]
    done = 0
    progress(Progress("vocabulary", 0, len(words)))
    for start in range(0, len(words), BATCH):
        if should_stop():
            break
        batch = words[start : start + BATCH]
        products = directions @ embed([fill(template, word) for word in batch]).T
        for g, row in enumerate(products.astype(np.float64)):
            largest = np.argsort(-row, kind="stable")[:top]
            candidates = [(float(row[i]), -(start + int(i))) for i in largest]
            found[g] = heapq.nlargest(top, [*found[g], *candidates])
        done += len(batch)
        progress(Progress("vocabulary", done, len(words)))
    return [[(product, words[-number]) for product, number in of_one] for of_one in found], done
